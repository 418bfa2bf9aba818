//! Who waits for any endpoint of an upstream to have room.
//!
//! A request that finds every endpoint at its limit is answered at once: its client can come again.
//! Who connects to a database pool comes again as well, and at once, so a TCP session waits for a
//! moment. It waits for the upstream, and room is made at an endpoint; so all of an upstream's
//! live states share one queue, in all builds of it.
//!
//! Nobody is forgotten: who waits is counted in before it looks for the last time, and who makes
//! room does so before it looks whether anybody waits.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The queue of one upstream.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    freed: Notify,
}

/// A place in a [`Queue`], left when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct Place {
    queue: Arc<Queue>,
}

impl Queue {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Joins those who wait.
    pub fn join(self: &Arc<Self>) -> Place {
        self.waiting.fetch_add(1, SeqCst);
        Place {
            queue: Arc::clone(self),
        }
    }

    /// Something is in flight no longer: the next one may look.
    pub(super) fn freed(&self) {
        if self.waiting.load(SeqCst) != 0 {
            self.freed.notify_one();
        }
    }
}

impl Place {
    /// Ready when it is this one's turn to look. Whoever makes it before he looks misses nothing.
    pub fn turn(&self) -> Notified<'_> {
        self.queue.freed.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
    }
}
