//! What is counted about one endpoint.
//!
//! Problem: an endpoint could have twenty series, most of which never count anything, and a fleet
//! of ten thousand would spend its start on creating them. So each series is made by the first
//! thing that it counts. The handles outlive a reload (a build takes them over from the one
//! before), or a counter that did not move since would start again at zero.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::ConnectFailure;
use super::check_result::CheckResult;
use super::datagrams::{Datagrams, Direction};
use super::flow::Flow;
use super::health::{By, Health};
use super::tcp::EndpointTcp;
use super::tcp_sessions::{SessionEnd, TcpSessions};
use crate::telemetry::metrics::{Counter, Family, Gauge, Handle, Histogram, Kind, Registry};
use crate::telemetry::tcp::TcpMeasures;

/// The series of one endpoint.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    names: Names,
    flow: Arc<Flow>,
    requests: [OnceLock<Counter>; CLASSES.len()],
    connect_errors: [OnceLock<Counter>; ConnectFailure::ALL.len()],
    connect_duration: OnceLock<Histogram>,
    checks: [OnceLock<Counter>; CheckResult::ALL.len()],
    datagrams: Datagrams,
    sessions: TcpSessions,
    tcp: EndpointTcp,
    transitions: Mutex<Vec<Transitions>>,
    gauges: OnceLock<Gauges>,
    penalty: OnceLock<Gauge>,
}

/// The labels of an endpoint's series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Name of the upstream.
    pub upstream: Arc<str>,
    /// Zone that this instance stands in; empty if it was not told.
    pub own_zone: Arc<str>,
    /// Zone; empty if none was written.
    pub zone: Arc<str>,
    /// Name of the endpoint.
    pub endpoint: Arc<str>,
}

/// How often a health was reached, and what decided it.
#[derive(Debug, Clone)]
struct Transitions {
    to: Health,
    by: By,
    counter: Counter,
}

/// Read off at every scrape; made by the first.
#[derive(Debug, Clone)]
struct Gauges {
    states: [Gauge; STATES.len()],
    in_flight: Gauge,
    active: Gauge,
    idle: Gauge,
}

impl Metrics {
    /// Series with these names, none of which exists yet. `flow` counts what goes from this
    /// instance's zone to the endpoint's: all endpoints there share it.
    pub fn new(registry: &Registry, names: Names, flow: Arc<Flow>) -> Self {
        Self {
            registry: registry.clone(),
            names,
            flow,
            requests: Default::default(),
            connect_errors: Default::default(),
            connect_duration: OnceLock::new(),
            checks: Default::default(),
            datagrams: Datagrams::default(),
            sessions: TcpSessions::default(),
            tcp: EndpointTcp::default(),
            transitions: Mutex::default(),
            gauges: OnceLock::new(),
            penalty: OnceLock::new(),
        }
    }

    /// Whether the series have these names.
    pub fn are_for(&self, names: &Names) -> bool {
        self.names == *names
    }

    /// The same series for the next build, without those that found no room: they are asked for
    /// again. `None` if all found it.
    pub fn renewed(&self) -> Option<Self> {
        let transitions = self.transitions();
        let is_whole = self.requests.iter().all(is_whole)
            && self.connect_errors.iter().all(is_whole)
            && is_whole(&self.connect_duration)
            && self.checks.iter().all(is_whole)
            && self.datagrams.are_whole()
            && self.sessions.are_whole()
            && self.tcp.are_whole()
            && transitions.iter().all(|known| known.counter.is_own())
            && self.gauges.get().is_none_or(Gauges::are_own)
            && is_whole(&self.penalty);
        if is_whole {
            return None;
        }
        let mut own = transitions.clone();
        own.retain(|known| known.counter.is_own());
        Some(Self {
            registry: self.registry.clone(),
            names: self.names.clone(),
            flow: Arc::clone(&self.flow),
            requests: self.requests.each_ref().map(whole),
            connect_errors: self.connect_errors.each_ref().map(whole),
            connect_duration: whole(&self.connect_duration),
            checks: self.checks.each_ref().map(whole),
            datagrams: self.datagrams.renewed(),
            sessions: self.sessions.renewed(),
            tcp: self.tcp.renewed(),
            transitions: Mutex::new(own),
            gauges: self
                .gauges
                .get()
                .filter(|gauges| gauges.are_own())
                .map_or_else(OnceLock::new, |gauges| OnceLock::from(gauges.clone())),
            penalty: whole(&self.penalty),
        })
    }

    /// Counts an attempt by the class of its status; `None` ended without a response.
    pub(super) fn responded(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        self.count(if class < UNPROCESSED { class } else { 0 });
    }

    /// Counts one of which the endpoint took no notice.
    pub(super) fn unprocessed(&self) {
        self.count(UNPROCESSED);
    }

    fn count(&self, class: usize) {
        self.flow.inc();
        let counter = self.requests[class].get_or_init(|| {
            let [upstream, zone, endpoint] = self.labels();
            let class = ("class", CLASSES[class]);
            self.registry
                .counter(&REQUESTS, &[upstream, zone, endpoint, class])
        });
        counter.inc();
    }

    pub(super) fn connected(&self, took: Duration) {
        let histogram = self.connect_duration.get_or_init(|| {
            let [upstream, zone, _] = self.labels();
            self.registry
                .histogram(&CONNECT_DURATION, &[upstream, zone])
        });
        histogram.observe(took);
    }

    pub(super) fn connect_failed(&self, failure: ConnectFailure) {
        let counter = self.connect_errors[failure.index()].get_or_init(|| {
            let [upstream, zone, _] = self.labels();
            let reason = ("reason", failure.as_str());
            self.registry
                .counter(&CONNECT_ERRORS, &[upstream, zone, reason])
        });
        counter.inc();
    }

    /// Counts datagrams of a session, and their bytes.
    pub fn relayed(&self, direction: Direction, count: u64, bytes: u64) {
        let source = (&self.registry, &self.names);
        self.datagrams.add(direction, (count, bytes), source);
    }

    /// Counts a TCP session that has ended, or could not begin.
    pub fn session_ended(&self, end: SessionEnd) {
        self.sessions.count(end, &self.registry, &self.names);
    }

    /// Where samples of its connections go.
    pub fn tcp(&self) -> Arc<TcpMeasures> {
        self.tcp.measures(&self.registry, &self.names)
    }

    /// Counts a health check.
    pub fn checked(&self, result: CheckResult) {
        let counter = self.checks[result as usize].get_or_init(|| {
            let [upstream, _, endpoint] = self.labels();
            let result = ("result", result.as_str());
            self.registry
                .counter(&CHECKS, &[upstream, endpoint, result])
        });
        counter.inc();
    }

    /// Counts a change of health.
    pub fn transitioned(&self, to: Health, by: By) {
        let mut known = self.transitions();
        if let Some(same) = known.iter().find(|same| (same.to, same.by) == (to, by)) {
            same.counter.inc();
            return;
        }
        let [upstream, _, endpoint] = self.labels();
        let labels = [upstream, endpoint, ("to", to.as_str()), ("by", by.as_str())];
        let counter = self.registry.counter(&TRANSITIONS, &labels);
        counter.inc();
        known.push(Transitions { to, by, counter });
    }

    /// Sets the gauges before a scrape. An endpoint without health checks counts as healthy, so the
    /// caller says what its health is.
    pub fn observe(&self, health: Health, in_flight: u32, connections: u32) {
        let gauges = self.gauges.get_or_init(|| self.make_gauges());
        for (gauge, state) in gauges.states.iter().zip(STATES) {
            gauge.set(i64::from(state == health));
        }
        // Every request in flight has a connection, bar those that are still waiting for one.
        let active = in_flight.min(connections);
        gauges.in_flight.set(i64::from(in_flight));
        gauges.active.set(i64::from(active));
        gauges.idle.set(i64::from(connections - active));
    }

    /// Sets what its failures, and answers that came far too late, count as: requests in flight.
    pub fn observe_penalty(&self, requests: u32) {
        if requests > 0 || self.penalty.get().is_some() {
            let make = || self.registry.gauge(&PENALTY, &self.labels());
            self.penalty.get_or_init(make).set(i64::from(requests));
        }
    }

    fn make_gauges(&self) -> Gauges {
        let [upstream, zone, endpoint] = self.labels();
        let gauge = |family, state| {
            self.registry
                .gauge(family, &[upstream, zone, endpoint, ("state", state)])
        };
        Gauges {
            states: STATES.map(|state| gauge(&STATE, state.as_str())),
            in_flight: self.registry.gauge(&IN_FLIGHT, &[upstream, zone, endpoint]),
            active: gauge(&CONNECTIONS, "active"),
            idle: gauge(&CONNECTIONS, "idle"),
        }
    }

    fn transitions(&self) -> MutexGuard<'_, Vec<Transitions>> {
        // A panic elsewhere cannot leave a list half-changed.
        self.transitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("upstream", &self.names.upstream),
            ("zone", &self.names.zone),
            ("endpoint", &self.names.endpoint),
        ]
    }
}

impl Gauges {
    fn are_own(&self) -> bool {
        let states = self.states.iter();
        states
            .chain([&self.in_flight, &self.active, &self.idle])
            .all(Handle::is_own)
    }
}

/// Whether a series found room, or was not asked for yet.
fn is_whole<H: Handle>(series: &OnceLock<H>) -> bool {
    series.get().is_none_or(Handle::is_own)
}

/// The series, if it found room; else it is to be asked for again.
fn whole<H: Handle + Clone>(series: &OnceLock<H>) -> OnceLock<H> {
    let own = series.get().filter(|handle| handle.is_own());
    own.map_or_else(OnceLock::new, |handle| OnceLock::from(handle.clone()))
}

/// Classes of status by their first digit; 0 stands for no response at all.
const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "unprocessed"];

/// Behind the classes.
const UNPROCESSED: usize = CLASSES.len() - 1;

/// The states that an endpoint can be in.
const STATES: [Health; 5] = [
    Health::Healthy,
    Health::Unhealthy,
    Health::Ejected,
    Health::HalfOpen,
    Health::Unknown,
];

static REQUESTS: Family = Family {
    name: "evenkeel_endpoint_requests_total",
    help: "Attempts that were sent to the endpoint, by class of the status; none: no response; \
           unprocessed: it took no notice, and they were sent to it again.",
    kind: Kind::Counter,
    buckets: None,
};
static CONNECT_ERRORS: Family = Family {
    name: "evenkeel_endpoint_connect_errors_total",
    help: "Connections to endpoints that failed, by cause (RFC 9209).",
    kind: Kind::Counter,
    buckets: None,
};
static CONNECT_DURATION: Family = Family {
    name: "evenkeel_endpoint_connect_duration_seconds",
    help: "Time until a new connection to an endpoint stands.",
    kind: Kind::Histogram,
    // A network's round trip, not a service's answer: from half a millisecond to the default limit.
    buckets: Some(&[
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0,
    ]),
};
static CHECKS: Family = Family {
    name: "evenkeel_health_checks_total",
    help: "Health checks by result.",
    kind: Kind::Counter,
    buckets: None,
};
static TRANSITIONS: Family = Family {
    name: "evenkeel_endpoint_transitions_total",
    help: "Changes of an endpoint's health, by what decided them.",
    kind: Kind::Counter,
    buckets: None,
};
static STATE: Family = Family {
    name: "evenkeel_endpoint_state",
    help: "1 for the state that the endpoint is in, 0 for the others.",
    kind: Kind::Gauge,
    buckets: None,
};
static IN_FLIGHT: Family = Family {
    name: "evenkeel_endpoint_in_flight",
    help: "Requests and tunnels in flight at the endpoint.",
    kind: Kind::Gauge,
    buckets: None,
};
static PENALTY: Family = Family {
    name: "evenkeel_endpoint_penalty",
    help: "Requests in flight that its failures, and answers far later than usual, count as.",
    kind: Kind::Gauge,
    buckets: None,
};
static CONNECTIONS: Family = Family {
    name: "evenkeel_endpoint_connections",
    help: "Open connections to the endpoint, by whether a request is using them.",
    kind: Kind::Gauge,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_build_asks_again_for_what_found_no_room() {
        let registry = Registry::with_limit(1, 16);
        let metrics = |endpoint: &str| {
            let names = Names {
                upstream: "api".into(),
                own_zone: "".into(),
                zone: "".into(),
                endpoint: endpoint.into(),
            };
            let [from, to] = [&names.own_zone, &names.zone].map(Arc::clone);
            let flow = Flow::new(&registry, Arc::clone(&names.upstream), from, to);
            Metrics::new(&registry, names, Arc::new(flow))
        };
        let before: Vec<Metrics> = (0..8).map(|number| metrics(&number.to_string())).collect();
        for metrics in &before {
            metrics.responded(Some(StatusCode::OK));
        }
        assert!(before[0].renewed().is_none());
        let late = metrics("late");
        late.responded(Some(StatusCode::OK));
        late.checked(CheckResult::Passed);
        drop(before);
        let renewed = late.renewed().expect("one of two had no room");
        drop(late);
        renewed.responded(Some(StatusCode::OK));
        assert!(renewed.renewed().is_none());
        // What had room has lost nothing.
        let checks = renewed.checks[CheckResult::Passed as usize].get();
        assert_eq!(checks.map(Counter::value), Some(1));
    }
}
