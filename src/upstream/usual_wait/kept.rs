//! What is usual, as it outlives the process: the counts of both windows, put together.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{BUCKETS, UsualWait, WINDOW, place};

/// What is kept: buckets that hold something, each with its count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWaits(Vec<(usize, u32)>);

impl UsualWait {
    /// What is to be kept of it.
    pub fn kept(&self, now: Instant) -> KeptWaits {
        self.advance(now);
        let counts = (0..BUCKETS).map(|bucket| {
            let of = |window: usize| self.counts[window].0[bucket].load(Ordering::Relaxed);
            (bucket, of(0).saturating_add(of(1)))
        });
        KeptWaits(counts.filter(|(_, count)| *count > 0).collect())
    }

    /// Goes on from what was kept so long ago. Windows that would be over by now are nothing.
    pub fn resume(&self, kept: &KeptWaits, age: Duration, now: Instant) {
        if age > Duration::from_secs(WINDOW) {
            return;
        }
        let window = self.advance(now);
        for (bucket, count) in &kept.0 {
            if let Some(known) = self.counts[place(window)].0.get(*bucket) {
                known.fetch_add(*count, Ordering::Relaxed);
            }
        }
    }
}

impl KeptWaits {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_known_to_the_next_process_at_once_and_not_for_long() {
        let start = Instant::now();
        let times = UsualWait::new(start);
        (0..200).for_each(|_| times.record(Duration::from_millis(5), start));
        let kept = times.kept(start);
        let next = UsualWait::new(start);
        next.resume(&kept, Duration::from_secs(2), start);
        assert_eq!(next.usual(start), times.usual(start));
        assert!(next.usual(start).is_some());
        let late = UsualWait::new(start);
        late.resume(&kept, Duration::from_secs(30), start);
        assert_eq!(late.usual(start), None);
        let foreign = KeptWaits(vec![(usize::MAX, 1), (0, u32::MAX), (0, u32::MAX)]);
        next.resume(&foreign, Duration::ZERO, start);
        assert!(next.usual(start).is_some());
    }
}
