//! A backoff as it outlives the process. The gate of an ejection is none of it: that is put there
//! again by what the endpoint is held for.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{
    COUNT, ConnectBackoff, HALF_OPEN, LONGEST_REST, MOST_FAILURES, UNANSWERED, failures_of, pack,
    until_of,
};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::endpoint) struct KeptBackoff {
    failures: u64,
    left_ms: u64,
    unanswered: bool,
}

impl ConnectBackoff {
    /// What is to be kept, if anything failed.
    pub(in crate::endpoint) fn kept(&self, now: u64) -> Option<KeptBackoff> {
        let word = self.word.load(Ordering::Relaxed);
        let failures = failures_of(word) & COUNT;
        let has_failed = word & HALF_OPEN == 0 && failures > 0;
        has_failed.then(|| KeptBackoff {
            failures,
            left_ms: until_of(word).saturating_sub(now),
            unanswered: word & UNANSWERED != 0,
        })
    }

    /// Goes on from what was kept so many milliseconds ago.
    pub(in crate::endpoint) fn resume(&self, kept: &KeptBackoff, age: u64, now: u64) {
        let failures = kept.failures.min(MOST_FAILURES);
        if failures > 0 {
            let left = kept.left_ms.min(LONGEST_REST).saturating_sub(age);
            let mark = if kept.unanswered { UNANSWERED } else { 0 };
            let word = pack(now + left, failures | mark);
            self.word.store(word, Ordering::Relaxed);
        }
    }
}
