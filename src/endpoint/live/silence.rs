//! Whether an endpoint has fallen silent, as told by those that did not wait for it to the end.
//!
//! Problem: a hedge that answers ends the attempt before it. So an endpoint that is dead runs into
//! no limit of time, nothing fails there, and it would keep its share for ever. That one attempt
//! was given up says little: another endpoint was faster this once. But one that has begun no
//! answer to anybody, over a time in which all that was asked of it had to be given up, is silent;
//! and as nobody got an answer from it, nobody misses it when it is left out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Attempts that were given up unanswered, in a row.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    lost: u32,
    since: Option<Instant>,
    /// What the endpoint had answered when it began.
    heads: u32,
}

impl Silence {
    /// Another one was; `heads` is what the endpoint has answered so far. Returns whether it has
    /// been silent for long.
    pub(super) fn lost(&self, heads: u32, now: Instant) -> bool {
        let mut row = self.row();
        if row.heads != heads {
            *row = Row::default();
        }
        row.heads = heads;
        row.lost = row.lost.saturating_add(1);
        let since = *row.since.get_or_insert(now);
        row.lost >= SEVERAL && now.saturating_duration_since(since) >= LONG
    }

    /// It gets another chance.
    pub(super) fn forget(&self) {
        *self.row() = Row::default();
    }

    fn row(&self) -> std::sync::MutexGuard<'_, Row> {
        // Numbers only: a panic elsewhere cannot have left them half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is given up is one in twenty where all is well: so many in a row are no chance.
const SEVERAL: u32 = 5;

/// Longer than the pauses of collectors and schedulers, which hedges are there to bridge.
const LONG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_over_a_while_without_a_word_are_silence() {
        let silence = Silence::default();
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        // Many at once: a pause, as far as can be told.
        assert!((0..100).all(|millis| !silence.lost(7, at(millis))));
        assert!(!silence.lost(7, at(999)));
        assert!(silence.lost(7, at(1_000)));
        // A word to anybody ends it.
        assert!(!silence.lost(8, at(1_001)));
        // Few over a long time.
        assert!((2..5).all(|second| !silence.lost(8, at(second * 1_000))));
        assert!(silence.lost(8, at(5_000)));
        silence.forget();
        assert!(!silence.lost(8, at(6_000)));
    }
}
