//! What is counted about one endpoint.
//!
//! Problem: an endpoint could have twenty series, most of which never count anything, and a fleet
//! of ten thousand would spend its start on creating them. So each series is made by the first
//! thing that it counts. The handles outlive a reload (a build takes them over from the one
//! before), or a counter that did not move since would start again at zero.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::ConnectFailure;
use super::health::{By, Health};
use crate::telemetry::metrics::{Counter, Family, Gauge, Histogram, Kind, Registry};

/// The series of one endpoint.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    names: Names,
    flow: Counter,
    requests: [OnceLock<Counter>; CLASSES.len()],
    connect_errors: [OnceLock<Counter>; ConnectFailure::ALL.len()],
    connect_duration: OnceLock<Histogram>,
    checks: [OnceLock<Counter>; CheckResult::ALL.len()],
    transitions: Mutex<Vec<Transitions>>,
    gauges: OnceLock<Gauges>,
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

/// How a health check ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// As expected.
    Passed,
    /// No connection.
    ConnectFailed,
    /// No answer in time.
    TimedOut,
    /// An answer that is no HTTP, or a connection that ended before one.
    BadAnswer,
    /// An answer with a status that was not expected.
    BadStatus,
}

/// How often a health was reached, and what decided it.
#[derive(Debug)]
struct Transitions {
    to: Health,
    by: By,
    counter: Counter,
}

/// Read off at every scrape; made by the first.
#[derive(Debug)]
struct Gauges {
    states: [Gauge; STATES.len()],
    in_flight: Gauge,
    active: Gauge,
    idle: Gauge,
}

impl Metrics {
    /// Series with these names, none of which exists yet. `flow` counts what goes from this
    /// instance's zone to the endpoint's: all endpoints there share it.
    pub fn new(registry: &Registry, names: Names, flow: Counter) -> Self {
        Self {
            registry: registry.clone(),
            names,
            flow,
            requests: Default::default(),
            connect_errors: Default::default(),
            connect_duration: OnceLock::new(),
            checks: Default::default(),
            transitions: Mutex::default(),
            gauges: OnceLock::new(),
        }
    }

    /// Whether the series have these names.
    pub fn are_for(&self, names: &Names) -> bool {
        self.names == *names
    }

    /// Counts an attempt by the class of its status; `None` ended without a response.
    pub(super) fn responded(&self, status: Option<StatusCode>) {
        self.flow.inc();
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let class = if class < CLASSES.len() { class } else { 0 };
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
        let mut known = self
            .transitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("upstream", &self.names.upstream),
            ("zone", &self.names.zone),
            ("endpoint", &self.names.endpoint),
        ]
    }
}

impl CheckResult {
    const ALL: [Self; 5] = [
        Self::Passed,
        Self::ConnectFailed,
        Self::TimedOut,
        Self::BadAnswer,
        Self::BadStatus,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut => "timed_out",
            Self::BadAnswer => "bad_answer",
            Self::BadStatus => "bad_status",
        }
    }
}

/// Classes of status by their first digit; 0 stands for no response at all.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The states that an endpoint can be in.
const STATES: [Health; 3] = [Health::Healthy, Health::Unhealthy, Health::Unknown];

static REQUESTS: Family = Family {
    name: "evenkeel_endpoint_requests_total",
    help: "Attempts that were sent to the endpoint, by class of the status; none: no response.",
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
static CONNECTIONS: Family = Family {
    name: "evenkeel_endpoint_connections",
    help: "Open connections to the endpoint, by whether a request is using them.",
    kind: Kind::Gauge,
    buckets: None,
};
