//! What is measured about listeners and routes: handles resolved while the snapshot is built.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::late::{RouteSeries, Source};
use super::lazy::Lazy;
use super::method::MethodLabel;
use super::retries::{Hedges, Retries};
use super::shed::Shed;
use super::spoken::{ConnectionProtocol, OpenConnections};
use super::tcp::clients_tcp;
use super::tunnels::TunnelMetrics;
use crate::policy::grpc::Code;
use crate::telemetry::access::Origin;
use crate::telemetry::metrics::{Counter, Family, Gauge, Handle as _, Histogram, Kind, Registry};
use crate::telemetry::tcp::TcpMeasures;

/// Handles of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Connections now, by what is spoken on them.
    pub connections: OpenConnections,
    /// Connections ever.
    pub accepted: Counter,
    /// Connections refused since the listener, or a worker, was full.
    pub refused_full: Counter,
    /// Connections lost to errors of `accept`.
    pub refused_error: Counter,
    /// Connections whose task panicked.
    pub panicked: Counter,
    /// The network between its clients and us, if they have connections.
    pub tcp: Option<Arc<TcpMeasures>>,
}

/// Handles of one route at one listener: each made by the first thing that it counts, since most
/// of what could be counted never happens. The route of the same name in the next snapshot has the
/// same, so that a reload loses none of them.
#[derive(Debug)]
pub struct RouteMetrics {
    /// How the access log tells it.
    pub origin: Origin,
    source: Arc<Source>,
    /// From the first byte of the request to the last of the response.
    pub duration: RouteSeries<Histogram>,
    in_flight: RouteSeries<Gauge>,
    /// Our own share of the time.
    pub overhead: Histogram,
    /// Bytes of request bodies.
    pub request_bytes: RouteSeries<Counter>,
    /// Bytes of response bodies.
    pub response_bytes: RouteSeries<Counter>,
    /// Retries by their outcome.
    pub retries: Retries,
    /// Hedges by their outcome.
    pub hedges: Hedges,
    /// Its WebSockets and tunnels of CONNECT.
    pub tunnels: TunnelMetrics,
    shed: [RouteSeries<Counter>; Shed::ALL.len()],
    requests: Lazy<(MethodLabel, u16), Counter>,
    first_byte: Lazy<UpstreamAndZone, Histogram>,
    errors: Lazy<UpstreamAndReason, Counter>,
    grpc: Lazy<Code, Counter>,
}

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay<'a> {
    gauge: &'a Gauge,
}

type UpstreamAndZone = (Arc<str>, Arc<str>);

type UpstreamAndReason = (Arc<str>, &'static str);

impl ListenerMetrics {
    /// Resolves the handles of a listener on whose connections one of these may be spoken.
    pub(super) fn new(registry: &Registry, listener: &str, spoken: &[ConnectionProtocol]) -> Self {
        let labels = [("listener", listener)];
        let refused = |reason| {
            registry.counter(
                &CONNECTIONS_REFUSED,
                &[("listener", listener), ("reason", reason)],
            )
        };
        Self {
            connections: OpenConnections::new(spoken, |protocol| {
                registry.level(&CONNECTIONS, &[labels[0], ("protocol", protocol.word())])
            }),
            accepted: registry.counter(&CONNECTIONS_ACCEPTED, &labels),
            refused_full: refused("full"),
            refused_error: refused("accept_error"),
            panicked: panicked(registry, listener),
            tcp: clients_tcp(registry, listener, spoken),
        }
    }
}

impl RouteMetrics {
    /// Handles of a route at a listener.
    pub fn new(registry: &Registry, listener: &Arc<str>, route: &Arc<str>) -> Self {
        let source = Arc::new(Source {
            registry: registry.clone(),
            listener: Arc::clone(listener),
            route: Arc::clone(route),
        });
        Self {
            origin: Origin::new(listener, route),
            duration: RouteSeries::new(&source, &REQUEST_DURATION),
            in_flight: RouteSeries::new(&source, &REQUESTS_IN_FLIGHT),
            overhead: registry.histogram(&OVERHEAD, &[("listener", listener)]),
            request_bytes: RouteSeries::new(&source, &REQUEST_BYTES),
            response_bytes: RouteSeries::new(&source, &RESPONSE_BYTES),
            retries: Retries::new(&source),
            hedges: Hedges::new(&source),
            shed: Shed::ALL
                .map(|shed| RouteSeries::of_route(&source, &SHED, ("reason", shed.as_str()))),
            tunnels: TunnelMetrics::new(&source),
            requests: Lazy::default(),
            first_byte: Lazy::default(),
            errors: Lazy::default(),
            grpc: Lazy::default(),
            source,
        }
    }

    /// Before a scrape: asks again for what found no room, and lets the series of an upstream go
    /// that no longer `exists`.
    pub(super) fn settle(&self, exists: impl Fn(&str) -> bool) {
        self.duration.settle();
        self.in_flight.settle();
        self.request_bytes.settle();
        self.response_bytes.settle();
        self.retries.settle();
        self.hedges.settle();
        self.shed.iter().for_each(RouteSeries::settle);
        // Our own answers without an upstream are counted under the empty name.
        let stays = |upstream: &str| upstream.is_empty() || exists(upstream);
        self.tunnels.settle(stays);
        let has_room = |family| self.source.registry.has_room(family, &["route"], 1);
        self.requests.settle(
            |_| true,
            || has_room(&REQUESTS),
            |key| self.requests_of(*key),
        );
        self.grpc.settle(
            |_| true,
            || has_room(&GRPC_REQUESTS),
            |code| self.grpc_of(*code),
        );
        self.first_byte.settle(
            |(upstream, _)| stays(upstream),
            || has_room(&ENDPOINT_DURATION),
            |key| self.first_byte_of(key),
        );
        self.errors.settle(
            |(upstream, _)| stays(upstream),
            || has_room(&ERRORS),
            |key| self.errors_of(key),
        );
    }

    /// Counts a request as under way until the guard is dropped, however it ends.
    pub fn begin(&self) -> UnderWay<'_> {
        let gauge = self.in_flight.get();
        gauge.inc();
        UnderWay { gauge }
    }

    /// Requests under way; none where the route has no series of its own.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.own().map_or(0, Gauge::value)
    }

    /// Requests that have ended, without those that found no series of their own.
    pub fn requests(&self) -> u64 {
        let own = |counter: &Counter| if counter.is_own() { counter.value() } else { 0 };
        self.requests.sum(own)
    }

    /// Counts a request that has ended.
    pub fn count(&self, method: &Method, code: u16) {
        let key = (MethodLabel::of(method), code);
        self.requests
            .with(&key, Counter::inc, || self.requests_of(key));
    }

    /// Counts a call of gRPC that has ended.
    pub fn count_grpc(&self, code: Code) {
        self.grpc.with(&code, Counter::inc, || self.grpc_of(code));
    }

    /// Records the time from the end of a request to the first byte of an upstream's response.
    pub fn observe_first_byte(&self, upstream: &Arc<str>, zone: &Arc<str>, after: Duration) {
        let same = |key: &UpstreamAndZone| key.0 == *upstream && key.1 == *zone;
        self.first_byte.with_matching(
            same,
            |histogram| histogram.observe(after),
            || {
                let key = (Arc::clone(upstream), Arc::clone(zone));
                let histogram = self.first_byte_of(&key);
                (key, histogram)
            },
        );
    }

    /// Requests that were turned away for this.
    pub fn turned_away(&self, shed: Shed) -> u64 {
        self.shed[shed as usize].value()
    }

    /// Counts a response of our own; `shed` if it was made to protect what is running.
    pub fn count_error(&self, upstream: &Arc<str>, reason: &'static str, shed: Option<Shed>) {
        if let Some(shed) = shed {
            self.shed[shed as usize].inc();
        }
        let same = |key: &UpstreamAndReason| key.0 == *upstream && key.1 == reason;
        self.errors.with_matching(same, Counter::inc, || {
            let key = (Arc::clone(upstream), reason);
            let counter = self.errors_of(&key);
            (key, counter)
        });
    }

    fn requests_of(&self, (method, code): (MethodLabel, u16)) -> Counter {
        let status = code.to_string();
        let [listener, route] = self.source.labels();
        let labels = [listener, route, ("method", method.0), ("code", &*status)];
        self.source.registry.counter(&REQUESTS, &labels)
    }

    fn grpc_of(&self, code: Code) -> Counter {
        let [listener, route] = self.source.labels();
        let labels = [listener, route, ("code", code.name())];
        self.source.registry.counter(&GRPC_REQUESTS, &labels)
    }

    fn first_byte_of(&self, (upstream, zone): &UpstreamAndZone) -> Histogram {
        let [_, route] = self.source.labels();
        let labels = [route, ("upstream", &**upstream), ("zone", &**zone)];
        self.source.registry.histogram(&ENDPOINT_DURATION, &labels)
    }

    fn errors_of(&self, (upstream, reason): &UpstreamAndReason) -> Counter {
        let [_, route] = self.source.labels();
        let labels = [route, ("upstream", &**upstream), ("reason", *reason)];
        self.source.registry.counter(&ERRORS, &labels)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Counts what a fault of ours ended at a listener.
pub(super) fn panicked(registry: &Registry, listener: &str) -> Counter {
    registry.counter(&CONNECTION_PANICS, &[("listener", listener)])
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

pub(super) static CONNECTIONS_REFUSED: Family = Family {
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

static GRPC_REQUESTS: Family = Family {
    name: "evenkeel_grpc_requests_total",
    help: "Calls of gRPC that have ended, by their status.",
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
