//! What is measured about a listener that relays bytes or datagrams.

use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};

/// Handles of one listener that relays, and its upstream.
#[derive(Debug)]
pub struct SessionMetrics {
    /// Sessions now.
    pub active: Gauge,
    /// Bytes from clients to endpoints.
    pub sent: Counter,
    /// Bytes from endpoints to clients.
    pub received: Counter,
    ended: [Counter; SessionResult::ALL.len()],
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
    /// Nothing ever did.
    Silent,
    /// No endpoint could be connected.
    ConnectFailed,
    /// No endpoint was there to be tried, or all were at their limits.
    Unavailable,
    /// The proxy ended it: the drain was over, or a fault of ours.
    Cut,
}

impl SessionMetrics {
    /// Resolves the handles.
    pub fn new(registry: &Registry, listener: &str, upstream: &str) -> Self {
        let labels = [("listener", listener), ("upstream", upstream)];
        let bytes = |direction| {
            let direction = ("direction", direction);
            registry.counter(&BYTES, &[labels[0], labels[1], direction])
        };
        let ended = |result: SessionResult| {
            let result = ("result", result.as_str());
            registry.counter(&SESSIONS_ENDED, &[labels[0], labels[1], result])
        };
        Self {
            active: registry.level(&SESSIONS, &labels),
            sent: bytes("sent"),
            received: bytes("received"),
            ended: SessionResult::ALL.map(ended),
        }
    }

    /// Counts a session that has ended.
    pub fn count(&self, result: SessionResult) {
        self.ended[result as usize].inc();
    }
}

impl SessionResult {
    /// Every result, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::ClientReset,
        Self::EndpointReset,
        Self::Idle,
        Self::Silent,
        Self::ConnectFailed,
        Self::Unavailable,
        Self::Cut,
    ];

    /// The word for it in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientReset => "client_reset",
            Self::EndpointReset => "endpoint_reset",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::ConnectFailed => "connect_failed",
            Self::Unavailable => "unavailable",
            Self::Cut => "cut",
        }
    }
}

static SESSIONS: Family = Family {
    name: "evenkeel_l4_sessions",
    help: "TCP and UDP sessions that are open.",
    kind: Kind::Gauge,
    buckets: None,
};

static SESSIONS_ENDED: Family = Family {
    name: "evenkeel_l4_sessions_total",
    help: "TCP and UDP sessions that have ended.",
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
        let metrics = SessionMetrics::new(&registry, "postgres", "main");
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
