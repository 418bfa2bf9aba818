//! What is measured about the tunnels of a route: WebSockets, other upgrades, and CONNECT.
//!
//! Once a request has become a tunnel it is a session like one of a TCP listener, and is counted
//! among those. Most routes have none, so each series is made by the first thing that it counts.

use std::cell::Cell;
use std::sync::Arc;

use super::late::Source;
use super::lazy::Lazy;
use super::sessions::{Direction, SessionResult, bytes, ended};
use crate::telemetry::metrics::Counter;

/// Counters of the tunnels of one route at one listener, by upstream.
#[derive(Debug)]
pub struct TunnelMetrics {
    source: Arc<Source>,
    series: Lazy<(Arc<str>, What), Counter>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Bytes(Direction),
    Ended(SessionResult),
}

impl TunnelMetrics {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            series: Lazy::default(),
        }
    }

    /// Lets the series of an upstream go that no longer `exists`.
    pub(super) fn settle(&self, exists: impl Fn(&str) -> bool) {
        self.series.settle(
            |(upstream, _)| exists(upstream),
            || false,
            |key| self.make(key),
        );
    }

    /// Bytes in this direction, to be counted while they move.
    pub fn bytes(&self, upstream: &Arc<str>, direction: Direction) -> Counter {
        let counter = Cell::new(None);
        self.with(upstream, What::Bytes(direction), |it| {
            counter.set(Some(it.clone()));
        });
        let key = || (Arc::clone(upstream), What::Bytes(direction));
        counter.take().unwrap_or_else(|| self.make(&key()))
    }

    /// Counts a tunnel that has ended.
    pub fn count(&self, upstream: &Arc<str>, result: SessionResult) {
        self.with(upstream, What::Ended(result), Counter::inc);
    }

    fn with(&self, upstream: &Arc<str>, what: What, act: impl Fn(&Counter)) {
        let same = |key: &(Arc<str>, What)| key.0 == *upstream && key.1 == what;
        self.series.with_matching(same, act, || {
            let key = (Arc::clone(upstream), what);
            let counter = self.make(&key);
            (key, counter)
        });
    }

    fn make(&self, (upstream, what): &(Arc<str>, What)) -> Counter {
        let Source {
            registry, listener, ..
        } = &*self.source;
        match what {
            What::Bytes(direction) => bytes(registry, listener, upstream, *direction),
            What::Ended(result) => ended(registry, listener, upstream, *result),
        }
    }
}
