//! What is measured about listeners and routes: handles resolved while the snapshot is built.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::lazy::Lazy;
use crate::telemetry::metrics::{Counter, Family, Gauge, Histogram, Kind, Registry};

/// Handles of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Connections now.
    pub connections: Gauge,
    /// Connections ever.
    pub accepted: Counter,
    /// Connections refused since the listener, or a worker, was full.
    pub refused_full: Counter,
    /// Connections lost to errors of `accept`.
    pub refused_error: Counter,
    /// Connections whose task panicked.
    pub panicked: Counter,
}

/// Handles of one route at one listener.
#[derive(Debug)]
pub struct RouteMetrics {
    registry: Registry,
    listener: Arc<str>,
    route: Arc<str>,
    /// From the first byte of the request to the last of the response.
    pub duration: Histogram,
    in_flight: Gauge,
    /// Our own share of the time.
    pub overhead: Histogram,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    /// Retries by their outcome.
    pub retries: Retries,
    shed: [Counter; Shed::ALL.len()],
    seldom: Arc<Seldom>,
}

/// The series of a route that come into being when they are first needed. Shared with the route of
/// the same name in the next snapshot, so that a reload loses none of them.
#[derive(Debug, Default)]
struct Seldom {
    requests: Lazy<(MethodLabel, u16), Counter>,
    first_byte: Lazy<UpstreamAndZone, Histogram>,
    errors: Lazy<UpstreamAndReason, Counter>,
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay<'a> {
    gauge: &'a Gauge,
}

type UpstreamAndZone = (Arc<str>, Arc<str>);

type UpstreamAndReason = (Arc<str>, &'static str);

/// Counters of retries.
#[derive(Debug)]
pub struct Retries {
    /// The last attempt brought a response.
    pub success: Counter,
    /// The last attempt failed too.
    pub failure: Counter,
    /// A retry was wanted, and the budget was empty.
    pub budget_exhausted: Counter,
}

/// Why a request is turned away although nothing is wrong with it, nor with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Every endpoint is at its limit.
    Overload,
    /// The instance ends before the request has.
    Draining,
}

/// A method as a label: from a closed list, so that no client can make series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MethodLabel(&'static str);

impl ListenerMetrics {
    /// Resolves the handles of a listener. `protocol`: the word for what it speaks.
    pub fn new(registry: &Registry, listener: &str, protocol: &str) -> Self {
        let labels = [("listener", listener)];
        let refused = |reason| {
            registry.counter(
                &CONNECTIONS_REFUSED,
                &[("listener", listener), ("reason", reason)],
            )
        };
        Self {
            connections: registry.gauge(&CONNECTIONS, &[labels[0], ("protocol", protocol)]),
            accepted: registry.counter(&CONNECTIONS_ACCEPTED, &labels),
            refused_full: refused("full"),
            refused_error: refused("accept_error"),
            panicked: registry.counter(&CONNECTION_PANICS, &labels),
        }
    }
}

impl RouteMetrics {
    /// Resolves the handles of a route at a listener. `before` are those of the same route in the
    /// snapshot in force; `exists` tells which upstreams still do, since the series of one that was
    /// removed must disappear.
    pub fn new(
        registry: &Registry,
        listener: &Arc<str>,
        route: &Arc<str>,
        before: Option<&Self>,
        exists: impl Fn(&str) -> bool,
    ) -> Self {
        let labels = [("listener", &**listener), ("route", &**route)];
        let retries =
            |outcome| registry.counter(&RETRIES, &[("route", route), ("outcome", outcome)]);
        Self {
            duration: registry.histogram(&REQUEST_DURATION, &labels),
            in_flight: registry.gauge(&REQUESTS_IN_FLIGHT, &labels),
            overhead: registry.histogram(&OVERHEAD, &labels[..1]),
            request_bytes: registry.counter(&REQUEST_BYTES, &labels),
            response_bytes: registry.counter(&RESPONSE_BYTES, &labels),
            retries: Retries {
                success: retries("success"),
                failure: retries("failure"),
                budget_exhausted: retries("budget_exhausted"),
            },
            shed: Shed::ALL
                .map(|shed| registry.counter(&SHED, &[labels[1], ("reason", shed.as_str())])),
            seldom: before.map_or_else(Arc::default, |before| before.seldom.kept(exists)),
            registry: registry.clone(),
            listener: Arc::clone(listener),
            route: Arc::clone(route),
        }
    }

    /// Counts a request as under way until the guard is dropped, however it ends.
    pub fn begin(&self) -> UnderWay<'_> {
        self.in_flight.inc();
        UnderWay {
            gauge: &self.in_flight,
        }
    }

    /// Requests under way.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.value()
    }

    /// Counts a request that has ended.
    pub fn count(&self, method: &Method, code: u16) {
        let method = MethodLabel::of(method);
        self.seldom
            .requests
            .with(&(method, code), Counter::inc, || {
                let status = code.to_string();
                let labels = [
                    ("listener", &*self.listener),
                    ("route", &*self.route),
                    ("method", method.0),
                    ("code", &*status),
                ];
                self.registry.counter(&REQUESTS, &labels)
            });
    }

    /// Records the time from the end of a request to the first byte of an upstream's response.
    pub fn observe_first_byte(&self, upstream: &Arc<str>, zone: &Arc<str>, after: Duration) {
        let same = |key: &UpstreamAndZone| key.0 == *upstream && key.1 == *zone;
        self.seldom.first_byte.with_matching(
            same,
            |histogram| histogram.observe(after),
            || {
                let labels = [
                    ("route", &*self.route),
                    ("upstream", &**upstream),
                    ("zone", &**zone),
                ];
                let histogram = self.registry.histogram(&ENDPOINT_DURATION, &labels);
                ((Arc::clone(upstream), Arc::clone(zone)), histogram)
            },
        );
    }

    /// Counts a response of our own; `shed` if it was made to protect what is running.
    pub fn count_error(&self, upstream: &Arc<str>, reason: &'static str, shed: Option<Shed>) {
        if let Some(shed) = shed {
            self.shed[shed as usize].inc();
        }
        let same = |key: &UpstreamAndReason| key.0 == *upstream && key.1 == reason;
        self.seldom.errors.with_matching(same, Counter::inc, || {
            let labels = [
                ("route", &*self.route),
                ("upstream", &**upstream),
                ("reason", reason),
            ];
            (
                (Arc::clone(upstream), reason),
                self.registry.counter(&ERRORS, &labels),
            )
        });
    }
}

impl Shed {
    /// In the order of their declaration, which is the order of their counters.
    const ALL: [Self; 2] = [Self::Overload, Self::Draining];

    fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Draining => "draining",
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Seldom {
    fn kept(self: &Arc<Self>, exists: impl Fn(&str) -> bool) -> Arc<Self> {
        // Our own answers without an upstream are counted under the empty name.
        let stays = |upstream: &str| upstream.is_empty() || exists(upstream);
        if self.first_byte.all(|(upstream, _)| stays(upstream))
            && self.errors.all(|(upstream, _)| stays(upstream))
        {
            return Arc::clone(self);
        }
        Arc::new(Self {
            requests: self.requests.filtered(|_| true),
            first_byte: self.first_byte.filtered(|(upstream, _)| stays(upstream)),
            errors: self.errors.filtered(|(upstream, _)| stays(upstream)),
        })
    }
}

impl MethodLabel {
    fn of(method: &Method) -> Self {
        const KNOWN: [&str; 9] = [
            "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
        ];
        let name = method.as_str();
        Self(
            KNOWN
                .iter()
                .find(|known| **known == name)
                .copied()
                .unwrap_or("_OTHER"),
        )
    }
}

/// The proxy's own time is a thousandth of an endpoint's: from 10 µs on.
const OVERHEAD_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1,
    1.0,
];

static CONNECTIONS: Family = Family {
    name: "evenkeel_connections",
    help: "Client connections that are open.",
    kind: Kind::Gauge,
    buckets: None,
};

static CONNECTIONS_ACCEPTED: Family = Family {
    name: "evenkeel_connections_accepted_total",
    help: "Client connections accepted.",
    kind: Kind::Counter,
    buckets: None,
};

static CONNECTIONS_REFUSED: Family = Family {
    name: "evenkeel_connections_refused_total",
    help: "Client connections that were not served.",
    kind: Kind::Counter,
    buckets: None,
};

static CONNECTION_PANICS: Family = Family {
    name: "evenkeel_connection_panics_total",
    help: "Client connections that ended by a fault of the proxy.",
    kind: Kind::Counter,
    buckets: None,
};

static REQUESTS: Family = Family {
    name: "evenkeel_http_requests_total",
    help: "Requests answered.",
    kind: Kind::Counter,
    buckets: None,
};

static REQUEST_DURATION: Family = Family {
    name: "evenkeel_http_request_duration_seconds",
    help: "Time from the first byte of a request to the last byte of its response.",
    kind: Kind::Histogram,
    buckets: None,
};

static ENDPOINT_DURATION: Family = Family {
    name: "evenkeel_http_endpoint_duration_seconds",
    help: "Time from the end of a request to the first byte of an endpoint's response.",
    kind: Kind::Histogram,
    buckets: None,
};

static OVERHEAD: Family = Family {
    name: "evenkeel_proxy_overhead_seconds",
    help: "Time that a request spent in the proxy: all of it but the waiting for client and endpoint.",
    kind: Kind::Histogram,
    buckets: Some(OVERHEAD_SECONDS),
};
static REQUESTS_IN_FLIGHT: Family = Family {
    name: "evenkeel_http_requests_in_flight",
    help: "Requests under way.",
    kind: Kind::Gauge,
    buckets: None,
};

static REQUEST_BYTES: Family = Family {
    name: "evenkeel_http_request_bytes_total",
    help: "Bytes of request bodies.",
    kind: Kind::Counter,
    buckets: None,
};

static RESPONSE_BYTES: Family = Family {
    name: "evenkeel_http_response_bytes_total",
    help: "Bytes of response bodies.",
    kind: Kind::Counter,
    buckets: None,
};

static ERRORS: Family = Family {
    name: "evenkeel_http_errors_total",
    help: "Responses that the proxy made itself, by RFC 9209 reason.",
    kind: Kind::Counter,
    buckets: None,
};

static SHED: Family = Family {
    name: "evenkeel_shed_total",
    help: "Requests that were turned away to protect what is running.",
    kind: Kind::Counter,
    buckets: None,
};

static RETRIES: Family = Family {
    name: "evenkeel_retries_total",
    help: "Requests that were tried again.",
    kind: Kind::Counter,
    buckets: None,
};
