//! Endpoints of which nothing is heard, not even a refusal.
//!
//! Problem: where every endpoint of an upstream backs off they are picked all the same, since one of
//! them may be back. A refusal costs nothing then. But where packets vanish each request would wait
//! for as long as a connection may take to be made, and then once more for its second attempt,
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
    /// What it had answered when no connection could be made last, and one more.
    heads: AtomicU32,
}

impl Unreachable {
    /// An attempt has ended that heard nothing of the endpoint, which has answered so many. The
    /// first one says little: where too many want a connection, some wait in vain. Not two, unless
    /// somebody was answered meanwhile.
    pub(super) fn begin(&self, heads: u32, now: u64) {
        let heads = heads.wrapping_add(1);
        if self.heads.swap(heads, Ordering::Relaxed) == heads {
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

/// Milliseconds: what is back shows it within that time.
const TRIAL: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_tries_what_is_not_heard_of() {
        let it = Unreachable::default();
        assert!(it.try_it(5) && it.try_it(5), "nothing is known");
        it.begin(7, 10);
        assert!(it.try_it(10) && it.try_it(10), "it was one");
        it.begin(8, 10);
        assert!(it.try_it(10) && it.try_it(10), "and it answers others");
        it.begin(8, 10);
        assert!(it.may_be_tried(|| 10) && it.try_it(10));
        assert!(!it.may_be_tried(|| 10) && !it.try_it(1_009));
        assert!(it.try_it(1_010), "it takes long");
        it.begin(8, 1_020);
        assert!(it.try_it(1_020), "it has ended");
        it.end();
        assert!(it.try_it(1_020) && it.try_it(1_020), "it is heard of");
    }
}
