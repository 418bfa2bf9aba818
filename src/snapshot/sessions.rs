//! What is measured about a listener that relays bytes or datagrams.

use std::sync::Arc;

use crate::telemetry::access::End;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};

/// Handles of one listener that relays, and its upstream.
#[derive(Debug)]
pub struct SessionMetrics {
    /// The listener that they belong to.
    pub listener: Arc<str>,
    /// The route; empty for a listener's own target.
    pub route: Arc<str>,
    /// The upstream.
    pub upstream: Arc<str>,
    /// Sessions now.
    pub active: Gauge,
    /// Bytes from clients to endpoints.
    pub sent: Counter,
    /// Bytes from endpoints to clients.
    pub received: Counter,
    ended: [Counter; SessionResult::ALL.len()],
    /// By why; only where connections are brought.
    refused: Option<[Counter; Denial::ALL.len()]>,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To endpoints.
    Sent,
    /// From endpoints.
    Received,
}

/// Why a connection that was brought here is not taken where it was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Nobody knows where it was going: it was made to the listener itself.
    Unknown,
    /// It was going to this instance.
    OwnAddress,
    /// It was made by this instance.
    OwnConnection,
    /// It was going to a network that is not allowed.
    NotAllowed,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionResult {
    /// Both sides ended it.
    Ok,
    /// The client broke it, before an endpoint was connected or after.
    ClientReset,
    /// The endpoint broke it.
    EndpointReset,
    /// Nothing moved for too long.
    Idle,
    /// It had lasted for as long as any may.
    MaxAge,
    /// Its endpoint was taken out of the upstream.
    Removed,
    /// Nothing ever did.
    Silent,
    /// No endpoint could be connected.
    ConnectFailed,
    /// No endpoint was there to be tried, or all were at their limits.
    Unavailable,
    /// It was going where it may not.
    Denied,
    /// The proxy ended it: the drain was over, or a fault of ours.
    Cut,
}

impl SessionMetrics {
    /// Resolves the handles.
    pub fn new(
        registry: &Registry,
        listener: &str,
        (route, upstream): (&Arc<str>, &Arc<str>),
    ) -> Self {
        let labels = [("listener", listener), ("upstream", &**upstream)];
        let bytes = |direction| bytes(registry, listener, upstream, direction);
        Self {
            listener: listener.into(),
            route: Arc::clone(route),
            upstream: Arc::clone(upstream),
            active: registry.level(&SESSIONS, &labels),
            sent: bytes(Direction::Sent),
            received: bytes(Direction::Received),
            ended: SessionResult::ALL.map(|result| ended(registry, listener, upstream, result)),
            refused: None,
        }
    }

    /// The same where connections are brought that were going elsewhere.
    pub(super) fn with_refusals(self, registry: &Registry) -> Self {
        let refused = Denial::ALL.map(|refusal| {
            let labels = [
                ("listener", &*self.listener),
                ("upstream", &*self.upstream),
                ("reason", refusal.as_str()),
            ];
            registry.counter(&REFUSED, &labels)
        });
        Self {
            refused: Some(refused),
            ..self
        }
    }

    /// Counts a connection that is not taken where it was going.
    pub fn refuse(&self, refusal: Denial) {
        if let Some(refused) = &self.refused {
            refused[refusal as usize].inc();
        }
    }

    /// Counts a session that has ended.
    pub fn count(&self, result: SessionResult) {
        self.ended[result as usize].inc();
    }
}

impl SessionResult {
    /// The log's word for it.
    pub fn end(self) -> End {
        match self {
            Self::Ok => End::Ok,
            Self::ClientReset => End::ClientAbort,
            Self::EndpointReset | Self::ConnectFailed => End::EndpointReset,
            Self::Idle | Self::Silent | Self::MaxAge => End::Timeout,
            Self::Denied => End::Denied,
            Self::Unavailable | Self::Removed | Self::Cut => End::Shed,
        }
    }

    /// Every result, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 11] = [
        Self::Ok,
        Self::ClientReset,
        Self::EndpointReset,
        Self::Idle,
        Self::MaxAge,
        Self::Removed,
        Self::Silent,
        Self::ConnectFailed,
        Self::Unavailable,
        Self::Denied,
        Self::Cut,
    ];

    /// The word for it in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientReset => "client_reset",
            Self::EndpointReset => "endpoint_reset",
            Self::Idle => "idle",
            Self::MaxAge => "max_age",
            Self::Removed => "removed",
            Self::Silent => "silent",
            Self::ConnectFailed => "connect_failed",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Cut => "cut",
        }
    }
}

impl Denial {
    /// Every refusal, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 4] = [
        Self::Unknown,
        Self::OwnAddress,
        Self::OwnConnection,
        Self::NotAllowed,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::OwnAddress => "own_address",
            Self::OwnConnection => "own_connection",
            Self::NotAllowed => "not_allowed",
        }
    }

    /// The word of RFC 9209.
    pub fn error(self) -> &'static str {
        match self {
            Self::Unknown => "destination_not_found",
            Self::OwnAddress | Self::OwnConnection => "proxy_loop_detected",
            Self::NotAllowed => "destination_ip_prohibited",
        }
    }
}

/// Bytes of sessions in one direction.
pub(super) fn bytes(
    registry: &Registry,
    listener: &str,
    upstream: &str,
    direction: Direction,
) -> Counter {
    let direction = match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    };
    let labels = [
        ("listener", listener),
        ("upstream", upstream),
        ("direction", direction),
    ];
    registry.counter(&BYTES, &labels)
}

/// Sessions that have ended like this.
pub(super) fn ended(
    registry: &Registry,
    listener: &str,
    upstream: &str,
    result: SessionResult,
) -> Counter {
    let labels = [
        ("listener", listener),
        ("upstream", upstream),
        ("result", result.as_str()),
    ];
    registry.counter(&SESSIONS_ENDED, &labels)
}

static REFUSED: Family = Family {
    name: "evenkeel_destinations_refused_total",
    help: "Intercepted connections that were not taken where they were going.",
    kind: Kind::Counter,
    buckets: None,
};

static SESSIONS: Family = Family {
    name: "evenkeel_l4_sessions",
    help: "TCP and UDP sessions that are open.",
    kind: Kind::Gauge,
    buckets: None,
};

static SESSIONS_ENDED: Family = Family {
    name: "evenkeel_l4_sessions_total",
    help: "TCP and UDP sessions, and tunnels of HTTP, that have ended.",
    kind: Kind::Counter,
    buckets: None,
};

static BYTES: Family = Family {
    name: "evenkeel_l4_bytes_total",
    help: "Bytes relayed: sent to endpoints, received from them.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::{SessionMetrics, SessionResult};
    use crate::telemetry::metrics::{Format, Registry};

    #[test]
    fn each_result_has_its_own_counter() {
        let registry = Registry::new(1);
        let metrics = SessionMetrics::new(&registry, "postgres", (&"".into(), &"main".into()));
        for (times, result) in (1..).zip(SessionResult::ALL) {
            for _ in 0..times {
                metrics.count(result);
            }
        }
        let mut text = String::new();
        registry.encode(Format::Text, &mut text);
        for (times, result) in (1..).zip(SessionResult::ALL) {
            let word = result.as_str();
            let line = text
                .lines()
                .find(|line| line.contains(&format!("result=\"{word}\"")));
            let line = line.unwrap_or_else(|| panic!("{word} is missing in {text}"));
            assert!(line.ends_with(&format!(" {times}")), "{line}");
        }
    }
}
