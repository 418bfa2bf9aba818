//! When the tunnels to an endpoint have to end that was taken out of its upstream.
//!
//! Problem: a tunnel may last for days, and nobody decides anew where its bytes go. So one to an
//! endpoint that is gone from the configuration keeps using it, and whoever takes a machine out of
//! service waits for the last client to leave by itself. Here the end is written down once, for all
//! workers, and whoever runs a tunnel is woken.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// When tunnels have to end, if they have to.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// Milliseconds and one more; 0 is never.
    end: AtomicU64,
    /// How often it has become another.
    changes: AtomicU32,
    changed: Notify,
}

impl Removal {
    /// Sets the end, in milliseconds, and wakes those whom it concerns.
    pub(super) fn set(&self, end: Option<u64>) {
        let word = end.map_or(0, |end| end.saturating_add(1));
        if self.end.swap(word, Release) != word {
            self.changes.fetch_add(1, Release);
            self.changed.notify_waiters();
        }
    }

    /// The end, in milliseconds.
    pub(super) fn end(&self) -> Option<u64> {
        self.end.load(Acquire).checked_sub(1)
    }

    /// How often the end has become another one.
    pub(super) fn changes(&self) -> u32 {
        self.changes.load(Acquire)
    }

    /// Ready once the end is another. Whoever makes it before it asks for the end misses nothing.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_told_to_those_who_were_there_before() {
        let removal = Removal::default();
        assert_eq!(removal.end(), None);
        let changed = removal.changed();
        removal.set(Some(0));
        changed.await;
        assert_eq!(removal.end(), Some(0));
        let changed = removal.changed();
        removal.set(None);
        changed.await;
        assert_eq!(removal.end(), None);
    }
}
