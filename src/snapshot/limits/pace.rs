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

    /// When the next one is due after one that comes now; `None` if it comes too early.
    pub(super) fn next(self, due: u64, now: u64) -> Option<u64> {
        let next = due.max(now).saturating_add(self.interval);
        (next - now <= self.burst).then_some(next)
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
    use super::Pace;
    use crate::config::{RateDetails, RateEntry};

    const SECOND: u64 = 1_000_000_000;

    fn pace(rate: &str, burst: Option<u32>) -> Pace {
        let rate = rate.parse().expect("a rate");
        Pace::new(RateEntry::Detailed(RateDetails { rate, burst }))
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let pace = pace("10/s", Some(3));
        let (mut due, mut taken) = (0, 0);
        for now in (0..=SECOND).step_by(1_000_000) {
            if let Some(next) = pace.next(due, now) {
                (due, taken) = (next, taken + 1);
            }
        }
        assert_eq!(taken, 3 + 10, "those at once, and ten in the second");
    }

    #[test]
    fn a_pause_brings_no_more_than_the_burst() {
        let pace = pace("60/m", Some(2));
        let mut due = 0;
        for now in [0, 100 * SECOND] {
            for is_taken in [true, true, false] {
                let next = pace.next(due, now);
                assert_eq!(next.is_some(), is_taken, "at {now}");
                due = next.unwrap_or(due);
            }
        }
        assert_eq!(pace.next(pace.before(due), 100 * SECOND), Some(due));
    }
}
