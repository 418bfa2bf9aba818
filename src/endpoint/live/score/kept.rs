//! What endpoints are compared by, as it outlives the process.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{
    AGAIN, LATEST, LONGEST_AWAY, Latency, Penalty, SINCE, SUCCEEDED, VALUE, elapsed, unpack,
};
use super::{decayed, pack};

/// What is kept of a penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::endpoint) struct KeptPenalty {
    /// In parts of a request, as it was when it began to decay.
    value: u64,
    /// How long ago that was; or how long it is until then.
    since_ms: u64,
    until_ms: u64,
    has_succeeded: bool,
    again: bool,
}

/// What is kept of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in crate::endpoint) struct KeptLatency {
    micros: f32,
    heard_ms: u64,
}

impl Penalty {
    /// What is to be kept, if anything is remembered.
    pub(in crate::endpoint) fn kept(&self, now: u64) -> Option<KeptPenalty> {
        let word = self.word.load(Ordering::Relaxed);
        if decayed(word, now) == 0 {
            return None;
        }
        let since = word >> SINCE;
        Some(KeptPenalty {
            value: word & VALUE,
            since_ms: now.saturating_sub(since),
            until_ms: since.saturating_sub(now),
            has_succeeded: word & SUCCEEDED != 0,
            again: word & AGAIN != 0,
        })
    }

    /// Goes on from what was kept so many milliseconds ago.
    pub(in crate::endpoint) fn resume(&self, kept: &KeptPenalty, age: u64, now: u64) {
        let longest = u64::try_from(LONGEST_AWAY.as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(kept.until_ms.min(longest));
        let since = until.saturating_sub(kept.since_ms.saturating_add(age));
        let mut word = since.min(LATEST) << SINCE | kept.value.min(VALUE);
        if kept.has_succeeded {
            word |= SUCCEEDED;
        }
        if kept.again {
            word |= AGAIN;
        }
        self.word.store(word, Ordering::Relaxed);
    }
}

impl Latency {
    /// What is to be kept, if anything was heard.
    pub(in crate::endpoint) fn kept(&self, now: u64) -> Option<KeptLatency> {
        let word = self.word.load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        let (heard, micros) = unpack(word);
        let heard_ms = (elapsed(heard, now) * 1e3).clamp(0.0, 1e9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between nothing and some days"
        )]
        Some(KeptLatency {
            micros,
            heard_ms: heard_ms as u64,
        })
    }

    /// Goes on from what was kept so many milliseconds ago.
    pub(in crate::endpoint) fn resume(&self, kept: &KeptLatency, age: u64, now: u64) {
        if kept.micros.is_finite() && kept.micros > 0.0 {
            let heard = now.saturating_sub(kept.heard_ms.saturating_add(age));
            self.word.store(pack(heard, kept.micros), Ordering::Relaxed);
        }
    }
}
