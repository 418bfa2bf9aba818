//! The one `ArcSwap`: how workers reach the snapshot that is in force.
//!
//! Requests see a new snapshot at once. What a worker does with its listeners when there is one, it
//! does when its turn comes; so it says when that is done, and whoever asked for the change is
//! answered no earlier: `evenkeel reload && curl` meets what was reloaded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Snapshot;
use crate::telemetry::metrics::Registry;

/// Access to the snapshot in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    current: Arc<ArcSwap<Snapshot>>,
    generation: Arc<watch::Sender<u64>>,
    followers: Arc<Followers>,
}

/// Sees each new generation after it is in force, and says how far it has come.
#[derive(Debug)]
pub struct Follower {
    generation: watch::Receiver<u64>,
    done: Arc<AtomicU64>,
    all: Arc<Followers>,
}

/// Who has to do something about each new generation.
#[derive(Debug, Default)]
struct Followers {
    /// What each has done last.
    done: Mutex<Vec<Weak<AtomicU64>>>,
    progress: Notify,
}

/// A worker's access: asks for the snapshot at the price of one comparison while it is the same.
#[derive(Debug)]
pub struct Cache {
    inner: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl Handle {
    /// A handle with its first snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        let (generation, _) = watch::channel(snapshot.generation);
        tell_expiries(&snapshot);
        Self {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            generation: Arc::new(generation),
            followers: Arc::default(),
        }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Access for one worker.
    pub fn cache(&self) -> Cache {
        Cache {
            inner: arc_swap::Cache::new(Arc::clone(&self.current)),
        }
    }

    /// Puts the next snapshot in force, tells the subscribers, and returns the one before.
    pub fn replace(&self, next: Snapshot) -> Arc<Snapshot> {
        let generation = next.generation;
        tell_expiries(&next);
        let previous = self.current.swap(Arc::new(next));
        self.generation.send_replace(generation);
        previous
    }

    /// Sets the series of the snapshot in force in order before every scrape.
    pub fn settle_before_scrapes(&self, registry: &Registry) {
        // Not an owner: the registry would otherwise hold the snapshot, which holds the registry.
        let scraped = Arc::downgrade(&self.current);
        registry.on_scrape(move || {
            if let Some(current) = scraped.upgrade() {
                current.load_full().settle_series();
            }
        });
    }

    /// For somebody who has to do something about each new generation. What is in force now counts
    /// as done: it is to be looked at before the first change is awaited.
    pub fn follower(&self) -> Follower {
        let generation = self.generation.subscribe();
        let done = Arc::new(AtomicU64::new(*generation.borrow()));
        self.followers.lock().push(Arc::downgrade(&done));
        Follower {
            generation,
            done,
            all: Arc::clone(&self.followers),
        }
    }

    /// Waits, no longer than this, until all followers have done what is in force now says; returns
    /// how many have not.
    pub async fn followed(&self, longest: Duration) -> usize {
        let generation = *self.generation.borrow();
        let all = async {
            loop {
                let progress = self.followers.progress.notified();
                if self.followers.behind(generation) == 0 {
                    return;
                }
                progress.await;
            }
        };
        match timeout(longest, all).await {
            Ok(()) => 0,
            Err(_) => self.followers.behind(generation),
        }
    }

    /// Sees each new generation after it is in force.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

impl Follower {
    /// Waits for the next generation, and returns it; `None` when there can be none any more.
    pub async fn changed(&mut self) -> Option<u64> {
        self.generation.changed().await.ok()?;
        Some(*self.generation.borrow_and_update())
    }

    /// Says that what this generation says is done.
    pub fn done(&self, generation: u64) {
        self.done.store(generation, Ordering::Release);
        self.all.progress.notify_waiters();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Nobody waits for who has gone.
        self.done.store(u64::MAX, Ordering::Release);
        self.all.progress.notify_waiters();
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<AtomicU64>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have not done this yet.
    fn behind(&self, generation: u64) -> usize {
        let mut done = self.lock();
        done.retain(|one| one.strong_count() > 0);
        let done = done.iter().filter_map(Weak::upgrade);
        done.filter(|done| done.load(Ordering::Acquire) < generation)
            .count()
    }
}

impl Cache {
    /// The snapshot in force.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.inner.load()
    }
}

/// What was told of the snapshot before stays until then, if it is of the same files.
fn tell_expiries(snapshot: &Snapshot) {
    let listeners = snapshot.listeners.iter();
    for tls in listeners.filter_map(|listener| listener.tls.as_ref()) {
        tls.tell_expiries();
    }
}
