//! Changes of a running upstream: health, endpoints, and taking over from the build before.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::table::Table;
use super::{ResolvedEndpoint, Standing, Upstream};
use crate::endpoint::{By, Endpoint, Health, Verdict};
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
}

impl Upstream {
    /// Door: an endpoint's health. Takes effect at once; makes an event of it if it is a change.
    pub fn set_health(&self, endpoint: &Arc<Endpoint>, health: Health, by: By, why: String) {
        self.apply(vec![HealthChange {
            endpoint: Arc::clone(endpoint),
            health,
            by,
            why,
        }]);
    }

    /// Door: the health of several endpoints in one change of the table.
    pub fn apply(&self, changes: Vec<HealthChange>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut transitions = Vec::with_capacity(changes.len());
        for change in changes {
            let verdict = Verdict {
                since: now,
                why: change.why.as_str().into(),
            };
            let live = &change.endpoint.live;
            let from = live.health();
            if from != change.health {
                live.set_health(change.health, Some(verdict));
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
        let (healthy, of) = self.table.load().count_healthy();
        for (from, change) in transitions {
            self.events
                .publish(self.transition(from, change, healthy, of));
        }
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
            Table::new(self.rules, endpoints, before.position()),
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
        self.adopt(before.endpoints());
        let stood = previous.map_or(Standing::Healthy, |old| old.standing());
        let table = if before.is_stale() {
            Table::again(&before)
        } else {
            Table::clone(&before)
        };
        self.publish(self.put(table, stood));
    }

    /// Marks endpoints as in use. Without health checks they are healthy by definition, and stay so
    /// when checks are added: an endpoint that has been serving is not new.
    fn adopt(&self, endpoints: &[Arc<Endpoint>]) {
        for endpoint in endpoints {
            endpoint.live.set_retired(false);
            if !self.rules.is_checked {
                endpoint.live.set_health(Health::Healthy, None);
            }
        }
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
            Health::Unhealthy | Health::Unknown => "endpoint_down",
        };
        Event {
            kind,
            why: change.why,
            fields: vec![
                ("upstream", self.name.to_string()),
                ("zone", change.endpoint.zone.to_string()),
                ("endpoint", change.endpoint.name.to_string()),
                ("from", from.as_str().to_owned()),
                ("to", change.health.as_str().to_owned()),
                ("by", change.by.as_str().to_owned()),
                ("healthy", healthy.to_string()),
                ("endpoints", of.to_string()),
            ],
        }
    }
}
