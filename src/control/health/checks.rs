//! All checks: what is due when, and what results lead to. Pure but for what it tells the
//! endpoints; time and randomness are arguments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::outcome::Outcome;
use crate::endpoint::{By, Endpoint, Health, Machine, ProbeResult, Transition};
use crate::upstream::{HealthChange, HealthCheck, Probe, Upstream};

/// The checks of all endpoints that are probed, by the number of the endpoint.
#[derive(Debug)]
pub(super) struct Checks {
    by_id: BTreeMap<u64, Check>,
    /// When each is due. An entry counts only if its check is still due then: that is cheaper than
    /// finding and removing it when a check is moved.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    random: Rng,
}

/// The check of one endpoint.
#[derive(Debug)]
struct Check {
    settings: Arc<HealthCheck>,
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    machine: Machine,
    state: State,
    is_judged: bool,
}

/// What a check is doing.
#[derive(Debug, Clone, Copy)]
enum State {
    Waiting {
        due: Instant,
        /// When it may begin, however urgent it is.
        earliest: Instant,
    },
    /// A probe is under way. `again`: one was asked for since, and what this one sees may be older.
    Probing { since: Instant, again: bool },
}

/// A probe to carry out.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) check: Arc<HealthCheck>,
    pub(super) endpoint: Arc<Endpoint>,
}

/// A change of health, and the upstream to tell.
#[derive(Debug)]
pub(super) struct News {
    pub(super) upstream: Arc<Upstream>,
    pub(super) change: HealthChange,
}

impl Checks {
    pub(super) fn new(random: Rng) -> Self {
        Self {
            by_id: BTreeMap::new(),
            due: BinaryHeap::new(),
            random,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether an endpoint has not had its first verdict.
    pub(super) fn waits_for_verdicts(&self) -> bool {
        self.by_id.values().any(|check| !check.is_judged)
    }

    /// Takes the endpoints of these upstreams for all that there are.
    pub(super) fn apply(&mut self, upstreams: &[Arc<Upstream>], now: Instant) {
        let mut before = std::mem::take(&mut self.by_id);
        self.due.clear();
        for upstream in upstreams {
            let Some(settings) = upstream.health_check() else {
                continue;
            };
            let settings = Arc::new(settings.clone());
            for endpoint in upstream.endpoints().iter() {
                let id = endpoint.live.id();
                let check = match before.remove(&id) {
                    Some(check) => check.go_on(&settings, upstream, endpoint, now),
                    None => Check::new(&settings, upstream, endpoint, now),
                };
                if let State::Waiting { due, .. } = check.state {
                    self.due.push(Reverse((due, id)));
                }
                self.by_id.insert(id, check);
            }
        }
        for check in before.into_values() {
            check.endpoint.live.set_probed(false);
        }
    }

    /// When the next probe is due.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, id))) = self.due.peek().copied() {
            if self.is_due(id, due) {
                return Some(due);
            }
            self.due.pop();
        }
        None
    }

    /// The probe that is overdue the longest.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Job> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, id)) = self.due.pop()?;
        let check = self.by_id.get_mut(&id)?;
        check.state = State::Probing {
            since: now,
            again: false,
        };
        check.endpoint.live.take_probe_request();
        Some(Job {
            id,
            check: Arc::clone(&check.settings),
            endpoint: Arc::clone(&check.endpoint),
        })
    }

    /// Moves a probe forward to now, or repeats the one under way.
    pub(super) fn request(&mut self, id: u64, now: Instant) {
        let Some(check) = self.by_id.get_mut(&id) else {
            return;
        };
        check.endpoint.live.take_probe_request();
        match &mut check.state {
            State::Probing { again, .. } => *again = true,
            State::Waiting { due, earliest } => {
                *due = now.max(*earliest).min(*due);
                self.due.push(Reverse((*due, id)));
            }
        }
    }

    /// Whether a probe that ended so has shown that requests get there.
    pub(super) fn proves_the_way(&self, id: u64, outcome: &Outcome) -> bool {
        let check = self.by_id.get(&id);
        let is_on_the_way = check.is_some_and(|check| check.settings.port.is_none());
        is_on_the_way && outcome.verdict() == Some(ProbeResult::Passed)
    }

    /// Takes in how a probe ended.
    pub(super) fn finished(&mut self, id: u64, outcome: &Outcome, now: Instant) -> Option<News> {
        let check = self.by_id.get_mut(&id)?; // none: it was removed meanwhile
        check.endpoint.metrics.checked(outcome.counted());
        let verdict = outcome.verdict();
        if verdict == Some(ProbeResult::Passed) && check.settings.port.is_none() {
            let live = &check.endpoint.live;
            match check.settings.probe {
                Probe::Http(_) | Probe::Grpc(_) | Probe::Tcp => live.probe_passed(now),
                // It was answered where traffic may never be.
                Probe::Udp(_) => live.connect_succeeded(),
            }
        }
        let was_judged = check.is_judged;
        let transition = verdict.and_then(|result| check.machine.observe(result));
        check.is_judged |= verdict.is_some();
        let due = check.due_after(was_judged, now, &mut self.random);
        check.state = State::Waiting {
            due,
            earliest: now + check.pause(),
        };
        self.due.push(Reverse((due, id)));
        let transition = transition?;
        Some(News {
            upstream: Arc::clone(&check.upstream),
            change: HealthChange {
                endpoint: Arc::clone(&check.endpoint),
                health: transition.to,
                by: By::Active,
                why: in_words(transition, outcome),
                ejection: None,
            },
        })
    }

    /// Takes in that a probe ended by a fault of ours, without a result.
    pub(super) fn broke_off(&mut self, id: u64, now: Instant) {
        if let Some(check) = self.by_id.get_mut(&id) {
            let due = now + check.settings.interval;
            check.state = State::Waiting {
                due,
                earliest: now + check.pause(),
            };
            self.due.push(Reverse((due, id)));
        }
    }

    fn is_due(&self, id: u64, at: Instant) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|check| matches!(check.state, State::Waiting { due, .. } if due == at))
    }
}

impl Check {
    /// A check of an endpoint that was not probed before. Its first probe is due at once, since
    /// nothing goes there before it (or what went there before checks were added is unwatched).
    fn new(
        settings: &Arc<HealthCheck>,
        upstream: &Arc<Upstream>,
        endpoint: &Arc<Endpoint>,
        now: Instant,
    ) -> Self {
        let health = endpoint.live.health();
        endpoint.live.set_probed(true);
        Self {
            settings: Arc::clone(settings),
            upstream: Arc::clone(upstream),
            endpoint: Arc::clone(endpoint),
            machine: Machine::resume(health, settings.healthy_after, settings.unhealthy_after),
            state: State::Waiting {
                due: now,
                earliest: now,
            },
            is_judged: health != Health::Unknown,
        }
    }

    /// The same check under a new build. Other settings are tried at once.
    fn go_on(
        mut self,
        settings: &Arc<HealthCheck>,
        upstream: &Arc<Upstream>,
        endpoint: &Arc<Endpoint>,
        now: Instant,
    ) -> Self {
        if self.settings != *settings {
            self.machine
                .set_thresholds(settings.healthy_after, settings.unhealthy_after);
            self.state = match self.state {
                State::Waiting { .. } => State::Waiting {
                    due: now,
                    earliest: now,
                },
                State::Probing { since, .. } => State::Probing { since, again: true },
            };
            self.settings = Arc::clone(settings);
        }
        self.upstream = Arc::clone(upstream);
        self.endpoint = Arc::clone(endpoint);
        self
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.settings.interval)
    }

    /// When the next probe is due, counted from the start of the last one.
    fn due_after(&self, was_judged: bool, now: Instant, random: &mut Rng) -> Instant {
        let interval = self.settings.interval;
        let (since, again) = match self.state {
            State::Probing { since, again } => (since, again),
            State::Waiting { due, .. } => (due, false),
        };
        let pause = self.pause();
        let delay = if again {
            Duration::ZERO
        } else if self.machine.is_changing() {
            (interval / 4).max(pause).mul_f64(jitter(random))
        } else if was_judged {
            interval.mul_f64(jitter(random))
        } else {
            // First probes all start together: from here on they are spread over the interval.
            interval.mul_f64(jitter(random) - random.f64() * SPREAD)
        };
        (since + delay).max(now + pause)
    }
}

/// A factor that keeps checks from falling into step, with each other and with other instances.
fn jitter(random: &mut Rng) -> f64 {
    1.0 - JITTER + random.f64() * 2.0 * JITTER
}

fn in_words(transition: Transition, outcome: &Outcome) -> String {
    let ended = match transition.to {
        Health::Healthy => "passed",
        Health::Unhealthy | Health::Unknown | Health::Ejected | Health::HalfOpen => "failed",
    };
    match (transition.from, transition.after) {
        (Health::Unknown, _) => format!("the first probe {ended}: {outcome}"),
        (_, 1) => format!("a probe {ended}: {outcome}"),
        (_, after) => format!("{after} probes in a row {ended}: {outcome}"),
    }
}

/// ± 20 %.
const JITTER: f64 = 0.2;
/// Share of the interval over which the second probes are spread.
const SPREAD: f64 = 0.75;
/// Between two probes of one endpoint, however urgent.
const PAUSE: Duration = Duration::from_millis(100);
