//! What is measured about an upstream as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Standing;
use crate::endpoint::{Endpoint, Health};
use crate::telemetry::metrics::{Family, Gauge, Kind, Registry};

/// The series of one upstream, made by the first scrape. Shared by all its builds.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    registry: Registry,
    upstream: Box<str>,
    panic: OnceLock<Gauge>,
    zones: Mutex<BTreeMap<Arc<str>, Zone>>,
}

/// A gauge per state.
type Zone = [Gauge; STATES.len()];

impl UpstreamMetrics {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        Self {
            registry: registry.clone(),
            upstream: upstream.into(),
            panic: OnceLock::new(),
            zones: Mutex::default(),
        }
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
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The states that are counted.
const STATES: [Health; 3] = [Health::Healthy, Health::Unhealthy, Health::Unknown];

static ENDPOINTS: Family = Family {
    name: "evenkeel_upstream_endpoints",
    help: "Endpoints by state.",
    kind: Kind::Gauge,
    buckets: None,
};
static PANIC: Family = Family {
    name: "evenkeel_upstream_panic",
    help: "1 while health is ignored because too few endpoints are healthy.",
    kind: Kind::Gauge,
    buckets: None,
};
