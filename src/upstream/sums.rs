//! What all members of a group carry, for balancers that bound what one may carry against the rest.
//!
//! The count of all that is in flight is of the upstream: what hangs at endpoints that were ejected
//! or removed is in it, and would lift the bound of those that are left. And penalties have no sum.
//! So the members are gone through now and then, and between that the count is taken less what was
//! in flight elsewhere. More often where one fails: beside a sum of the time before all began to
//! fail, each would seem to be the only one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::time::Instant;

use crate::balance::{Members, Together, WHOLE};

/// What was found when the members were gone through last.
#[derive(Debug)]
pub(super) struct Sums {
    weights: Box<[u32]>,
    began: Instant,
    /// When they were, in milliseconds since then and one more; 0: never.
    last: AtomicU64,
    /// In flight at endpoints that are no members.
    elsewhere: AtomicU64,
    penalty: AtomicU64,
    /// The bits of how much of the weights counts.
    share: AtomicU32,
}

impl Sums {
    pub(super) fn new(weights: &[u32], now: Instant) -> Self {
        Self {
            weights: weights.into(),
            began: now,
            last: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            penalty: AtomicU64::new(0),
            share: AtomicU32::new(1.0_f32.to_bits()),
        }
    }

    /// What the members carry together. `has_failed`: the penalties matter.
    pub(super) fn at(&self, members: &impl Members, has_failed: bool, now: Instant) -> Together {
        let passed = now.saturating_duration_since(self.began).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX >> 1);
        let last = self.last.load(Ordering::Relaxed);
        if last == 0 || passed + 1 >= last + self.period(has_failed) {
            // One worker does it for all.
            let is_ours =
                self.last
                    .compare_exchange(last, passed + 1, Ordering::Relaxed, Ordering::Relaxed);
            if is_ours.is_ok() {
                self.go_through(members);
            }
        }
        let elsewhere = self.elsewhere.load(Ordering::Relaxed);
        Together {
            in_flight: members.in_flight().saturating_sub(elsewhere),
            penalty: self.penalty.load(Ordering::Relaxed),
            share: f32::from_bits(self.share.load(Ordering::Relaxed)),
        }
    }

    fn go_through(&self, members: &impl Members) {
        let (mut in_flight, mut penalty, mut counts, mut all) = (0, 0, 0, 0);
        for (member, &weight) in self.weights.iter().enumerate() {
            let load = members.load(member);
            in_flight += u64::from(load.in_flight);
            penalty += u64::from(load.penalty);
            counts += u64::from(weight) * u64::from(members.share(member));
            all += u64::from(weight) * u64::from(WHOLE);
        }
        let elsewhere = members.in_flight().saturating_sub(in_flight);
        self.elsewhere.store(elsewhere, Ordering::Relaxed);
        self.penalty.store(penalty, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = counts as f32 / all.max(1) as f32;
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Milliseconds between two times.
    fn period(&self, has_failed: bool) -> u64 {
        let period = if has_failed { SHORT_PERIOD } else { PERIOD };
        period + self.weights.len() as u64 / MEMBERS_A_MILLISECOND
    }
}

/// In milliseconds: short against the seconds in which penalties fade and shares grow.
const PERIOD: u64 = 100;

/// The same where one fails: in so short a time none fails much more often than others by chance
/// alone.
const SHORT_PERIOD: u64 = 5;

/// One costs some ten nanoseconds, so that this is a thousandth of one worker's time at most.
const MEMBERS_A_MILLISECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::balance::Load;

    /// Members that have failed as often as each other.
    struct Failing(Cell<u32>);

    impl Members for Failing {
        fn skips(&self, _: usize) -> bool {
            false
        }

        fn load(&self, _: usize) -> Load {
            Load {
                in_flight: 0,
                penalty: self.0.get(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_has_failed_the_penalties_are_those_of_now() {
        let began = Instant::now();
        let sums = Sums::new(&[1; 10], began);
        let at = |millis, has_failed, failing: &Failing| {
            let now = began + Duration::from_millis(millis);
            sums.at(failing, has_failed, now).penalty
        };
        let failing = Failing(Cell::new(0));
        assert_eq!(at(0, false, &failing), 0);
        failing.0.set(20);
        assert_eq!(at(4, true, &failing), 0, "not at every request");
        assert_eq!(at(99, false, &failing), 0, "nobody needs it");
        assert_eq!(at(99, true, &failing), 200);
        failing.0.set(30);
        assert_eq!(at(103, true, &failing), 200);
        assert_eq!(at(104, true, &failing), 300);
    }
}
