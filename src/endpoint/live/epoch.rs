//! Moments as numbers that fit an atomic.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::millis_ago;

/// The instant from which milliseconds are counted, so that a time fits an atomic.
#[derive(Debug, Clone, Copy)]
pub(in crate::endpoint) struct Epoch(Instant);

impl Epoch {
    /// One that leaves room for what was learned by the process before.
    pub(in crate::endpoint) fn before(now: Instant) -> Self {
        Self(millis_ago(BEFORE, now))
    }

    pub(super) fn millis(self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX >> 16)
    }

    /// The inverse, up to a millisecond.
    pub(super) fn instant(self, millis: u64) -> Instant {
        self.0 + Duration::from_millis(millis)
    }
}

/// An hour, in milliseconds: what has been in service for longer is as warm as it gets.
pub(super) const BEFORE: u64 = 3_600_000;
