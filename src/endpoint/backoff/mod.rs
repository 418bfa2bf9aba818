//! Passive backoff: an endpoint that could not be reached is left alone for a moment.
//!
//! Problem: between the death of an endpoint and the verdict of its health check lie seconds. Were
//! it picked all that time, every request that meets it would need a retry, and the retry budget
//! (20 % of the requests and 10/s) would be spent in the first of them. So one failure takes it out
//! of the picks for a second, twice that after the next, up to ten.
//!
//! When the time is over, one request tries it: [`ConnectBackoff::admit`] lets a single caller
//! through and extends the rest for the others, as nginx does after `fail_timeout`. Only a success
//! opens it to all.

use std::sync::atomic::{AtomicU64, Ordering};

/// The state in one word, so that workers never see half of a change: milliseconds until which the
/// endpoint is left alone, shifted by 8, and the failures in a row. 0: no failure.
#[derive(Debug, Default)]
pub(super) struct ConnectBackoff {
    word: AtomicU64,
}

/// How an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// No connection could be made.
    Connecting,
    /// One stood, and died before the endpoint had said a word: the next one that stands proves
    /// nothing.
    Unanswered,
}

impl ConnectBackoff {
    /// Takes in a failure at `now`. False if the endpoint is being left alone already: the many
    /// requests that one death cuts off are one failure.
    pub(super) fn fail(&self, now: u64, how: Failed) -> bool {
        self.word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let failures = failures_of(word);
                // A trial that fails extends the rest although that has not run out.
                if failures & TRIAL == 0 && until_of(word) > now {
                    return None;
                }
                let failures = ((failures & COUNT) + 1).min(MOST_FAILURES);
                let mark = match how {
                    Failed::Connecting => 0,
                    Failed::Unanswered => UNANSWERED,
                };
                Some(pack(now + rest_after(failures), failures | mark))
            })
            .is_ok()
    }

    /// Forgets the failures, unless the last one was of a connection that stood as well.
    pub(super) fn connected(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if word != 0 && word & UNANSWERED == 0 {
            self.succeed();
        }
    }

    /// Forgets the failures.
    pub(super) fn succeed(&self) {
        if self.word.load(Ordering::Relaxed) != 0 {
            self.word.store(0, Ordering::Relaxed);
        }
    }

    /// Ends the rest but not the row of failures: the next request tries the endpoint.
    pub(super) fn cut_short(&self, now: u64) {
        let shorten = |word: u64| {
            (word != 0).then(|| pack(until_of(word).min(now), failures_of(word) & !TRIAL))
        };
        // `Err` is "no failure known": there is nothing to shorten.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, shorten);
    }

    /// Whether anything failed since the last success. One load, no clock: what a pick asks first.
    pub(super) fn has_failed(&self) -> bool {
        self.word.load(Ordering::Relaxed) != 0
    }

    pub(super) fn is_active(&self, now: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word != 0 && until_of(word) > now
    }

    /// Whether a request may go there: always if nothing failed, for one caller after a rest.
    pub(super) fn admit(&self, now: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if word == 0 {
            return true;
        }
        if until_of(word) > now {
            return false;
        }
        let trial = pack(now + FIRST_REST, failures_of(word) | TRIAL);
        self.word
            .compare_exchange(word, trial, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

fn rest_after(failures: u64) -> u64 {
    (FIRST_REST << (failures - 1)).min(LONGEST_REST)
}

fn pack(until: u64, failures: u64) -> u64 {
    (until << 8) | failures
}

fn until_of(word: u64) -> u64 {
    word >> 8
}

fn failures_of(word: u64) -> u64 {
    word & 0xff
}

/// Milliseconds after the first failure; also how long a trial keeps others away. Long enough for a
/// re-probe to give its verdict, short enough that a hiccup is forgotten.
const FIRST_REST: u64 = 1_000;
/// Milliseconds at most: an endpoint without health checks is tried this often while it is down.
const LONGEST_REST: u64 = 10_000;
/// Failures that are told apart: the rest has reached its longest before.
const MOST_FAILURES: u64 = 8;
/// Set among the failures while one request tries the endpoint.
const TRIAL: u64 = 0x80;
/// Set among the failures while the last one was [`Failed::Unanswered`].
const UNANSWERED: u64 = 0x40;
/// What is left of them.
const COUNT: u64 = 0x3f;

#[cfg(test)]
mod tests;
