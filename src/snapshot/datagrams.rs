//! Listeners that relay datagrams: what they are, and what is measured about them.

use std::sync::Arc;
use std::time::Duration;

use super::by_name::SessionRoute;
use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

/// What a listener that relays datagrams does with them.
#[derive(Debug)]
pub struct UdpListener {
    /// Where they go.
    pub route: Arc<SessionRoute>,
    /// A session in which nothing moves ends after this time.
    pub session_idle: Duration,
    /// A session ends once each datagram of its client was answered so often.
    pub responses: Option<u32>,
    /// What is counted about it, beside its sessions.
    pub metrics: DatagramMetrics,
}

/// Handles of one UDP listener.
#[derive(Debug)]
pub struct DatagramMetrics {
    /// Datagrams from clients to endpoints.
    pub sent: Counter,
    /// Datagrams from endpoints to clients.
    pub received: Counter,
    dropped: [Counter; Dropped::ALL.len()],
}

/// Why a datagram was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// No endpoint may be used, or could be.
    NoEndpoint,
    /// There is no place for another session.
    Limit,
    /// The listener is about to end, and the client is a new one.
    Draining,
    /// It was longer than any may be.
    Truncated,
    /// It is longer than the way to where it should go allows.
    TooLong,
    /// The kernel had no room for it.
    SendBuffer,
    /// It came from where nobody can be answered.
    Source,
    /// It came from this instance, or would go to it: it would go round for ever.
    Loop,
    /// The kernel refused it for another reason, or we have run out of something.
    Error,
}

impl DatagramMetrics {
    /// Resolves the handles.
    pub fn new(registry: &Registry, listener: &str) -> Self {
        let datagrams = |direction| {
            let labels = [("listener", listener), ("direction", direction)];
            registry.counter(&DATAGRAMS, &labels)
        };
        let dropped = |why: Dropped| {
            let labels = [("listener", listener), ("reason", why.as_str())];
            registry.counter(&DROPPED, &labels)
        };
        Self {
            sent: datagrams("sent"),
            received: datagrams("received"),
            dropped: Dropped::ALL.map(dropped),
        }
    }

    /// Counts datagrams that were not passed on.
    pub fn drop(&self, why: Dropped, count: u64) {
        self.dropped[why as usize].add(count);
    }
}

impl Dropped {
    /// Every reason, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 9] = [
        Self::NoEndpoint,
        Self::Limit,
        Self::Draining,
        Self::Truncated,
        Self::TooLong,
        Self::SendBuffer,
        Self::Source,
        Self::Loop,
        Self::Error,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Limit => "limit",
            Self::Draining => "draining",
            Self::Truncated => "truncated",
            Self::TooLong => "too_long",
            Self::SendBuffer => "send_buffer",
            Self::Source => "source",
            Self::Loop => "loop",
            Self::Error => "error",
        }
    }
}

static DATAGRAMS: Family = Family {
    name: "evenkeel_udp_datagrams_total",
    help: "Datagrams relayed: sent to endpoints, received from them.",
    kind: Kind::Counter,
    buckets: None,
};

static DROPPED: Family = Family {
    name: "evenkeel_udp_dropped_total",
    help: "Datagrams that were not passed on.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::Dropped;

    #[test]
    fn each_reason_is_at_its_place() {
        for (place, why) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place, "{why:?}");
        }
    }
}
