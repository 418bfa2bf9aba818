//! Whole outages on a simulated clock: requests, endpoints that behave in every way, and the group
//! that judges them. Seeded: what fails here fails again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::{Change, Group, Member, Notice, OutlierDetection, Seen};
use crate::config;
use crate::endpoint::{Fault, Health, Reading, SLOTS, Trial};

/// How an endpoint answers at a time of the simulation, in milliseconds.
type Behaviour = Box<dyn Fn(u64) -> Answer>;

/// An endpoint's share of failures, and the slot of the time that its answers take.
#[derive(Debug, Clone, Copy)]
struct Answer {
    failing: f64,
    slot: usize,
}

struct Endpoint {
    behaviour: Behaviour,
    health: Health,
    reading: Reading,
    trial: Option<Trial>,
    /// When the next trial may begin, while it is half-open.
    gate: u64,
}

/// What happened.
#[derive(Debug, Default)]
struct Outcome {
    requests: u64,
    failures: u64,
    changes: Vec<(u64, Change)>,
    notices: Vec<(u64, Notice)>,
    most_out: usize,
}

struct Simulation {
    endpoints: Vec<Endpoint>,
    group: Group,
    start: Instant,
    random: Rng,
    outcome: Outcome,
    turn: usize,
    /// Requests in a step of 10 ms.
    load: u32,
    now: u64,
}

fn well(_: u64) -> Answer {
    Answer {
        failing: 0.002,
        slot: 3,
    }
}

fn fails(share: f64) -> impl Fn(u64) -> Answer + Copy {
    move |_| Answer {
        failing: share,
        slot: 3,
    }
}

fn between(from: u64, to: u64, share: f64) -> impl Fn(u64) -> Answer + Copy {
    move |now| {
        if (from..to).contains(&now) {
            fails(share)(now)
        } else {
            well(now)
        }
    }
}

impl Simulation {
    fn new(seed: u64, behaviours: Vec<Behaviour>) -> Self {
        Self::with(seed, behaviours, &config::Outlier::default())
    }

    fn with(seed: u64, behaviours: Vec<Behaviour>, written: &config::Outlier) -> Self {
        let start = Instant::now();
        let detection = OutlierDetection::new(written, 0.5, false).expect("it is valid");
        let mut group = Group::new(detection.clone());
        let members = (0..behaviours.len() as u64).map(|id| {
            let member = Member {
                id,
                health: Health::Healthy,
                is_probed: false,
            };
            (member, Reading::default())
        });
        let changes = group.adopt(&detection, members, &mut BTreeMap::new(), start);
        assert_eq!(changes, []);
        let endpoints = behaviours.into_iter().map(|behaviour| Endpoint {
            behaviour,
            health: Health::Healthy,
            reading: Reading::default(),
            trial: None,
            gate: 0,
        });
        Self {
            endpoints: endpoints.collect(),
            group,
            start,
            random: Rng::with_seed(seed),
            outcome: Outcome::default(),
            turn: 0,
            load: 3,
            now: 0,
        }
    }

    /// Lets so many seconds pass, in steps of ten milliseconds.
    fn run(&mut self, seconds: u64) {
        let end = self.now + seconds * 1_000;
        while self.now < end {
            let mut is_suspect = false;
            for _ in 0..self.load {
                is_suspect |= self.request();
            }
            self.now += 10;
            let turns = self.now.is_multiple_of(1_000);
            if turns || is_suspect {
                self.look(turns);
            }
        }
    }

    /// One request, in turn. Whether its endpoint is to be looked at.
    fn request(&mut self) -> bool {
        let count = self.endpoints.len();
        let now = self.now;
        let may = |endpoint: &Endpoint| match endpoint.health {
            Health::Healthy => true,
            Health::HalfOpen => now >= endpoint.gate,
            Health::Unknown | Health::Unhealthy | Health::Ejected => false,
        };
        let place = (0..count)
            .map(|more| (self.turn + more) % count)
            .find(|place| may(&self.endpoints[*place]));
        let place = place.expect("never the last one");
        self.turn = place + 1;
        let endpoint = &mut self.endpoints[place];
        let Answer { failing, slot } = (endpoint.behaviour)(now);
        let is_failure = self.random.f64() < failing;
        self.outcome.requests += 1;
        endpoint.reading.answers[slot.min(SLOTS - 1)] += 1;
        if is_failure {
            self.outcome.failures += 1;
            endpoint.reading.failures += 1;
            endpoint.reading.row += 1;
            endpoint.reading.last = Some(Fault::Status(500));
        } else {
            endpoint.reading.row = 0;
        }
        if endpoint.health == Health::HalfOpen {
            endpoint.gate = now + 1_000;
            endpoint.trial = Some(if is_failure {
                Trial::Failed
            } else {
                Trial::Passed
            });
            return true;
        }
        endpoint.reading.row >= 5
    }

    fn look(&mut self, turns: bool) {
        let now = self.start + Duration::from_millis(self.now);
        let endpoints = RefCell::new(&mut self.endpoints);
        let read = |id: u64| {
            let endpoint = &mut endpoints.borrow_mut()[usize::try_from(id).expect("a place")];
            Seen {
                reading: endpoint.reading,
                trial: endpoint.trial.take(),
                is_starting: false,
            }
        };
        let look = self.group.look(read, (turns, true), now, &mut self.random);
        for change in look.changes {
            let place = usize::try_from(change.id).expect("a place");
            let endpoint = &mut self.endpoints[place];
            endpoint.health = change.health;
            endpoint.gate = self.now;
            if change.health == Health::Healthy {
                endpoint.reading.row = 0;
            }
            self.outcome.changes.push((self.now, change));
        }
        let notice = look.notice.map(|notice| (self.now, notice));
        self.outcome.notices.extend(notice);
        let healthy = self.count(Health::Healthy);
        assert!(healthy > 0, "never the last one");
        let out = self.endpoints.len() - healthy;
        self.outcome.most_out = self.outcome.most_out.max(out);
    }

    fn count(&self, health: Health) -> usize {
        let endpoints = self.endpoints.iter();
        endpoints
            .filter(|endpoint| endpoint.health == health)
            .count()
    }

    /// When endpoints were ejected, and for what.
    fn ejections(&self) -> Vec<(u64, u64, &'static str)> {
        let changes = self.outcome.changes.iter();
        changes
            .filter_map(|(at, change)| Some((*at, change.id, change.ejection?.1)))
            .collect()
    }

    fn share_failed(&self) -> f64 {
        let Outcome {
            requests, failures, ..
        } = self.outcome;
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let share = failures as f64 / requests as f64;
        share
    }
}

fn many(count: usize, behaviour: impl Fn(u64) -> Answer + Copy + 'static) -> Vec<Behaviour> {
    (0..count)
        .map(|_| Box::new(behaviour) as Behaviour)
        .collect()
}

mod tests;
