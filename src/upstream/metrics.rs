//! What is measured about an upstream as a whole.
//!
//! Traffic between zones belongs here and not to the endpoints: what an endpoint was sent
//! must still be counted when it is gone, or a rolling update would look as if the traffic
//! had never been.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Standing;
use super::queue::QueueMetrics;
use crate::endpoint::{Endpoint, Flow, Health};
use crate::telemetry::metrics::{Family, Gauge, Handle as _, Kind, Registry};

/// The series of one upstream, made by the first scrape. Shared by all its builds.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    registry: Registry,
    upstream: Arc<str>,
    shown: Mutex<Shown>,
    flows: Mutex<BTreeMap<FromTo, Arc<Flow>>>,
    queue: QueueMetrics,
}

/// What is set at every scrape, while the upstream is a running one.
#[derive(Debug, Default)]
struct Shown {
    panic: Option<Gauge>,
    /// All zones; or none, where there is no room for all. A part of them would look as if the
    /// upstream had no other endpoints.
    zones: BTreeMap<Arc<str>, Zone>,
    is_left_out: bool,
    is_withdrawn: bool,
}

/// A gauge per state.
type Zone = [Gauge; STATES.len()];

/// Endpoints per state, by zone.
type Counts<'a> = BTreeMap<&'a str, [i64; STATES.len()]>;

/// From which zone to which.
type FromTo = (Arc<str>, Arc<str>);

impl UpstreamMetrics {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        Self {
            registry: registry.clone(),
            upstream: upstream.into(),
            shown: Mutex::default(),
            flows: Mutex::default(),
            queue: QueueMetrics::default(),
        }
    }

    /// What is measured about those who wait.
    pub(super) fn queue(&self) -> &QueueMetrics {
        &self.queue
    }

    /// Counts requests from this instance's zone to another: shared by all endpoints there, those
    /// that come later too.
    pub(super) fn flow(&self, from: &Arc<str>, to: &Arc<str>) -> Arc<Flow> {
        let mut flows = lock(&self.flows);
        let flow = flows.entry((Arc::clone(from), Arc::clone(to)));
        let flow = flow.or_insert_with(|| {
            let (upstream, from, to) = (&self.upstream, Arc::clone(from), Arc::clone(to));
            Arc::new(Flow::new(&self.registry, Arc::clone(upstream), from, to))
        });
        Arc::clone(flow)
    }

    /// Lets the flows go that no endpoint has any more. Their series disappear once the last
    /// request there has ended.
    pub(super) fn forget_flows(&self, own_zone: &str, endpoints: &[Arc<Endpoint>]) {
        let zones: BTreeSet<&str> = endpoints.iter().map(|endpoint| &*endpoint.zone).collect();
        let mut flows = lock(&self.flows);
        flows.retain(|(from, to), _| **from == *own_zone && zones.contains(&**to));
        flows.values().for_each(|flow| flow.settle());
    }

    pub(super) fn observe(
        &self,
        endpoints: &[Arc<Endpoint>],
        standing: Standing,
        health_of: impl Fn(&Endpoint) -> Health,
    ) {
        let mut counts = Counts::new();
        if endpoints.is_empty() {
            // None is a number too: an alert on it must not have to look for what is not there.
            counts.entry("").or_default();
        }
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
        let mut shown = lock(&self.shown);
        if shown.is_withdrawn {
            return; // a reload overtook this scrape
        }
        self.show_panic(&mut shown, standing == Standing::Panic);
        self.show_zones(&mut shown, &counts);
    }

    /// Lets go of what nobody sets any more: a request that is still under way may keep the
    /// upstream itself for long.
    pub(super) fn withdraw(&self) {
        *lock(&self.shown) = Shown {
            is_withdrawn: true,
            ..Shown::default()
        };
    }

    fn show_panic(&self, shown: &mut Shown, is_panicking: bool) {
        let known = shown.panic.take().filter(Gauge::is_own);
        let panic = known.or_else(|| {
            let has_room = self.registry.has_room(&PANIC, &["upstream"], 1);
            has_room.then(|| self.registry.gauge(&PANIC, &[self.label()]))
        });
        if let Some(panic) = &panic {
            panic.set(i64::from(is_panicking));
        }
        shown.panic = panic;
    }

    fn show_zones(&self, shown: &mut Shown, counts: &Counts<'_>) {
        let zones = &mut shown.zones;
        zones.retain(|zone, _| counts.contains_key(&**zone)); // a zone that is gone shows nothing
        let more = (counts.len() - zones.len()) * STATES.len();
        if !self.registry.has_room(&ENDPOINTS, &["upstream"], more) {
            if !std::mem::replace(&mut shown.is_left_out, true) {
                self.registry.leave_out(counts.len() * STATES.len());
            }
            return zones.clear();
        }
        shown.is_left_out = false;
        for (zone, count) in counts {
            let gauges = zones.entry((*zone).into()).or_insert_with(|| {
                STATES.map(|state| {
                    let labels = [self.label(), ("zone", *zone), ("state", state.as_str())];
                    self.registry.gauge(&ENDPOINTS, &labels)
                })
            });
            for (gauge, count) in gauges.iter().zip(count) {
                gauge.set(*count);
            }
        }
    }

    fn label(&self) -> (&'static str, &str) {
        ("upstream", &self.upstream)
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
static PANIC: Family = Family {
    name: "evenkeel_upstream_panic",
    help: "1 while health is ignored because too few endpoints are healthy.",
    kind: Kind::Gauge,
    buckets: None,
};
