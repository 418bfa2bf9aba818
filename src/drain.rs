//! Drain as a value that one holds: a trigger, its watchers, and the guards that hold it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// Starts a drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    started: watch::Sender<bool>,
    shared: Arc<Shared>,
}

/// Sees that a drain has started. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Watcher {
    started: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

/// Holds the end of a drain up while it lives: one per connection.
#[derive(Debug)]
pub struct Blocker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    blockers: AtomicUsize,
    ended: Notify,
}

/// A drain that has not started.
pub fn channel() -> (Trigger, Watcher) {
    let (sender, receiver) = watch::channel(false);
    let shared = Arc::new(Shared::default());
    (
        Trigger {
            started: sender,
            shared: Arc::clone(&shared),
        },
        Watcher {
            started: receiver,
            shared,
        },
    )
}

impl Trigger {
    /// Starts the drain; watchers are woken. Starting twice changes nothing.
    pub fn start(&self) {
        self.started.send_replace(true);
    }

    /// Guards that are still held.
    pub fn blockers(&self) -> usize {
        self.shared.blockers.load(Ordering::Acquire)
    }

    /// Returns when no guard is held. The caller sets the time limit.
    pub async fn wait(&self) {
        loop {
            let ended = self.shared.ended.notified();
            if self.blockers() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Watcher {
    /// Whether the drain has started.
    pub fn is_draining(&self) -> bool {
        *self.started.borrow()
    }

    /// Returns when the drain starts, or never if its trigger is gone without having started it.
    pub async fn started(&mut self) {
        if self.started.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A guard that holds the drain's end up.
    pub fn blocker(&self) -> Blocker {
        self.shared.blockers.fetch_add(1, Ordering::AcqRel);
        Blocker {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        if self.shared.blockers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.ended.notify_waiters();
        }
    }
}
