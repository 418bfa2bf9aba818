//! The one `ArcSwap`: how workers reach the snapshot that is in force.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;
use crate::telemetry::metrics::Registry;

/// Access to the snapshot in force. Clones share it.
#[derive(Debug, Clone)]
pub struct Handle {
    current: Arc<ArcSwap<Snapshot>>,
    generation: Arc<watch::Sender<u64>>,
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

    /// Sees each new generation after it is in force.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
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
