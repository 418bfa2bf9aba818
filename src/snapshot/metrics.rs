//! What is measured about listeners and routes: handles resolved while the snapshot is built.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;

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
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    /// Retries by their outcome.
    pub retries: Retries,
    requests: Arc<Requests>,
    first_byte: Arc<FirstByte>,
    errors: Arc<Errors>,
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay<'a> {
    gauge: &'a Gauge,
}

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

/// Series that come into being when they are first needed, since most combinations never occur. A
/// look-up is a scan of the few that did.
#[derive(Debug)]
struct Lazy<K, H>(ArcSwap<Vec<(K, H)>>);

/// By method and status.
type Requests = Lazy<(MethodLabel, u16), Counter>;

/// By upstream and zone.
type FirstByte = Lazy<(Arc<str>, Arc<str>), Histogram>;

/// By upstream and reason.
type Errors = Lazy<(Arc<str>, &'static str), Counter>;

/// A method as a label: from a closed list, so that no client can make series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MethodLabel(&'static str);

impl ListenerMetrics {
    /// Resolves the handles of a listener.
    pub fn new(registry: &Registry, listener: &str) -> Self {
        let labels = [("listener", listener)];
        let refused = |reason| {
            registry.counter(
                &CONNECTIONS_REFUSED,
                &[("listener", listener), ("reason", reason)],
            )
        };
        Self {
            connections: registry.gauge(&CONNECTIONS, &labels),
            accepted: registry.counter(&CONNECTIONS_ACCEPTED, &labels),
            refused_full: refused("full"),
            refused_error: refused("accept_error"),
            panicked: registry.counter(&CONNECTION_PANICS, &labels),
        }
    }
}

impl RouteMetrics {
    /// Resolves the handles of a route at a listener.
    pub fn new(registry: &Registry, listener: &Arc<str>, route: &Arc<str>) -> Self {
        let labels = [("listener", &**listener), ("route", &**route)];
        let retries =
            |outcome| registry.counter(&RETRIES, &[("route", route), ("outcome", outcome)]);
        Self {
            duration: registry.histogram(&REQUEST_DURATION, &labels),
            in_flight: registry.gauge(&REQUESTS_IN_FLIGHT, &labels),
            request_bytes: registry.counter(&REQUEST_BYTES, &labels),
            response_bytes: registry.counter(&RESPONSE_BYTES, &labels),
            retries: Retries {
                success: retries("success"),
                failure: retries("failure"),
                budget_exhausted: retries("budget_exhausted"),
            },
            requests: Arc::default(),
            first_byte: Arc::default(),
            errors: Arc::default(),
            registry: registry.clone(),
            listener: Arc::clone(listener),
            route: Arc::clone(route),
        }
    }

    /// Goes on with the series that the same route had made under the configuration before, which
    /// would end with it otherwise. Those of upstreams that are not there any more do end.
    #[must_use]
    pub fn after(mut self, previous: &Self, is_there: impl Fn(&str) -> bool) -> Self {
        self.requests = Arc::clone(&previous.requests);
        self.first_byte = Lazy::kept(&previous.first_byte, |(upstream, _)| is_there(upstream));
        self.errors = Lazy::kept(&previous.errors, |(upstream, _)| {
            upstream.is_empty() || is_there(upstream)
        });
        self
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
        self.requests.with((method, code), Counter::inc, || {
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

    /// Records the time until the first byte of an upstream's response.
    pub fn observe_first_byte(&self, upstream: &Arc<str>, zone: &Arc<str>, after: Duration) {
        let same = |key: &(Arc<str>, Arc<str>)| key.0 == *upstream && key.1 == *zone;
        self.first_byte.with_matching(
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

    /// Counts a response of our own.
    pub fn count_error(&self, upstream: &Arc<str>, reason: &'static str) {
        let same = |key: &(Arc<str>, &'static str)| key.0 == *upstream && key.1 == reason;
        self.errors.with_matching(same, Counter::inc, || {
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

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl<K, H> Default for Lazy<K, H> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

impl<K: Clone + PartialEq, H: Clone> Lazy<K, H> {
    /// The same series; without those that are not wanted if there are such.
    fn kept(all: &Arc<Self>, is_wanted: impl Fn(&K) -> bool) -> Arc<Self> {
        let present = all.0.load();
        let mut kept = Vec::clone(&present);
        kept.retain(|(key, _)| is_wanted(key));
        if kept.len() == present.len() {
            return Arc::clone(all);
        }
        Arc::new(Self(ArcSwap::from_pointee(kept)))
    }

    fn with(&self, key: K, act: impl Fn(&H), make: impl FnOnce() -> H) {
        self.with_matching(|other| *other == key, act, || (key.clone(), make()));
    }

    fn with_matching(
        &self,
        same: impl Fn(&K) -> bool,
        act: impl Fn(&H),
        make: impl FnOnce() -> (K, H),
    ) {
        let present = self.0.load();
        if let Some((_, handle)) = present.iter().find(|(key, _)| same(key)) {
            return act(handle);
        }
        let made = make();
        act(&made.1);
        // Two workers may make the same series at once: the registry gives both the same cells, so
        // whichever entry stays is right.
        self.0.rcu(|present| {
            let mut next = Vec::clone(present);
            next.push(made.clone());
            next
        });
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
    help: "Time until the first byte of an endpoint's response.",
    kind: Kind::Histogram,
    buckets: None,
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

static RETRIES: Family = Family {
    name: "evenkeel_retries_total",
    help: "Requests that were tried again.",
    kind: Kind::Counter,
    buckets: None,
};
