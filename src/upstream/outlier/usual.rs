//! How long answers usually take in a group, and what is far slower than that.
//!
//! All answers of the last seconds together, older ones counting less, but for those of endpoints
//! whose last answers all were too slow: were these more than half, it is nothing of their own, and
//! what they do is what is usual. An answer is too slow from `latency_factor` × the median on, and
//! so much above it that somebody notices: [`NOTICED`] for the balancer to prefer others,
//! [`HURTS`] to take an endpoint out. Of the other answers a share p comes as late, (l + 1) /
//! (n + 1) of n; so k of them in a row at one endpoint are chance once in p^-k times, and are
//! counted for what they are from pᵏ ≤ 10⁻⁶ on, but no single one. So what takes long now and then
//! everywhere (a report, a long poll) is nobody's fault, and an endpoint that is slow is told from
//! others by two or three answers where hardly any is late elsewhere.

use std::time::Duration;

use super::detect::ONCE_IN;
use crate::endpoint::{SLOTS, TooSlow, times_of};

/// What is usual in a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    /// The median of all answers.
    pub(super) median: Duration,
    /// What somebody notices.
    pub(super) noticed: Option<TooSlow>,
    /// What is too slow for an endpoint to stay.
    pub(super) hurts: Option<TooSlow>,
}

impl Usual {
    /// What is usual where these are the answers by time; `None` where they are too few.
    pub(super) fn of(answers: &[f32; SLOTS], slower: f64) -> Option<Self> {
        let all: f32 = answers.iter().sum();
        if slower <= 0.0 || all < LEAST_ANSWERS {
            return None;
        }
        let mut rest = all / 2.0;
        let middle = answers.iter().position(|count| {
            rest -= count;
            rest <= 0.0
        })?;
        let (from, to) = times_of(middle);
        let median = (from + to) / 2;
        let too_slow = |above| {
            let least = median.mul_f64(slower).max(median + above);
            let slot = (1..SLOTS).find(|slot| times_of(*slot).0 >= least)?;
            let late: f32 = answers[slot..].iter().sum();
            let share = f64::from(late + 1.0) / f64::from(all + 1.0);
            let row = (2..=LONGEST_ROW).find(|row| share.powi(i32::from(*row)) <= ONCE_IN)?;
            Some(TooSlow {
                slot: u8::try_from(slot).ok()?,
                row,
            })
        };
        Some(Self {
            median,
            noticed: too_slow(NOTICED),
            hurts: too_slow(HURTS),
        })
    }
}

/// Fewer say nothing of what one in a hundred does.
const LEAST_ANSWERS: f32 = 20.0;

/// What takes more is no row that an endpoint makes before it is found in other ways.
const LONGEST_ROW: u8 = 100;

/// Twice ten: what takes one millisecond elsewhere may take ten, and nobody is served worse.
const NOTICED: Duration = Duration::from_millis(20);

/// Ten times nearly nothing is nearly nothing.
const HURTS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(counts: &[(usize, f32)]) -> [f32; SLOTS] {
        let mut answers = [0.0; SLOTS];
        for (slot, count) in counts {
            answers[*slot] = *count;
        }
        answers
    }

    fn too_slow(slot: u8, row: u8) -> TooSlow {
        TooSlow { slot, row }
    }

    #[test]
    fn what_is_far_slower_than_usual_depends_on_what_is_usual() {
        // About 12 ms, so from 126 ms on; 134 ms are the first slot of such times.
        let usual = Usual::of(&answers(&[(5, 2_000.0)]), 10.0).expect("there are enough");
        assert_eq!(usual.noticed, Some(too_slow(9, 2)));
        assert_eq!(usual.hurts, Some(too_slow(9, 2)));
        // About 1 ms: ten of them are nothing, and 34 ms are noticed.
        let usual = Usual::of(&answers(&[(1, 200.0)]), 10.0).expect("there are enough");
        assert_eq!(usual.noticed, Some(too_slow(7, 3)));
        assert_eq!(usual.hurts, Some(too_slow(9, 3)));
    }

    #[test]
    fn what_takes_long_now_and_then_needs_a_longer_row() {
        for (late, row) in [(0.0, 2), (10.0, 4), (100.0, 7), (400.0, 16)] {
            let usual = Usual::of(&answers(&[(5, 1_000.0 - late), (12, late)]), 10.0);
            let noticed = usual.expect("there are enough").noticed;
            assert_eq!(noticed, Some(too_slow(9, row)), "{late} of a thousand");
        }
    }

    #[test]
    fn few_answers_say_nothing_and_neither_do_those_that_could_not_be_slower() {
        assert_eq!(Usual::of(&answers(&[(5, 19.0)]), 10.0), None);
        assert_eq!(Usual::of(&answers(&[(5, 1_000.0)]), 0.0), None);
        let usual = Usual::of(&answers(&[(14, 1_000.0)]), 10.0).expect("there are enough");
        assert_eq!((usual.noticed, usual.hurts), (None, None));
    }
}
