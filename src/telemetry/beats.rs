//! The heartbeats of workers: whether each still comes to what is due.
//!
//! A worker counts one up at every tick. Who looks remembers what it saw, and so knows who has
//! stood still since; it asks nobody, since one that hangs would not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The heartbeats of all workers. Clones share them.
#[derive(Debug, Clone)]
pub struct Beats {
    counts: Arc<[AtomicU64]>,
}

impl Beats {
    /// Of so many workers.
    pub fn new(workers: usize) -> Self {
        let counts = (0..workers).map(|_| AtomicU64::new(0));
        Self {
            counts: counts.collect(),
        }
    }

    /// This worker is well.
    pub fn beat(&self, worker: usize) {
        if let Some(count) = self.counts.get(worker) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each has beaten.
    pub fn counts(&self) -> Vec<u64> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}
