//! Which endpoints answered well lately, as one worker saw it.
//!
//! Problem: where many endpoints begin to fail at the same moment, a request that is tried again
//! meets the next one that fails as often as not: what is known of the others is from before. Those
//! that have answered within the last moments are another matter. A worker remembers a few of them,
//! of all upstreams together, for what it tries again; which of these do is asked by who picks.

use std::cell::Cell;

/// The numbers of the last ones ([`Live::id`](crate::endpoint::Live::id)).
#[derive(Debug, Default)]
pub struct Lately {
    ids: [Cell<u64>; KEPT],
    next: Cell<usize>,
}

impl Lately {
    /// This one answered well.
    #[inline]
    pub fn answered(&self, id: u64) {
        let place = self.next.get();
        self.ids[place].set(id);
        self.next.set((place + 1) % KEPT);
    }

    /// The last ones, each once, the very last first.
    pub fn list(&self) -> Vec<u64> {
        let mut list = Vec::with_capacity(KEPT);
        for before in 1..=KEPT {
            let id = self.ids[(self.next.get() + KEPT - before) % KEPT].get();
            if id != NOBODY && !list.contains(&id) {
                list.push(id);
            }
        }
        list
    }
}

/// Enough for one that was not tried to be among them, and few enough to be of this moment.
const KEPT: usize = 16;

/// What numbers begin behind.
const NOBODY: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_told_once_each() {
        let lately = Lately::default();
        assert!(lately.list().is_empty());
        for id in [1, 2, 1, 3, 3] {
            lately.answered(id);
        }
        assert_eq!(lately.list(), [3, 1, 2]);
        for id in 10..30 {
            lately.answered(id);
        }
        assert_eq!(lately.list(), (14..30).rev().collect::<Vec<_>>());
    }
}
