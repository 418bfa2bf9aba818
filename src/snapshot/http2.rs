//! What a listener speaks besides HTTP/1.1, and what is measured about that.

use std::time::Duration;

use crate::config::{self, Protocol, Size, Time};
use crate::http1::Limits;
use crate::http2::{Abuse, Settings};
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};

/// How a listener speaks HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    /// What a connection allows its client.
    pub settings: Settings,
    /// Nothing came for so long while there are streams: a PING asks whether the client is there.
    pub keepalive_interval: Duration,
    /// How long the answer to that may take.
    pub keepalive_timeout: Duration,
    /// How old a connection may become, if there is a limit.
    pub max_age: Option<Duration>,
    /// What is measured.
    pub metrics: Http2Metrics,
}

/// What is measured about HTTP/2 at a listener.
#[derive(Debug)]
pub struct Http2Metrics {
    /// Connections now.
    pub connections: Gauge,
    /// Streams that clients reset.
    pub reset_by_client: Counter,
    /// Streams that we reset.
    pub reset_by_us: Counter,
    /// Requests that ended by a fault of ours while their connection went on.
    pub panicked: Counter,
    abuse: [Counter; Abuse::ALL.len()],
}

/// Which versions of HTTP a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) http1: bool,
    pub(super) http2: bool,
}

impl Spoken {
    /// What was written, or what is meant where nothing was.
    pub(super) fn of(listener: &config::Listener) -> Self {
        let Some(protocols) = &listener.protocols else {
            return Self {
                http1: true,
                http2: listener.tls.is_some(),
            };
        };
        Self {
            http1: protocols.contains(&Protocol::Http1),
            http2: protocols.contains(&Protocol::H2) || protocols.contains(&Protocol::H2c),
        }
    }

    /// What clients are offered within TLS (RFC 7301), the best first.
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        match (self.http1, self.http2) {
            (true, true) => &[b"h2", b"http/1.1", b"http/1.0"],
            (false, true) => &[b"h2"],
            (true, false) => &[b"http/1.1", b"http/1.0"],
            // Nobody reads the bytes.
            (false, false) => &[],
        }
    }
}

impl Http2 {
    /// What is meant for a listener, whose heads have these limits.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        written: &config::ListenerHttp2,
        limits: Limits,
    ) -> Self {
        let size = |written: Option<Size>, default| {
            written.map_or(default, |size| u32::try_from(size.0).unwrap_or(default))
        };
        let time = |written: Option<Time>, default| written.map_or(default, |time| time.0);
        Self {
            settings: Settings {
                max_streams: written.max_streams.unwrap_or(MAX_STREAMS),
                stream_window: size(written.stream_window, STREAM_WINDOW),
                connection_window: size(written.connection_window, CONNECTION_WINDOW),
                head: limits.head,
                fields: limits.fields,
                connect_protocol: written.websocket.unwrap_or(false),
            },
            keepalive_interval: time(written.keepalive_interval, KEEPALIVE_INTERVAL),
            keepalive_timeout: time(written.keepalive_timeout, KEEPALIVE_TIMEOUT),
            max_age: written.max_age.map(|time| time.0),
            metrics: Http2Metrics::new(registry, listener),
        }
    }
}

impl Http2Metrics {
    fn new(registry: &Registry, listener: &str) -> Self {
        let label = ("listener", listener);
        let reset = |by| registry.counter(&STREAMS_RESET, &[label, ("by", by)]);
        let abuse = |abuse: Abuse| registry.counter(&ABUSE, &[label, ("reason", abuse.word())]);
        Self {
            connections: registry.level(&CONNECTIONS, &[label]),
            reset_by_client: reset("client"),
            reset_by_us: reset("evenkeel"),
            panicked: super::metrics::panicked(registry, listener),
            abuse: Abuse::ALL.map(abuse),
        }
    }

    /// Counts a connection that ended for what its client did too much of.
    pub fn count_abuse(&self, abuse: Abuse) {
        let place = Abuse::ALL.iter().position(|known| *known == abuse);
        if let Some(counter) = place.and_then(|place| self.abuse.get(place)) {
            counter.inc();
        }
    }
}

/// Browsers use up to a hundred; what needs more opens another connection.
const MAX_STREAMS: u32 = 100;

/// RFC 9113 §6.9.2: what each stream has before anything is said.
const STREAM_WINDOW: u32 = 64 * 1024;

/// All streams together, on their way: 80 Mbit/s at 100 ms.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Below the minute after which most middleboxes forget a connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Some lost packets are sent again within it.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

static CONNECTIONS: Family = Family {
    name: "evenkeel_http2_connections",
    help: "Client connections that speak HTTP/2.",
    kind: Kind::Gauge,
    buckets: None,
};

static STREAMS_RESET: Family = Family {
    name: "evenkeel_http2_streams_reset_total",
    help: "Requests over HTTP/2 whose stream was reset, by whom.",
    kind: Kind::Counter,
    buckets: None,
};

static ABUSE: Family = Family {
    name: "evenkeel_http2_abuse_total",
    help: "HTTP/2 connections that were ended since their client did too much of something.",
    kind: Kind::Counter,
    buckets: None,
};
