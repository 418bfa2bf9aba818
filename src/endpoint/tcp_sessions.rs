//! TCP sessions of one endpoint, by how they ended there.
//!
//! Whoever relays bytes has no statuses to tell a bad endpoint by. What it has is that a connection
//! could not be made, or that one stood and was reset before the endpoint had said a word. Both
//! keep the next picks away for a moment (`backoff`), and are counted here, so that one bad
//! endpoint among many can be seen.

use std::sync::OnceLock;

use super::metrics::Names;
use crate::telemetry::metrics::{Counter, Family, Handle as _, Kind, Registry};

/// How a TCP session, or an attempt to begin one, ended at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// No connection could be made.
    ConnectFailed,
    /// The endpoint reset it before it had said a word.
    ResetUnanswered,
    /// The endpoint reset it later.
    Reset,
    /// In any other way: for nothing that the endpoint did.
    Ended,
}

/// A counter for each end, made by the first that ends so.
#[derive(Debug, Default)]
pub(super) struct TcpSessions {
    series: [OnceLock<Counter>; SessionEnd::ALL.len()],
}

impl SessionEnd {
    const ALL: [Self; 4] = [
        Self::ConnectFailed,
        Self::ResetUnanswered,
        Self::Reset,
        Self::Ended,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::ResetUnanswered => "reset_unanswered",
            Self::Reset => "reset",
            Self::Ended => "ended",
        }
    }
}

impl TcpSessions {
    /// Counts one.
    pub(super) fn count(&self, end: SessionEnd, registry: &Registry, names: &Names) {
        let counter = self.series[end as usize].get_or_init(|| {
            let labels = [
                ("upstream", &*names.upstream),
                ("zone", &*names.zone),
                ("endpoint", &*names.endpoint),
                ("result", end.as_str()),
            ];
            registry.counter(&SESSIONS, &labels)
        });
        counter.inc();
    }

    /// The same series for the next build; those that found no room are asked for again.
    pub(super) fn renewed(&self) -> Self {
        Self {
            series: self.series.each_ref().map(|series| {
                let own = series.get().filter(|counter| counter.is_own());
                own.map_or_else(OnceLock::new, |own| OnceLock::from(own.clone()))
            }),
        }
    }

    /// Whether they found room, or were not asked for yet.
    pub(super) fn are_whole(&self) -> bool {
        let mut series = self.series.iter().filter_map(OnceLock::get);
        series.all(Counter::is_own)
    }
}

static SESSIONS: Family = Family {
    name: "evenkeel_endpoint_sessions_total",
    help: "TCP sessions by how they ended at the endpoint.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_end_is_its_place() {
        for (place, end) in SessionEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, place);
        }
    }
}
