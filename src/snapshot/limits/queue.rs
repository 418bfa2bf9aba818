//! Who waits for a place, in the order in which they came.
//!
//! Whoever leaves wakes the one that waits longest, and no more: the others would look in vain. A
//! place may come free without anybody leaving, where a reload allows more connections; so who
//! waits looks now and then as well.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::telemetry::metrics::Gauge;

/// Connections that wait for a place at their listener, over all workers.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    left: Notify,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Waiter<'a> {
    queue: &'a Queue,
    gauge: Option<&'a Gauge>,
}

impl Queue {
    /// Waits with the others; `None` if there are as many as may.
    pub fn join<'a>(&'a self, gauge: Option<&'a Gauge>) -> Option<Waiter<'a>> {
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        gauge.inspect(|gauge| gauge.inc());
        Some(Waiter { queue: self, gauge })
    }

    /// Whether anybody waits: who comes now stands behind them.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// A connection has ended: whoever waits longest may look again.
    pub fn left(&self) {
        if !self.is_empty() {
            self.left.notify_one();
        }
    }
}

impl Waiter<'_> {
    /// Calls `try_enter` now, and again whenever a connection has ended, until it succeeds. Now and
    /// then as well when none has: a reload may have made room.
    pub async fn until<T>(&self, mut try_enter: impl FnMut() -> Option<T>) -> T {
        loop {
            let left = self.queue.left.notified();
            let mut left = std::pin::pin!(left);
            // Before it is tried: what ends meanwhile is not missed.
            left.as_mut().enable();
            if let Some(entered) = try_enter() {
                return entered;
            }
            // Either way there may be a place.
            _ = timeout(LOOK_AGAIN, left).await;
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        self.gauge.inspect(|gauge| gauge.dec());
    }
}

/// Connections that wait, each with a descriptor and some 500 bytes. A listener that is that much
/// behind does better to say so.
pub(super) const MOST_WAITING: u32 = 1024;

/// Short for who waits, and little to do for a thousand of them.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
