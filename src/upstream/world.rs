//! What outlives a configuration: live states, metrics, events, and which upstreams run now.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::Upstream;
use crate::endpoint::LiveStates;
use crate::net::OwnConnections;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;

/// Handed to every build; one per process.
#[derive(Debug)]
pub struct World {
    /// The live states of all endpoints.
    pub live: Arc<LiveStates>,
    /// Where series are made.
    pub registry: Registry,
    /// Where changes are told.
    pub events: Events,
    /// Connections that a firewall may bring to listeners of this process though they are its own.
    pub own_connections: Arc<OwnConnections>,
    running: Arc<Running>,
}

/// The upstreams of the snapshot in force.
#[derive(Debug, Default)]
struct Running {
    upstreams: Mutex<ByName>,
}

type ByName = BTreeMap<Arc<str>, Arc<Upstream>>;

impl World {
    /// A world in which nothing runs yet.
    pub fn new(registry: Registry, events: Events) -> Self {
        let running = Arc::new(Running::default());
        // Not an owner: the registry would otherwise hold the upstreams, which hold the registry.
        let scraped = Arc::downgrade(&running);
        registry.on_scrape(move || {
            if let Some(running) = scraped.upgrade() {
                running.observe();
            }
        });
        Self {
            live: Arc::new(LiveStates::new()),
            registry,
            events,
            own_connections: Arc::default(),
            running,
        }
    }

    /// Makes these the running upstreams. Called right after their snapshot took the place of the
    /// one before, and never for one that was refused: only now are endpoints that
    /// are gone retired.
    pub fn install<'a>(&self, upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>) {
        let new: ByName = upstreams
            .into_iter()
            .map(|upstream| (Arc::clone(&upstream.name), Arc::clone(upstream)))
            .collect();
        let mut running = self
            .running
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut kept, now) = (HashSet::new(), Instant::now());
        for (name, upstream) in &new {
            upstream.take_over(running.get(name));
            kept.extend(
                upstream
                    .endpoints()
                    .iter()
                    .map(|endpoint| endpoint.live.id()),
            );
        }
        for (name, old) in running.iter() {
            if !new.contains_key(name) {
                old.metrics.withdraw();
            }
            // Who changes both in one file means what he writes now.
            let removal = new.get(name).unwrap_or(old).removal;
            for endpoint in old.endpoints().iter() {
                if !kept.contains(&endpoint.live.id()) {
                    removal.retire(&endpoint.live, now);
                }
            }
            // Not even for a moment what stays: its tunnels would end.
            if !new.get(name).is_some_and(|new| new.leads_to_destinations()) {
                old.retire_destinations((removal, now), |_, live| kept.contains(&live.id()));
            }
        }
        for upstream in new.values() {
            upstream.retire_what_is_not_allowed(now);
        }
        *running = new;
    }
}

impl Running {
    fn observe(&self) {
        // Copied first, so that a scrape of many endpoints does not hold up a reload.
        let upstreams: Vec<Arc<Upstream>> = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        for upstream in upstreams {
            upstream.observe();
        }
    }
}
