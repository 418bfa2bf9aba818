//! How long an upstream usually takes to begin its answer: a quantile over a moving window.
//!
//! Problem: a hedge is worth its cost for the slowest few requests only, and what is slow is known
//! to nobody beforehand, and changes. So the times are counted in buckets that grow by an eighth,
//! by all workers, in two windows of ten seconds; the quantile is read from both, at most every
//! tenth of a second, and is the upper end of its bucket: never less than the truth, and at most an
//! eighth more. Before there are enough, or once traffic has ended, there is none.
//!
//! Of an attempt that was given up for a hedge's answer it is known only that it would have taken
//! longer than it was given. It is counted as that, and neither as the hedge's own time, by which
//! what is usual would shrink with each of them, nor as both together: then each hedge would be
//! asked later than the one before as soon as more than one request in twenty meets an endpoint
//! that is dead. So what is usual stays where it is for as long as that lasts, and follows the
//! answers of those that have not been given up.

mod kept;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use kept::KeptWaits;

/// The times of one upstream.
#[derive(Debug)]
pub struct UsualWait {
    origin: Instant,
    /// The window that is under way.
    window: AtomicU64,
    counts: [Counts; 2],
    /// When it was read last, in milliseconds, and what it was, in microseconds; 0 for none.
    read_at: AtomicU64,
    usual: AtomicU64,
}

#[derive(Debug)]
struct Counts([AtomicU32; BUCKETS]);

impl UsualWait {
    /// Nothing is known.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            window: AtomicU64::new(0),
            counts: [Counts::new(), Counts::new()],
            read_at: AtomicU64::new(0),
            usual: AtomicU64::new(0),
        }
    }

    /// Takes in that an answer began after so long.
    pub fn record(&self, took: Duration, now: Instant) {
        let window = self.advance(now);
        let bucket = bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.counts[place(window)].0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in that an attempt was given up which had so long, and would have taken longer.
    pub fn record_longer(&self, than: Duration, now: Instant) {
        // Where a route says itself when it hedges, that may be long before what is usual: of how
        // long the attempt would have taken it says nothing, and must not lower that.
        let usual = self.usual(now).unwrap_or_default();
        self.record(than.max(usual), now);
    }

    /// What 95 % of the answers took at most; `None` where too little is known.
    pub fn usual(&self, now: Instant) -> Option<Duration> {
        self.advance(now);
        // From 1, since 0 is never.
        let millis = u64::try_from(self.since(now).as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let read_at = self.read_at.load(Ordering::Relaxed);
        if read_at == 0 || millis.saturating_sub(read_at) >= READ_EVERY {
            self.read_at.store(millis, Ordering::Relaxed);
            self.usual.store(self.read(), Ordering::Relaxed);
        }
        let usual = self.usual.load(Ordering::Relaxed);
        (usual > 0).then(|| Duration::from_micros(usual))
    }

    fn read(&self) -> u64 {
        let counts: [u64; BUCKETS] = std::array::from_fn(|bucket| {
            let of = |counts: &Counts| u64::from(counts.0[bucket].load(Ordering::Relaxed));
            self.counts.iter().map(of).sum()
        });
        let all: u64 = counts.iter().sum();
        if all < ENOUGH {
            return 0;
        }
        let mut left = (all * SHARE).div_ceil(100);
        for (bucket, count) in counts.iter().enumerate() {
            if *count >= left {
                return end_of(bucket);
            }
            left -= count;
        }
        end_of(BUCKETS - 1)
    }

    /// Begins another window where it is time. Whoever is counted meanwhile may be lost: he is one
    /// of many.
    fn advance(&self, now: Instant) -> u64 {
        let window = self.since(now).as_secs() / WINDOW;
        let known = self.window.load(Ordering::Relaxed);
        if window <= known {
            return known;
        }
        let swapped =
            self.window
                .compare_exchange(known, window, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_ok() {
            self.counts[place(window)].clear();
            if window > known + 1 {
                self.counts[place(window + 1)].clear();
            }
        }
        window
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

impl Counts {
    fn new() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }

    fn clear(&self) {
        for count in &self.0 {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Which counts are a window's.
fn place(window: u64) -> usize {
    usize::from(window % 2 == 1)
}

/// The bucket of a time in microseconds: eight for each doubling.
fn bucket(micros: u64) -> usize {
    let bucket = if micros < FINE {
        micros
    } else {
        let doubling = micros.ilog2() - FINE.ilog2();
        let within = (micros >> doubling) - FINE;
        FINE * u64::from(1 + doubling) + within
    };
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The largest time of a bucket, in microseconds.
fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let (doubling, within) = (bucket / FINE - 1, bucket % FINE);
    ((FINE + within + 1) << doubling) - 1
}

/// In per cent: what a hedge is asked after, so that one request in twenty asks twice.
const SHARE: u64 = 95;

/// Five are slower than the quantile: with fewer it is one request's luck.
const ENOUGH: u64 = 100;

/// In seconds: what is known is at least so old, and at most twice.
const WINDOW: u64 = 10;

/// In milliseconds.
const READ_EVERY: u64 = 100;

/// Buckets for each doubling.
const FINE: u64 = 8;

/// Up to two minutes, longer than anybody waits for a head.
const BUCKETS: usize = 8 * 25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn nothing_is_usual_before_enough_is_known_nor_long_after() {
        let origin = Instant::now();
        let times = UsualWait::new(origin);
        (0..99).for_each(|_| times.record(ms(5), origin));
        assert_eq!(times.usual(origin), None);
        times.record(ms(5), origin);
        // What was read a moment ago is not read again.
        assert_eq!(times.usual(origin + ms(50)), None);
        let usual = times.usual(origin + ms(200)).unwrap();
        assert!((ms(5)..ms(6)).contains(&usual), "{usual:?}");
        assert!(times.usual(origin + ms(15_000)).is_some());
        assert_eq!(times.usual(origin + ms(31_000)), None);
    }

    #[test]
    fn what_has_become_slow_is_usual_soon() {
        let origin = Instant::now();
        let times = UsualWait::new(origin);
        (0..1_000).for_each(|_| times.record(ms(1), origin));
        let later = origin + ms(10_000);
        (0..1_000).for_each(|_| times.record(ms(100), later));
        assert!(times.usual(later).unwrap() >= ms(100));
        // And what is quick again, once the slow ones are too long ago.
        let last = origin + ms(30_000);
        (0..1_000).for_each(|_| times.record(ms(1), last));
        assert!(times.usual(last).unwrap() < ms(2));
    }

    #[test]
    fn every_time_has_a_bucket_that_holds_it() {
        let mut before = None;
        for bucket_before in 0..BUCKETS {
            let end = end_of(bucket_before);
            assert_eq!(bucket(end), bucket_before);
            assert!(before.is_none_or(|before| bucket(before + 1) == bucket_before));
            before = Some(end);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!(end_of(BUCKETS - 1) > 120_000_000);
    }

    proptest! {
        /// Never below the truth, and at most an eighth above it.
        #[test]
        fn the_quantile_is_near_the_truth(
            mut micros in proptest::collection::vec(1_u64..100_000_000, 100..2_000),
        ) {
            let origin = Instant::now();
            let times = UsualWait::new(origin);
            for time in &micros {
                times.record(Duration::from_micros(*time), origin);
            }
            micros.sort_unstable();
            let rank = (micros.len() * 95).div_ceil(100);
            let truth = u128::from(micros[rank - 1]);
            let usual = times.usual(origin).unwrap().as_micros();
            prop_assert!(usual >= truth, "{usual} < {truth}");
            prop_assert!(usual <= truth + truth / 8, "{usual} > {truth} + 1/8");
        }
    }
}
