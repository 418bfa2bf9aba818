//! What is measured about an upstream as a whole.
//!
//! Traffic between zones belongs here and not to the endpoints: what an endpoint was sent
//! must still be counted when it is gone, or a rolling update would look as if the traffic
//! had never been.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Standing;
use super::queue::QueueMetrics;
use super::ties::TieCounts;
use crate::endpoint::{Endpoint, Flow, Health};
use crate::telemetry::metrics::{Counter, Family, Gauge, Handle as _, Kind, Registry};

/// The series of one upstream, made by the first scrape. Shared by all its builds.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    registry: Registry,
    upstream: Arc<str>,
    shown: Mutex<Shown>,
    flows: Mutex<BTreeMap<FromTo, Arc<Flow>>>,
    ejections: Mutex<BTreeMap<&'static str, Counter>>,
    is_suspended: AtomicBool,
    queue: QueueMetrics,
}

/// What is set at every scrape, while the upstream is a running one.
#[derive(Debug, Default)]
struct Shown {
    panic: Option<Gauge>,
    suspended: Option<Gauge>,
    in_flight: Option<Gauge>,
    newest_first: Option<Gauge>,
    retries_left: Option<Gauge>,
    ties: Option<[Gauge; 3]>,
    /// All zones; or none, where there is no room for all. A part of them would look as if the
    /// upstream had no other endpoints.
    zones: BTreeMap<Arc<str>, Zone>,
    is_left_out: bool,
    is_withdrawn: bool,
}

/// A gauge per state, and one for those that are warming.
type Zone = [Gauge; COUNTED];

/// Endpoints per state, by zone.
type Counts<'a> = BTreeMap<&'a str, [i64; COUNTED]>;

/// From which zone to which.
type FromTo = (Arc<str>, Arc<str>);

impl UpstreamMetrics {
    pub(super) fn new(registry: &Registry, upstream: &str) -> Self {
        Self {
            registry: registry.clone(),
            upstream: upstream.into(),
            shown: Mutex::default(),
            flows: Mutex::default(),
            ejections: Mutex::default(),
            is_suspended: AtomicBool::new(false),
            queue: QueueMetrics::default(),
        }
    }

    /// Counts an ejection, by its cause.
    pub(super) fn ejected(&self, cause: &'static str) {
        let mut ejections = lock(&self.ejections);
        let counter = ejections.entry(cause).or_insert_with(|| {
            let labels = [self.label(), ("cause", cause)];
            self.registry.counter(&EJECTIONS, &labels)
        });
        counter.inc();
    }

    /// Takes in whether nothing is ejected.
    pub(super) fn suspend(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::Relaxed);
    }

    /// Whether nothing is ejected.
    pub(super) fn is_suspended(&self) -> bool {
        self.is_suspended.load(Ordering::Relaxed)
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
        (standing, now): (Standing, Instant),
        stands: impl Fn(usize, &Endpoint) -> (Health, bool),
    ) {
        let mut counts = Counts::new();
        if endpoints.is_empty() {
            // None is a number too: an alert on it must not have to look for what is not there.
            counts.entry("").or_default();
        }
        for (place, endpoint) in endpoints.iter().enumerate() {
            let (health, is_warming) = stands(place, endpoint);
            let live = &endpoint.live;
            endpoint
                .metrics
                .observe(health, live.in_flight(), live.connections());
            let penalty = live.penalty_in_requests(now);
            endpoint.metrics.observe_penalty(penalty);
            let count = counts.entry(&endpoint.zone).or_default();
            let state = STATES.iter().position(|state| *state == health);
            let state = state.filter(|_| !is_warming).unwrap_or(WARMING);
            count[state] += 1;
        }
        let mut shown = lock(&self.shown);
        if shown.is_withdrawn {
            return; // a reload overtook this scrape
        }
        let is_panicking = standing == Standing::Panic;
        self.show_flag(&mut shown.panic, &PANIC, is_panicking);
        self.show_flag(&mut shown.suspended, &SUSPENDED, self.is_suspended());
        self.show_zones(&mut shown, &counts);
    }

    /// Shows what is in flight at all endpoints together, whether the queue is turned around, and
    /// how many retries the budget has left.
    pub(super) fn show_load(&self, in_flight: u32, newest_first: bool, retries_left: u32) {
        let mut shown = lock(&self.shown);
        if !shown.is_withdrawn {
            let known = shown.in_flight.take();
            shown.in_flight = self.show(known, &IN_FLIGHT, in_flight.into());
            let known = shown.retries_left.take();
            shown.retries_left = self.show(known, &RETRIES_LEFT, retries_left.into());
            self.show_flag(&mut shown.newest_first, &NEWEST_FIRST, newest_first);
        }
    }

    /// Shows what has become of ties, where there are any.
    pub(super) fn show_ties(&self, counts: &TieCounts) {
        let mut shown = lock(&self.shown);
        if shown.is_withdrawn {
            return;
        }
        let known = shown.ties.take().or_else(|| {
            let has_room = self.registry.has_room(&TIES, &["upstream", "result"], 3);
            let gauge = |result| {
                self.registry
                    .gauge(&TIES, &[self.label(), ("result", result)])
            };
            has_room.then(|| ["new", "again", "beyond"].map(gauge))
        });
        let TieCounts { new, again, beyond } = counts;
        for (gauge, count) in known.iter().flatten().zip([new, again, &**beyond]) {
            gauge.set(i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
        }
        shown.ties = known;
    }

    /// Lets go of what nobody sets any more: a request that is still under way may keep the
    /// upstream itself for long.
    pub(super) fn withdraw(&self) {
        *lock(&self.shown) = Shown {
            is_withdrawn: true,
            ..Shown::default()
        };
    }

    fn show_flag(&self, shown: &mut Option<Gauge>, family: &'static Family, is_so: bool) {
        *shown = self.show(shown.take(), family, is_so.into());
    }

    /// Sets the only gauge of a family, which is made if there is none yet and room for it.
    fn show(&self, known: Option<Gauge>, family: &'static Family, value: i64) -> Option<Gauge> {
        let gauge = known.filter(Gauge::is_own).or_else(|| {
            let has_room = self.registry.has_room(family, &["upstream"], 1);
            has_room.then(|| self.registry.gauge(family, &[self.label()]))
        })?;
        gauge.set(value);
        Some(gauge)
    }

    fn show_zones(&self, shown: &mut Shown, counts: &Counts<'_>) {
        let zones = &mut shown.zones;
        zones.retain(|zone, _| counts.contains_key(&**zone)); // a zone that is gone shows nothing
        let more = (counts.len() - zones.len()) * COUNTED;
        if !self.registry.has_room(&ENDPOINTS, &["upstream"], more) {
            if !std::mem::replace(&mut shown.is_left_out, true) {
                self.registry.leave_out(counts.len() * COUNTED);
            }
            return zones.clear();
        }
        shown.is_left_out = false;
        for (zone, count) in counts {
            let gauges = zones.entry((*zone).into()).or_insert_with(|| {
                std::array::from_fn(|state| {
                    let state = STATES.get(state).map_or("warming", |state| state.as_str());
                    let labels = [self.label(), ("zone", *zone), ("state", state)];
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
const STATES: [Health; 5] = [
    Health::Healthy,
    Health::Unhealthy,
    Health::Ejected,
    Health::HalfOpen,
    Health::Unknown,
];

/// Behind them: healthy, and does not get its whole share yet.
const WARMING: usize = STATES.len();
const COUNTED: usize = STATES.len() + 1;

static ENDPOINTS: Family = Family {
    name: "evenkeel_upstream_endpoints",
    help: "Endpoints by state; warming: healthy, and by slow_start not at its whole share yet.",
    kind: Kind::Gauge,
    buckets: None,
};
static EJECTIONS: Family = Family {
    name: "evenkeel_upstream_ejections_total",
    help: "Ejections of endpoints, by cause.",
    kind: Kind::Counter,
    buckets: None,
};
static SUSPENDED: Family = Family {
    name: "evenkeel_upstream_ejections_suspended",
    help: "1 while no endpoint is ejected because many fail at once, here or in most upstreams.",
    kind: Kind::Gauge,
    buckets: None,
};
static IN_FLIGHT: Family = Family {
    name: "evenkeel_upstream_in_flight",
    help: "Requests and tunnels in flight at all endpoints of an upstream.",
    kind: Kind::Gauge,
    buckets: None,
};
static TIES: Family = Family {
    name: "evenkeel_upstream_ties_total",
    help: "Clients that were tied to an endpoint, or to another one; keys that met a full one.",
    kind: Kind::Counter,
    buckets: None,
};
static NEWEST_FIRST: Family = Family {
    name: "evenkeel_queue_newest_first",
    help: "1 while the newest request that waits is served first, since more come than can be.",
    kind: Kind::Gauge,
    buckets: None,
};
static RETRIES_LEFT: Family = Family {
    name: "evenkeel_upstream_retries_left",
    help: "Retries and hedges that the budget of these ten seconds allows still.",
    kind: Kind::Gauge,
    buckets: None,
};
static PANIC: Family = Family {
    name: "evenkeel_upstream_panic",
    help: "1 while health is ignored because too few endpoints are healthy.",
    kind: Kind::Gauge,
    buckets: None,
};
