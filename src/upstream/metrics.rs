//! What is measured about an upstream as a whole.
//!
//! Traffic between zones belongs here and not to the endpoints: what an endpoint was sent
//! must still be counted when it is gone, or a rolling update would look as if the traffic
//! had never been.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Standing;
use crate::endpoint::{Endpoint, Health};
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};

/// The series of one upstream, made by the first scrape. Shared by all its builds.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    registry: Registry,
    upstream: Box<str>,
    panic: OnceLock<Gauge>,
    zones: Mutex<BTreeMap<Arc<str>, Zone>>,
    flows: Mutex<BTreeMap<Flow, Counter>>,
}

/// A gauge per state.
type Zone = [Gauge; STATES.len()];

/// From which zone to which.
type Flow = (Arc<str>, Arc<str>);

impl UpstreamMetrics {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        Self {
            registry: registry.clone(),
            upstream: upstream.into(),
            panic: OnceLock::new(),
            zones: Mutex::default(),
            flows: Mutex::default(),
        }
    }

    /// Counts requests from this instance's zone to another: shared by all endpoints there, those
    /// that come later too.
    pub(super) fn flow(&self, from: &Arc<str>, to: &Arc<str>) -> Counter {
        let mut flows = lock(&self.flows);
        let flow = flows.entry((Arc::clone(from), Arc::clone(to)));
        let counter = flow.or_insert_with(|| {
            let labels = [
                ("upstream", &*self.upstream),
                ("from_zone", from),
                ("to_zone", to),
            ];
            self.registry.counter(&ZONE_REQUESTS, &labels)
        });
        counter.clone()
    }

    /// Lets the flows go that no endpoint has any more. Their series disappear once the last
    /// request there has ended.
    pub(super) fn forget_flows(&self, own_zone: &str, endpoints: &[Arc<Endpoint>]) {
        let zones: BTreeSet<&str> = endpoints.iter().map(|endpoint| &*endpoint.zone).collect();
        lock(&self.flows).retain(|(from, to), _| **from == *own_zone && zones.contains(&**to));
    }

    pub(super) fn observe(
        &self,
        endpoints: &[Arc<Endpoint>],
        standing: Standing,
        health_of: impl Fn(&Endpoint) -> Health,
    ) {
        let mut counts: BTreeMap<&Arc<str>, [i64; STATES.len()]> = BTreeMap::new();
        for endpoint in endpoints {
            let health = health_of(endpoint);
            let live = &endpoint.live;
            endpoint
                .metrics
                .observe(health, live.in_flight(), live.connections());
            let count = counts.entry(&endpoint.zone).or_default();
            for (count, state) in count.iter_mut().zip(STATES) {
                *count += i64::from(state == health);
            }
        }
        let label = ("upstream", &*self.upstream);
        let mut zones = lock(&self.zones);
        zones.retain(|zone, _| counts.contains_key(zone)); // a zone that is gone shows nothing
        for (zone, count) in counts {
            let gauges = zones.entry(Arc::clone(zone)).or_insert_with(|| {
                STATES.map(|state| {
                    let labels = [label, ("zone", &**zone), ("state", state.as_str())];
                    self.registry.gauge(&ENDPOINTS, &labels)
                })
            });
            for (gauge, count) in gauges.iter().zip(count) {
                gauge.set(count);
            }
        }
        let panic = self
            .panic
            .get_or_init(|| self.registry.gauge(&PANIC, &[label]));
        panic.set(i64::from(standing == Standing::Panic));
    }
}

/// A panic elsewhere cannot leave these maps half-changed in a way that matters to a reader.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The states that are counted.
const STATES: [Health; 3] = [Health::Healthy, Health::Unhealthy, Health::Unknown];

static ENDPOINTS: Family = Family {
    name: "evenkeel_upstream_endpoints",
    help: "Endpoints by state.",
    kind: Kind::Gauge,
    buckets: None,
};
static ZONE_REQUESTS: Family = Family {
    name: "evenkeel_zone_requests_total",
    help: "Attempts sent to endpoints, by this instance's zone and the endpoint's.",
    kind: Kind::Counter,
    buckets: None,
};
static PANIC: Family = Family {
    name: "evenkeel_upstream_panic",
    help: "1 while health is ignored because too few endpoints are healthy.",
    kind: Kind::Gauge,
    buckets: None,
};
