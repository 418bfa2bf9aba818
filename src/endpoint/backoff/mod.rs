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
//!
//! The same gate stands before an endpoint that comes back from an ejection
//! ([`ConnectBackoff::half_open`]): one request at a time tries it, and one a second at most. What
//! opens it then is not a connection that stands, but the control plane, which hears how the trial
//! ended.

mod kept;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use kept::KeptBackoff;

/// The state in one word, so that workers never see half of a change: milliseconds until which the
/// endpoint is left alone, shifted by 16, and the failures in a row. 0: no failure.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ConnectBackoff {
    word: AtomicU64,
    /// When the gate was put there last, in milliseconds.
    gate: AtomicU64,
}

/// Which gate a request was let through, and whether others wait for its end. Small, since each
/// request carries it: the last 24 bits of the gate's milliseconds, which one put there up to four
/// hours later does not share; and the turn of which it is the trial, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Through(NonZeroU32);

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
                let gate = word & (HALF_OPEN | TRIED | TURNS);
                Some(pack(now + rest_after(failures), failures | mark | gate))
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

    /// Forgets the failures. A gate stays.
    #[inline]
    pub(super) fn succeed(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if word != 0 && word & HALF_OPEN == 0 {
            // Not if a gate has been put there meanwhile.
            let _ = self
                .word
                .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Puts the gate there: one caller at a time is let through, until [`ConnectBackoff::open`].
    pub(super) fn half_open(&self, now: u64) {
        self.gate.store(now, Ordering::Relaxed);
        self.word.store(pack(now, HALF_OPEN), Ordering::Relaxed);
    }

    /// A request begins. Which gate it was let through, if there is one: then it is a trial. The
    /// first one to begin after [`ConnectBackoff::admit`] keeps others away until it ends.
    #[inline]
    pub(super) fn begin(&self) -> Option<Through> {
        if !self.is_half_open() {
            return None;
        }
        let hold = |word: u64| {
            if word & HALF_OPEN == 0 {
                return None; // it has gone meanwhile
            }
            Some(if is_admitted(word) {
                let until = until_of(word) + (LONGEST_TRIAL - FIRST_REST);
                let turn = next_turn(word) << TURN;
                pack(until, failures_of(word) & !TURNS | turn | TRIED | HELD)
            } else {
                word | TRIED
            })
        };
        let before = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, hold)
            .ok()?;
        let turn = if is_admitted(before) {
            next_turn(before)
        } else {
            0
        };
        Some(Through::new(self.gate.load(Ordering::Relaxed), turn))
    }

    /// A trial has ended: the next one may begin, if this one began a second ago. Not where it is
    /// another one that others wait for: this one was let in beside it, or outlived its time.
    pub(super) fn end(&self, through: Through) {
        if !self.is_present(through) {
            return;
        }
        let shorten = |word: u64| {
            let is_its_own = word & HALF_OPEN != 0 && turn_of(word) == through.turn();
            let is_held = is_its_own && word & HELD != 0;
            let until = until_of(word).saturating_sub(LONGEST_TRIAL - FIRST_REST);
            is_held.then(|| pack(until, failures_of(word) & !HELD))
        };
        // `Err` is "nobody is kept away": there is nothing to shorten.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, shorten);
    }

    /// Whether a request was let through the gate that is there now.
    pub(super) fn is_present(&self, through: Through) -> bool {
        let gate = self.gate.load(Ordering::Relaxed);
        self.is_half_open() && Through::new(gate, through.turn()) == through
    }

    /// Whether a request that began at `began` may have been let through the gate that is there.
    pub(super) fn may_have_tried(&self, began: u64) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let is_tried = word & HALF_OPEN != 0 && word & TRIED != 0;
        is_tried && began >= self.gate.load(Ordering::Relaxed)
    }

    /// Takes the gate away, and forgets the failures.
    pub(super) fn open(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Whether the gate is there.
    #[inline]
    pub(super) fn is_half_open(&self) -> bool {
        self.word.load(Ordering::Relaxed) & HALF_OPEN != 0
    }

    /// Ends the rest but not the row of failures: the next request tries the endpoint. Not where
    /// the last one had a connection, which died, nor where there is a gate: that another one
    /// stands proves nothing there.
    pub(super) fn cut_short(&self, now: u64) {
        let shorten = |word: u64| {
            let is_for_connections = word != 0 && word & (UNANSWERED | HALF_OPEN) == 0;
            is_for_connections.then(|| pack(until_of(word).min(now), failures_of(word) & !TRIAL))
        };
        // `Err` is "no such failure known": there is nothing to shorten.
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
        let trial = pack(now + FIRST_REST, (failures_of(word) & !HELD) | TRIAL);
        self.word
            .compare_exchange(word, trial, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Through {
    fn new(gate: u64, turn: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "only the last are kept")]
        let word = (gate << 8 | turn << 1) as u32;
        Self(NonZeroU32::MIN | word)
    }

    fn turn(self) -> u64 {
        u64::from(self.0.get()) >> 1 & LAST_TURN
    }
}

/// Whether one was let through that has not begun yet.
fn is_admitted(word: u64) -> bool {
    word & TRIAL != 0 && word & HELD == 0
}

fn turn_of(word: u64) -> u64 {
    (word & TURNS) >> TURN
}

/// Which turn is next: from 1 on, and again from 1.
fn next_turn(word: u64) -> u64 {
    turn_of(word) % LAST_TURN + 1
}

fn rest_after(failures: u64) -> u64 {
    (FIRST_REST << (failures - 1)).min(LONGEST_REST)
}

fn pack(until: u64, failures: u64) -> u64 {
    (until << 16) | failures
}

fn until_of(word: u64) -> u64 {
    word >> 16
}

fn failures_of(word: u64) -> u64 {
    word & 0xffff
}

/// Milliseconds after the first failure; also how long a trial keeps others away. Long enough for a
/// re-probe to give its verdict, short enough that a hiccup is forgotten.
const FIRST_REST: u64 = 1_000;
/// Milliseconds at most: an endpoint without health checks is tried this often while it is down.
const LONGEST_REST: u64 = 10_000;
/// Milliseconds for which the next one waits at the gate for a trial that does not end: that may be
/// a tunnel.
const LONGEST_TRIAL: u64 = 10_000;
/// Failures that are told apart: the rest has reached its longest before.
const MOST_FAILURES: u64 = 8;
/// Set among the failures while one request tries the endpoint.
const TRIAL: u64 = 0x80;
/// Set among the failures while the last one was [`Failed::Unanswered`].
const UNANSWERED: u64 = 0x40;
/// Set among the failures while the gate is there.
const HALF_OPEN: u64 = 0x20;
/// Set among the failures while a trial is in flight that was let through the gate.
const HELD: u64 = 0x100;
/// Where it is among the failures whose turn it is, or was last. Whoever outlives so many that his
/// number comes again may have the next one begin early, and no more.
const TURN: u32 = 9;
const LAST_TURN: u64 = 0x7f;
const TURNS: u64 = LAST_TURN << TURN;
/// Set among the failures once a request has been let through the gate.
const TRIED: u64 = 0x10;
/// What is left of them.
const COUNT: u64 = 0x0f;

#[cfg(test)]
mod tests;
