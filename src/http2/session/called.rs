//! Streams that have been called to say a frame of their body, and have not yet.
//!
//! Problem: the room that a stream is called to use is kept for it. But its task may be busy with
//! something else, and not ask before long: one that passes on a 1xx to a client that takes nothing
//! has no eye for the request. A few of those, and nobody says anything any more on a connection
//! that many share.
//!
//! So a turn lasts for one round: tasks that were called have been woken, and the driver looks
//! behind them. Whose task has run by then and has not spoken stands behind the others when it does
//! ask.

use super::Session;
use super::entry::Turn;

/// Streams that have been called: as many as there is room for a frame of, which is a few.
#[derive(Debug, Default)]
pub(super) struct Called {
    streams: Vec<u32>,
    /// So many of them, the first, had been by the last look.
    seen: usize,
}

impl Called {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub(super) fn add(&mut self, id: u32) {
        self.streams.push(id);
    }

    /// It has come, or does not any more.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(place) = self.streams.iter().position(|called| *called == id) {
            self.streams.remove(place);
            self.seen -= usize::from(place < self.seen);
        }
    }

    /// The next one that had been called by the last look.
    fn next_late(&mut self) -> Option<u32> {
        self.seen = self.seen.checked_sub(1)?;
        Some(self.streams.remove(0))
    }
}

impl Session {
    /// Whether streams have been called since the driver last looked: it has to look behind them.
    pub(in crate::http2) fn has_called(&self) -> bool {
        self.called.len() > self.called.seen
    }

    /// The driver looks: those that had been called by its last look lose their turn to others.
    /// True if some have been called that its next look is for.
    pub(in crate::http2) fn pass_turns(&mut self) -> bool {
        while let Some(id) = self.called.next_late() {
            if let Some(entry) = self.streams.get(id) {
                entry.turn = Turn::None;
            }
            self.call();
        }
        self.called.seen = self.called.len();
        !self.called.is_empty()
    }
}
