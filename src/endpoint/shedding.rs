//! Until when an endpoint wants to be left alone by what need not be.

use std::sync::atomic::{AtomicU64, Ordering};

/// In milliseconds of the live state's epoch; 0 before anything was said.
#[derive(Debug, Default)]
pub(super) struct Shedding(AtomicU64);

impl Shedding {
    /// It has said so until then.
    pub(super) fn until(&self, millis: u64) {
        self.0.fetch_max(millis, Ordering::Relaxed);
    }

    /// It has been away since, and whoever is back has not said so.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Milliseconds that are left of it.
    pub(super) fn left(&self, now: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_sub(now)
    }

    /// Whether it still holds.
    pub(super) fn is_active(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) > now
    }
}
