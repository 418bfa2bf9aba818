//! Endpoints of which nothing is heard, not even a refusal.
//!
//! Problem: where every endpoint of an upstream backs off they are picked all the same, since one
//! of them may be back. A refusal costs nothing then. But where packets vanish each request would
//! wait for as long as a connection may take to be made, and then once more for its second attempt,
//! although everybody knows what comes of it. So one at a time tries such an endpoint, or one a
//! second where that takes longer; the others are told at once that there is none. Whatever is
//! heard of it, be it a refusal, ends that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Whether nothing is heard of an endpoint, and whether somebody tries it.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    /// Milliseconds until which others are kept away from it, and one more; 0 where something is
    /// heard of it.
    until: AtomicU64,
    /// What it had answered when no connection could be made, and one more.
    heads: AtomicU32,
    /// When that was first so, in milliseconds.
    since: AtomicU64,
}

impl Unreachable {
    /// An attempt has ended that heard nothing of the endpoint, which has answered so many. The
    /// first ones say little: where too many want a connection, some wait in vain. Not for a
    /// second, unless somebody was answered meanwhile.
    pub(super) fn begin(&self, heads: u32, now: u64) {
        let heads = heads.wrapping_add(1);
        if self.heads.swap(heads, Ordering::Relaxed) != heads {
            self.since.store(now, Ordering::Relaxed);
            return self.end();
        }
        if now.saturating_sub(self.since.load(Ordering::Relaxed)) >= LONG {
            self.until.store(now + 1, Ordering::Relaxed);
        }
    }

    /// Something was heard.
    pub(super) fn end(&self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether nobody is trying it.
    #[inline]
    pub(super) fn may_be_tried(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == 0 || until <= now() + 1
    }

    /// Whether the caller is who tries it.
    pub(super) fn try_it(&self, now: u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        let next = now + 1 + TRIAL;
        until == 0
            || until <= now + 1
                && self
                    .until
                    .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
    }
}

/// Milliseconds for which nothing has been heard of it.
const LONG: u64 = 1_000;

/// Milliseconds: what is back shows it within that time.
const TRIAL: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_tries_what_is_not_heard_of() {
        let it = Unreachable::default();
        assert!(it.try_it(5) && it.try_it(5), "nothing is known");
        let is_open = |now| it.try_it(now) && it.try_it(now);
        it.begin(7, 10);
        it.begin(7, 1_009);
        assert!(is_open(1_009), "a burst");
        it.begin(8, 2_000);
        assert!(is_open(2_000), "it answers others");
        it.begin(8, 3_000);
        assert!(it.may_be_tried(|| 3_000) && it.try_it(3_000));
        assert!(!it.may_be_tried(|| 3_000) && !it.try_it(3_999));
        assert!(it.try_it(4_000), "it takes long");
        it.begin(8, 4_010);
        assert!(it.try_it(4_010) && !it.try_it(4_010), "that has ended");
        it.begin(9, 4_020);
        assert!(is_open(4_020), "it has answered meanwhile");
        it.begin(9, 5_020);
        assert!(!is_open(5_020));
        it.end();
        assert!(is_open(5_020), "it is heard of");
    }
}
