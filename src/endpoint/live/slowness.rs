//! Whether an endpoint answers far more slowly than is usual.
//!
//! Problem: what is in flight tells a slow endpoint from others only where enough is. Of four idle
//! ones each gets its share, and where one of them takes half a second instead of ten milliseconds,
//! that is more than one request in a hundred. So the control plane, which knows what is usual
//! among the peers, says from which time on an answer is far too late, and how many of these in a
//! row are no chance any more. Workers count the row, and from then on each further one counts as
//! a failure does where endpoints are compared: one that is slow is asked ever more seldom, until
//! an answer comes in time. It is no failure, and ejects nobody by itself.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// From when on an answer is far later than is usual, and how many in a row are no chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow {
    /// The first slot of such times ([`times_of`](super::times_of)). Never the very first.
    pub slot: u8,
    /// How many of them in a row; at least one.
    pub row: u8,
}

/// How many answers in a row were too slow, in one word, which the row shares with its measure:
/// the row from the 16th bit on, how long it has to be from the 8th, and the slot.
#[derive(Debug, Default)]
pub(super) struct Slowness(AtomicU32);

impl Slowness {
    /// An answer came whose time is in this slot. Whether it is one of a row that is no chance.
    /// One load where it came in time, as the one before did.
    #[inline]
    pub(super) fn heard(&self, slot: usize) -> bool {
        let word = self.0.load(Relaxed);
        if word & SLOT == 0 || slot < (word & SLOT) as usize {
            if row_of(word) != 0 {
                self.0.fetch_and(MEASURE, Relaxed);
            }
            return false;
        }
        self.late()
    }

    #[cold]
    fn late(&self) -> bool {
        let longer = |word: u32| (row_of(word) < LONGEST).then(|| word + (1 << ROW));
        let word = match self.0.fetch_update(Relaxed, Relaxed, longer) {
            Ok(before) => before + (1 << ROW),
            Err(word) => word,
        };
        is_long(word)
    }

    /// Whether nothing but answers that were too slow was heard lately, and enough of them.
    pub(super) fn is_present(&self) -> bool {
        is_long(self.0.load(Relaxed))
    }

    /// Answers in a row that were too slow.
    pub(super) fn row(&self) -> u32 {
        row_of(self.0.load(Relaxed))
    }

    /// Says from when on an answer is; `None`: none ever is.
    pub(super) fn measure_by(&self, too_slow: Option<TooSlow>) {
        let measure = too_slow.map_or(0, |it| u32::from(it.slot) | u32::from(it.row) << NEEDED);
        if self.0.load(Relaxed) & MEASURE != measure {
            let row = if measure == 0 { 0 } else { !MEASURE };
            let changed = |word: u32| Some(word & row | measure);
            // It never fails: there always is a word.
            let _ = self.0.fetch_update(Relaxed, Relaxed, changed);
        }
    }

    /// Begins a new row.
    pub(super) fn forget(&self) {
        self.0.fetch_and(MEASURE, Relaxed);
    }
}

fn row_of(word: u32) -> u32 {
    word >> ROW
}

fn is_long(word: u32) -> bool {
    let needed = (word & MEASURE) >> NEEDED;
    needed != 0 && row_of(word) >= needed
}

const SLOT: u32 = 0xff;
const NEEDED: u32 = 8;
const ROW: u32 = 16;
/// What does not change with answers.
const MEASURE: u32 = (1 << ROW) - 1;
const LONGEST: u32 = u32::MAX >> ROW;

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Option<TooSlow> = Some(TooSlow { slot: 9, row: 3 });

    #[test]
    fn only_a_row_is_slowness() {
        let slowness = Slowness::default();
        assert!((0..100).all(|_| !slowness.heard(15)), "no measure is known");
        slowness.measure_by(MEASURED);
        let heard = [9, 15, 8, 9, 10, 9, 9, 0, 9].map(|slot| slowness.heard(slot));
        let slow = [false, false, false, false, false, true, true, false, false];
        assert_eq!(heard, slow);
        assert!(!slowness.is_present());
        assert_eq!(slowness.row(), 1);
    }

    #[test]
    fn a_row_outlasts_another_measure_and_ends_with_none() {
        let slowness = Slowness::default();
        slowness.measure_by(MEASURED);
        assert!([9, 9, 9].map(|slot| slowness.heard(slot))[2]);
        slowness.measure_by(Some(TooSlow { slot: 8, row: 2 }));
        assert_eq!((slowness.row(), slowness.is_present()), (3, true));
        slowness.forget();
        assert!(!slowness.heard(8) && slowness.heard(8));
        slowness.measure_by(None);
        assert_eq!((slowness.row(), slowness.is_present()), (0, false));
    }

    #[test]
    fn a_row_has_a_bound() {
        let slowness = Slowness::default();
        slowness.measure_by(MEASURED);
        for _ in 0..=LONGEST {
            slowness.heard(9);
        }
        assert_eq!((slowness.row(), slowness.heard(9)), (LONGEST, true));
        assert!(!slowness.heard(8));
    }
}
