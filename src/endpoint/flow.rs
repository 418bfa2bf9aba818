//! Traffic from this instance's zone to another, as all endpoints there count it together.

use std::sync::Arc;

use crate::telemetry::metrics::{Counter, Family, Kind, Late, Registry};

/// Attempts from one zone to another, in one upstream. Its series is made by the first.
#[derive(Debug)]
pub struct Flow {
    registry: Registry,
    upstream: Arc<str>,
    from: Arc<str>,
    to: Arc<str>,
    counter: Late<Counter>,
}

impl Flow {
    /// Nothing has been sent yet. A zone without a name is empty.
    pub fn new(registry: &Registry, upstream: Arc<str>, from: Arc<str>, to: Arc<str>) -> Self {
        Self {
            registry: registry.clone(),
            upstream,
            from,
            to,
            counter: Late::default(),
        }
    }

    pub(super) fn inc(&self) {
        self.counter.get(|| self.make()).inc();
    }

    /// Asks again, before a scrape, if there was no room for it.
    pub fn settle(&self) {
        let has_room = || self.registry.has_room(&ZONE_REQUESTS, &["upstream"], 1);
        self.counter.settle(has_room, || self.make());
    }

    fn make(&self) -> Counter {
        let labels = [
            ("upstream", &*self.upstream),
            ("from_zone", &*self.from),
            ("to_zone", &*self.to),
        ];
        self.registry.counter(&ZONE_REQUESTS, &labels)
    }
}

static ZONE_REQUESTS: Family = Family {
    name: "evenkeel_zone_requests_total",
    help: "Attempts sent to endpoints, by this instance's zone and the endpoint's.",
    kind: Kind::Counter,
    buckets: None,
};
