//! What became of attempts at one endpoint, counted by workers and read by the control plane.
//!
//! Nothing is ever set back but the row of failures: the reader keeps what it read last, and looks
//! at the difference. So a success costs one addition, and a reader that is late loses nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::time::Duration;

use crate::endpoint::Fault;

/// Counted over all workers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Heads of responses by the time until their first byte: each slot is twice the one before.
    answers: [AtomicU32; SLOTS],
    /// Heads of responses of which nobody knows how long they took.
    untimed: AtomicU32,
    /// What has ended without a head.
    others: AtomicU32,
    failures: AtomicU32,
    /// Failures since the last success; with [`MIXED`].
    row: AtomicU32,
    /// The last failure, packed; 0: none yet.
    last: AtomicU32,
    is_suspect: AtomicBool,
    trial: AtomicU8,
}

/// What has been counted since the endpoint was first used. The counts go round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Heads of responses, by the time until their first byte.
    pub answers: [u32; SLOTS],
    /// What has ended without a head, or with one of which nobody knows how long it took.
    pub others: u32,
    /// What of both was a failure.
    pub failures: u32,
    /// Failures since the last success.
    pub row: u32,
    /// Whether no connection could be made at all of these.
    pub row_is_of_connections: bool,
    /// The last failure.
    pub last: Option<Fault>,
    /// Answers in a row, up to the last one, that came far later than is usual ([`TooSlow`]).
    ///
    /// [`TooSlow`]: super::TooSlow
    pub late: u32,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// Not as a failure.
    Passed,
    /// As a failure.
    Failed,
}

impl Tally {
    /// The head of a response came. Returns the slot of its time.
    #[inline]
    pub(super) fn answered(&self, took: Duration) -> usize {
        let slot = slot(took);
        self.answers[slot].fetch_add(1, Relaxed);
        slot
    }

    /// The same of a head of which nobody knows how long it took.
    pub(super) fn answered_untimed(&self) {
        self.untimed.fetch_add(1, Relaxed);
    }

    /// An attempt ended without one.
    pub(super) fn ended(&self) {
        self.others.fetch_add(1, Relaxed);
    }

    /// It went well: the row ends. One load if there is none.
    #[inline]
    pub(super) fn went_well(&self) {
        if self.row.load(Relaxed) != 0 {
            self.row.store(0, Relaxed);
        }
    }

    /// It failed. Returns the failures in a row.
    pub(super) fn failed(&self, fault: Fault) -> u32 {
        self.failures.fetch_add(1, Relaxed);
        self.last.store(fault.pack(), Relaxed);
        let mark = if fault.is_connection() { 0 } else { MIXED };
        let longer =
            |row: u32| Some((row & COUNT).saturating_add(1).min(COUNT) | row & MIXED | mark);
        let before = self.row.fetch_update(Relaxed, Relaxed, longer);
        (before.unwrap_or(0) & COUNT) + 1
    }

    /// Marks the endpoint as suspect; false if it is already.
    pub(super) fn suspect(&self) -> bool {
        !self.is_suspect.load(Relaxed) && !self.is_suspect.swap(true, Relaxed)
    }

    /// Takes the mark off, so that it is told again.
    pub(super) fn trust(&self) {
        self.is_suspect.store(false, Relaxed);
    }

    /// Keeps how a trial ended.
    pub(super) fn tried(&self, trial: Trial) {
        self.trial.store(trial as u8 + 1, Relaxed);
    }

    /// How the last trial ended, once.
    pub(super) fn take_trial(&self) -> Option<Trial> {
        match self.trial.swap(0, Relaxed) {
            1 => Some(Trial::Passed),
            2 => Some(Trial::Failed),
            _ => None,
        }
    }

    /// Heads of responses so far.
    pub(super) fn heads(&self) -> u32 {
        let heads = self.answers.iter().chain([&self.untimed]);
        let heads = heads.map(|slot| slot.load(Relaxed));
        heads.fold(0, u32::wrapping_add)
    }

    /// Whether nothing has been counted yet.
    pub(super) fn is_empty(&self) -> bool {
        let is_none = |count: &AtomicU32| count.load(Relaxed) == 0;
        is_none(&self.others) && is_none(&self.untimed) && self.answers.iter().all(is_none)
    }

    /// Begins a new row.
    pub(super) fn forgive(&self) {
        self.row.store(0, Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        let row = self.row.load(Relaxed);
        Reading {
            answers: self.answers.each_ref().map(|slot| slot.load(Relaxed)),
            others: (self.others.load(Relaxed)).wrapping_add(self.untimed.load(Relaxed)),
            failures: self.failures.load(Relaxed),
            row: row & COUNT,
            row_is_of_connections: row != 0 && row & MIXED == 0,
            last: Fault::unpack(self.last.load(Relaxed)),
            late: 0, // known elsewhere
        }
    }
}

/// The slot of a time: below [`FINEST`] the first, twice as much the next.
#[inline]
fn slot(took: Duration) -> usize {
    let units = if took.as_secs() == 0 {
        took.subsec_nanos() >> FINEST_BITS
    } else {
        u32::try_from(took.as_secs()).map_or(u32::MAX, |seconds| {
            seconds.saturating_mul(1_000_000_000 >> FINEST_BITS)
        })
    };
    let slot = u32::BITS - units.leading_zeros();
    (slot as usize).min(SLOTS - 1)
}

/// Times that a slot stands for: at least the first, less than the second.
pub fn times_of(slot: usize) -> (Duration, Duration) {
    let from = |slot: usize| match slot {
        0 => Duration::ZERO,
        _ => FINEST * (1_u32 << (slot - 1).min(31)),
    };
    (from(slot), from(slot + 1))
}

/// From half a millisecond to more than eight seconds: what is slower is slow.
pub const SLOTS: usize = 16;

/// A power of two, so that a slot is found by shifting: about half a millisecond.
const FINEST_BITS: u32 = 19;
const FINEST: Duration = Duration::from_nanos(1 << FINEST_BITS);

/// Set in a row of failures of which one was none of a connection.
const MIXED: u32 = 1 << 31;
/// What is left of it.
const COUNT: u32 = MIXED - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ConnectFailure;

    #[test]
    fn a_time_is_in_the_slot_that_stands_for_it() {
        for nanos in [0, 1, 524_287, 524_288, 1_048_575, 1_048_576, 30_000_000] {
            let took = Duration::from_nanos(nanos);
            let (from, to) = times_of(slot(took));
            assert!(from <= took && took < to, "{took:?} in {from:?} to {to:?}");
        }
        for seconds in [1, 2, 5] {
            let took = Duration::from_secs(seconds);
            let (from, to) = times_of(slot(took));
            // Whole seconds are counted in units that are a little too small.
            assert!(from <= took && took < to + to / 100, "{took:?}");
        }
        assert_eq!(slot(Duration::from_secs(9)), SLOTS - 1);
        assert_eq!(slot(Duration::MAX), SLOTS - 1);
    }

    #[test]
    fn a_row_knows_what_it_is_made_of() {
        let tally = Tally::default();
        assert_eq!(tally.failed(Fault::Connect(ConnectFailure::Refused)), 1);
        assert!(tally.read().row_is_of_connections);
        assert_eq!(tally.failed(Fault::Status(500)), 2);
        assert_eq!(tally.failed(Fault::Connect(ConnectFailure::Refused)), 3);
        let reading = tally.read();
        assert_eq!((reading.row, reading.failures), (3, 3));
        assert!(!reading.row_is_of_connections);
        tally.went_well();
        assert_eq!(tally.read().row, 0);
        assert_eq!(tally.failed(Fault::Broken), 1);
    }

    #[test]
    fn what_is_told_is_told_once() {
        let tally = Tally::default();
        assert!(tally.suspect() && !tally.suspect());
        tally.trust();
        assert!(tally.suspect());
        tally.tried(Trial::Failed);
        assert_eq!(tally.take_trial(), Some(Trial::Failed));
        assert_eq!(tally.take_trial(), None);
    }
}
