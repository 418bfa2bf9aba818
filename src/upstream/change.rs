//! Changes of a running upstream: health, endpoints, and taking over from the build before.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::burst::{Burst, LASTS, Untold};
use super::table::Table;
use super::{Notice, ResolvedEndpoint, Standing, Upstream};
use crate::endpoint::{By, Ejection, Endpoint, Health, Verdict};
use crate::telemetry::events::Event;

/// A verdict about one endpoint, on its way into the table.
#[derive(Debug)]
pub struct HealthChange {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// What it is now.
    pub health: Health,
    /// What decided it.
    pub by: By,
    /// Why, in words.
    pub why: String,
    /// The ejection, if it is one, and the word for its cause.
    pub ejection: Option<(Ejection, &'static str)>,
}

impl Upstream {
    /// Door: an endpoint's health. Takes effect at once; makes an event of it if it is a change.
    pub fn set_health(&self, endpoint: &Arc<Endpoint>, health: Health, by: By, why: String) {
        self.apply(vec![HealthChange {
            endpoint: Arc::clone(endpoint),
            health,
            by,
            why,
            ejection: None,
        }]);
    }

    /// Door: the health of several endpoints in one change of the table.
    pub fn apply(&self, changes: Vec<HealthChange>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut transitions = Vec::with_capacity(changes.len());
        let mut begun = None;
        for change in changes {
            let verdict = Verdict {
                since: now,
                why: change.why.as_str().into(),
                ejection: change.ejection.map(|(ejection, _)| ejection),
            };
            let live = &change.endpoint.live;
            let from = live.health();
            if from != change.health {
                let is_first = from == Health::Unknown;
                if is_first {
                    begun = begun.or_else(|| Some(self.begun(now)));
                }
                // What should not have been ejected is as warm as it was.
                if change.health == Health::Healthy && from != Health::Ejected {
                    live.set_in_service(begun.filter(|_| is_first).unwrap_or(now));
                }
                if is_another_chance(from, change.health) {
                    live.forget_penalty();
                }
                live.set_health(change.health, Some(verdict));
                // One that probes have hidden for a while was counted when it began.
                if let Some((_, cause)) = change.ejection
                    && from != Health::Unhealthy
                {
                    self.metrics.ejected(cause);
                }
                change
                    .endpoint
                    .metrics
                    .transitioned(change.health, change.by);
                transitions.push((from, change));
            }
        }
        if transitions.is_empty() {
            return;
        }
        let panic = self.rebuild();
        for (from, change) in &transitions {
            if *from == Health::HalfOpen {
                change.endpoint.live.open();
            }
        }
        let (healthy, of) = self.table.load().count_healthy();
        let mut burst = self.burst.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish(self.end_of(&mut burst, now));
        for (from, change) in transitions {
            if burst.takes(change.health, now) {
                self.events
                    .publish(self.transition(from, change, healthy, of));
            }
        }
        drop(burst);
        self.publish(panic); // the cause comes before its consequence
    }

    /// Door: other endpoints. Those that stay keep their live state; those that are gone are
    /// retired.
    pub fn replace_endpoints(&self, endpoints: Vec<ResolvedEndpoint>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.table.load_full();
        let endpoints = self.make_endpoints(endpoints, Some(&before));
        let kept: HashSet<u64> = endpoints
            .iter()
            .map(|endpoint| endpoint.live.id())
            .collect();
        self.adopt(&endpoints);
        let panic = self.put(
            Table::new(self.rules.clone(), endpoints, before.position()),
            before.standing(),
        );
        let now = Instant::now();
        for endpoint in before.endpoints().iter() {
            if !kept.contains(&endpoint.live.id()) {
                self.removal.retire(&endpoint.live, now);
            }
        }
        self.publish(panic);
    }

    /// Whether an endpoint that was picked here was replaced since. Nearly always one load.
    pub fn has_taken_out(&self, endpoint: &Endpoint) -> bool {
        let id = endpoint.live.id();
        // All are retired where the upstream itself was taken out: what is left is to go on.
        endpoint.live.is_retired() && !self.endpoints().iter().any(|other| other.live.id() == id)
    }

    /// Takes in whether nothing is ejected since many endpoints fail at once.
    pub fn set_suspended(&self, is_suspended: bool) {
        self.metrics.suspend(is_suspended);
    }

    /// Makes an event of that.
    pub fn tell(&self, notice: &Notice) {
        let (kind, why, failing, active) = match notice {
            Notice::Suspended {
                failing,
                active,
                pardoned,
            } => (
                "outlier_suspended",
                format!(
                    "{failing} of {active} endpoints with requests fail at once: none is ejected, \
                     {pardoned} came back"
                ),
                failing,
                active,
            ),
            Notice::Resumed {
                lasted,
                failing,
                active,
            } => (
                "outlier_resumed",
                format!(
                    "{failing} of {active} endpoints with requests fail, after {} s",
                    lasted.as_secs()
                ),
                failing,
                active,
            ),
        };
        self.events.publish(Event {
            kind,
            why,
            fields: vec![
                ("upstream", self.name.to_string()),
                ("failing", failing.to_string()),
                ("endpoints", active.to_string()),
            ],
        });
    }

    /// Makes an event of it that nothing is ejected in any upstream, or that this is over: in so
    /// many of so many most endpoints fail.
    pub fn tell_everywhere(&self, begins: bool, why: String, (failing, active): (usize, usize)) {
        self.events.publish(Event {
            kind: if begins {
                "outlier_suspended"
            } else {
                "outlier_resumed"
            },
            why,
            fields: vec![
                ("failing", failing.to_string()),
                ("upstreams", active.to_string()),
            ],
        });
    }

    /// Makes an event of those that have not been told one by one, once a burst of changes is over.
    pub fn tell_of_burst(&self, now: Instant) {
        let mut burst = self.burst.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish(self.end_of(&mut burst, now));
    }

    fn end_of(&self, burst: &mut Burst, now: Instant) -> Option<Event> {
        let Untold { down, up } = burst.end(now)?;
        let (healthy, of) = self.table.load().count_healthy();
        let kind = if down > 0 {
            "endpoints_down"
        } else {
            "endpoints_up"
        };
        Some(Event {
            kind,
            why: format!(
                "besides those that were told, {down} went down and {up} came up within {} s: \
                 {healthy} of {of} are healthy",
                LASTS.as_secs()
            ),
            fields: vec![
                ("upstream", self.name.to_string()),
                ("down", down.to_string()),
                ("up", up.to_string()),
                ("healthy", healthy.to_string()),
                ("endpoints", of.to_string()),
            ],
        })
    }

    /// Makes the table again if a health has changed since it was made by way of another build.
    pub fn refresh(&self) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.table.load().is_stale() {
            self.publish(self.rebuild());
        }
    }

    /// Becomes the running upstream of its name, after `previous`.
    pub(super) fn take_over(&self, previous: Option<&Arc<Self>>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.table.load_full();
        let is_new = self.adopt(before.endpoints());
        let stood = previous.map_or(Standing::Healthy, |old| old.standing());
        let table = if is_new || before.is_stale() {
            Table::again(&before)
        } else {
            Table::clone(&before)
        };
        self.publish(self.put(table, stood));
    }

    /// Marks endpoints as in use. Without health checks they are healthy by definition, unless they
    /// are ejected, and stay so when checks are added: an endpoint that has been serving is not
    /// new. Whether one is.
    fn adopt(&self, endpoints: &[Arc<Endpoint>]) -> bool {
        let now = Instant::now();
        let mut is_new = false;
        for endpoint in endpoints {
            endpoint.live.set_retired(false);
            let health = endpoint.live.health();
            if self.rules.health_of(endpoint) != health {
                endpoint.live.set_health(Health::Healthy, None);
                endpoint.live.open();
                endpoint.live.set_in_service(now);
                is_new = true;
            }
        }
        is_new
    }

    /// Since when an endpoint is in service whose first probe has passed now. While all others have
    /// just begun as well it is one of them, and as far as they are: whose first probe came later
    /// has not started later.
    fn begun(&self, now: Instant) -> Instant {
        let table = self.table.load();
        let in_service = table.endpoints().iter().filter(|endpoint| {
            self.health_of(endpoint) == Health::Healthy && endpoint.live.health() == Health::Healthy
        });
        let mut first = now;
        for endpoint in in_service {
            match endpoint.live.in_service_since() {
                Some(since) if now.saturating_duration_since(since) < FIRST_PROBES => {
                    first = first.min(since);
                }
                _ => return now,
            }
        }
        first
    }

    fn publish(&self, event: Option<Event>) {
        if let Some(event) = event {
            self.events.publish(event);
        }
    }

    #[must_use]
    fn rebuild(&self) -> Option<Event> {
        let before = self.table.load_full();
        self.put(Table::again(&before), before.standing())
    }

    /// Puts a table in place. If panic begins or ends with it, that is an event.
    #[must_use]
    fn put(&self, table: Table, stood: Standing) -> Option<Event> {
        let stands = table.standing();
        let (healthy, of) = table.count_healthy();
        self.table.store(Arc::new(table));
        // Its endpoints may have other limits, and there may be others of them.
        self.queue.call_all();
        let kind = match (stood == Standing::Panic, stands == Standing::Panic) {
            (false, true) => "panic_on",
            (true, false) => "panic_off",
            (false, false) | (true, true) => return None,
        };
        let threshold = self.rules.panic_threshold * 100.0;
        Some(Event {
            kind,
            why: format!(
                "{healthy} of {of} endpoints are healthy, the threshold is {threshold:.0}%"
            ),
            fields: vec![
                ("upstream", self.name.to_string()),
                ("healthy", healthy.to_string()),
                ("endpoints", of.to_string()),
            ],
        })
    }

    fn transition(&self, from: Health, change: HealthChange, healthy: usize, of: usize) -> Event {
        let kind = match change.health {
            Health::Healthy => "endpoint_up",
            Health::Ejected => "endpoint_ejected",
            Health::HalfOpen => "endpoint_half_open",
            Health::Unhealthy | Health::Unknown => "endpoint_down",
        };
        let ejection = change.ejection.map_or_else(Vec::new, |(ejection, cause)| {
            vec![
                ("cause", cause.to_owned()),
                ("for_s", ejection.length.as_secs().to_string()),
                ("in_a_row", ejection.count.to_string()),
            ]
        });
        Event {
            kind,
            why: change.why,
            fields: [
                ("upstream", self.name.to_string()),
                ("zone", change.endpoint.zone.to_string()),
                ("endpoint", change.endpoint.name.to_string()),
                ("from", from.as_str().to_owned()),
                ("to", change.health.as_str().to_owned()),
                ("by", change.by.as_str().to_owned()),
                ("healthy", healthy.to_string()),
                ("endpoints", of.to_string()),
            ]
            .into_iter()
            .chain(ejection)
            .collect(),
        }
    }
}

/// Whether a verdict gives an endpoint another chance, so that it must be picked to be tried. One
/// that comes back from its ejection at once, since many fail, is not known to be any better.
fn is_another_chance(from: Health, to: Health) -> bool {
    match to {
        Health::HalfOpen => true,
        Health::Healthy => from != Health::Ejected,
        Health::Unknown | Health::Unhealthy | Health::Ejected => false,
    }
}

/// The time within which the first probes of a start end, at the usual interval and with one lost.
const FIRST_PROBES: Duration = Duration::from_secs(5);
