//! How fast things may come: a bucket of tokens as one number.
//!
//! Instead of counting tokens it is remembered when the next one would be due if things came evenly
//! (GCRA, ITU-T I.371): so a bucket is one number, nothing has to be refilled, and one that is full
//! is one that nobody has to remember.

use std::time::Duration;

use crate::config::RateEntry;

/// A rate and its burst. Times are nanoseconds since some beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two that come evenly.
    interval: u64,
    /// How far ahead of that they may be.
    burst: u64,
}

/// What becomes of one that comes, and when the next one is due then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It may come.
    Passes(u64),
    /// It comes too early.
    TooEarly(u64),
}

impl Pace {
    pub(super) fn new(written: RateEntry) -> Self {
        let (rate, burst) = match written {
            RateEntry::Rate(rate) => (rate, rate.count),
            RateEntry::Detailed(written) => {
                (written.rate, written.burst.unwrap_or(written.rate.count))
            }
        };
        let interval = nanoseconds(rate.per) / u64::from(rate.count.max(1));
        Self {
            interval,
            burst: interval.saturating_mul(u64::from(burst)),
        }
    }

    /// What becomes of one that comes now. What is due is to be remembered in either case: a reload
    /// may have made the pace faster, and what was used up of the slower one may lie further ahead
    /// than this one ever looks.
    pub(super) fn next(self, due: u64, now: u64) -> Next {
        let due = due.min(now.saturating_add(self.burst));
        let next = due.max(now).saturating_add(self.interval);
        if next - now <= self.burst {
            Next::Passes(next)
        } else {
            Next::TooEarly(due)
        }
    }

    /// The same without the last one that came.
    pub(super) fn before(self, due: u64) -> u64 {
        due.saturating_sub(self.interval)
    }
}

/// Five hundred years are enough.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Next, Pace};
    use crate::config::{RateDetails, RateEntry};

    const SECOND: u64 = 1_000_000_000;

    fn pace(rate: &str, burst: Option<u32>) -> Pace {
        let rate = rate.parse().expect("a rate");
        Pace::new(RateEntry::Detailed(RateDetails { rate, burst }))
    }

    /// Whether one may come, and what is remembered.
    fn step(pace: Pace, due: u64, now: u64) -> (bool, u64) {
        match pace.next(due, now) {
            Next::Passes(due) => (true, due),
            Next::TooEarly(due) => (false, due),
        }
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let pace = pace("10/s", Some(3));
        let (mut due, mut taken) = (0, 0);
        for now in (0..=SECOND).step_by(1_000_000) {
            let (passes, next) = step(pace, due, now);
            (due, taken) = (next, taken + u32::from(passes));
        }
        assert_eq!(taken, 3 + 10, "those at once, and ten in the second");
    }

    #[test]
    fn a_pause_brings_no_more_than_the_burst() {
        let pace = pace("60/m", Some(2));
        let mut due = 0;
        for now in [0, 100 * SECOND] {
            for is_taken in [true, true, false] {
                let (passes, next) = step(pace, due, now);
                assert_eq!(passes, is_taken, "at {now}");
                due = next;
            }
        }
        assert_eq!(step(pace, pace.before(due), 100 * SECOND), (true, due));
    }

    #[test]
    fn what_a_slower_pace_left_behind_does_not_hold_a_faster_one_up() {
        let (slow, fast) = (pace("600/h", None), pace("100/s", None));
        let mut due = 0;
        for _ in 0..600 {
            due = step(slow, due, SECOND).1;
        }
        assert_eq!(due, 3601 * SECOND);
        let (passes, due) = step(fast, due, SECOND);
        assert!(!passes, "it counts as used up");
        let (passes, due) = step(fast, due, SECOND + SECOND / 100);
        assert!(passes);
        assert!(step(fast, due, 3 * SECOND).0);
    }
}
