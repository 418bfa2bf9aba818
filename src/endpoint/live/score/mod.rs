//! The score: what an endpoint's failures and its speed count for where endpoints are compared.
//!
//! Problem: a server that fails fast has nothing in flight, so whoever goes by what is in flight
//! sends it ever more. So a failure counts as a request that stays there for a while: the
//! [`Penalty`]. And what is in flight tells nothing of a server that is slow while hardly anything
//! goes on: that takes its [`Latency`].
//!
//! Both are one word each, which all workers share and change at once or not at all. Time is an
//! argument, in milliseconds of an epoch.

mod kept;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) use kept::{KeptLatency, KeptPenalty};

/// What failures add to the load, in parts of a request ([`REQUEST`]).
///
/// Each failure adds a request, which decays with [`MEMORY`]; a time to stay away, which the
/// endpoint itself named, is waited for first. While nothing but failures is heard, a further one
/// finds the earlier ones undecayed: each trial that fails makes the way to the next one longer,
/// and an endpoint that only fails is asked ever more seldom. One success, and all decays from then
/// on, whatever time was named: whoever serves some does not want to be left alone by all.
///
/// While nothing has succeeded, a [last part](LAST_PART) stays for a minute, which is longer than
/// what decays. It is less than any request, so that one that is needed is tried; but where others
/// have nothing to do, they come first. Of thousands of endpoints each is asked every ten seconds
/// or so, and those that fail would have been forgotten before their turn comes again.
///
/// Of an upstream whose others carry `L` each, such an endpoint gets the next request once its
/// penalty is below `L`, so it gets at most `L / MEMORY` a second, and ever less.
#[derive(Debug, Default)]
pub(super) struct Penalty {
    /// From when on it decays, whether something succeeded since the last failure, whether that was
    /// one of several in a row, and the penalty. 0: no failure that is remembered.
    word: AtomicU64,
}

/// How long the endpoint takes for an answer: Peak EWMA, as in Twitter's Finagle.
///
/// A peak counts at once, and what is faster only by and by ([`TREND`]): so it is a prudent guess.
/// Without news it sinks towards 0 while nobody waits there for an answer, so that one that was
/// slow is tried again.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// When it was heard of last, and microseconds as a float. 0: never.
    word: AtomicU64,
}

impl Penalty {
    /// Takes in a failure. `stay_away` is what the endpoint asked for (Retry-After), if it did.
    pub(super) fn failed(&self, now: u64, stay_away: Option<Duration>) {
        let stay_away = stay_away.unwrap_or_default().min(LONGEST_AWAY);
        let requests = (stay_away.as_secs_f32() / MEMORY.as_secs_f32()).max(1.0);
        let stay_away = u64::try_from(stay_away.as_millis()).unwrap_or(0);
        let add = |word: u64| {
            let (before, again) = match word {
                0 => (0, 0),
                word if word & SUCCEEDED == 0 => (word & VALUE, AGAIN),
                word => (decayed(word, now), 0),
            };
            let since = (word >> SINCE).max(now + stay_away).min(LATEST);
            let added = parts(requests * part_f32(REQUEST));
            Some(since << SINCE | again | (before + added).min(VALUE))
        };
        // It never fails: `add` always has a word.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Whether it failed, and nothing has succeeded since. Costs one load.
    #[inline]
    pub(super) fn is_frozen(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        word != 0 && word & SUCCEEDED == 0
    }

    /// Takes in a success, where it is [frozen](Penalty::is_frozen).
    #[cold]
    pub(super) fn thaw(&self, now: u64) {
        let thawed = |word: u64| {
            let is_frozen = word != 0 && word & SUCCEEDED == 0;
            let since = (word >> SINCE).min(now);
            is_frozen.then_some(since << SINCE | word & VALUE | SUCCEEDED)
        };
        // It fails where another worker has done so.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, thawed);
    }

    /// Whether it failed more than once, and nothing has succeeded since.
    pub(super) fn only_fails(&self) -> bool {
        self.word.load(Ordering::Relaxed) & AGAIN != 0
    }

    /// Forgets all failures.
    pub(super) fn forget(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// The penalty at this time. Costs one load where nothing failed.
    #[inline]
    pub(super) fn at(&self, now: impl FnOnce() -> u64) -> u32 {
        let word = self.word.load(Ordering::Relaxed);
        if word & VALUE == 0 {
            return 0;
        }
        self.decay(word, now())
    }

    #[cold]
    fn decay(&self, word: u64, now: u64) -> u32 {
        let left = decayed(word, now);
        if left == 0 && (word & SUCCEEDED != 0 || is_long_ago(word, now)) {
            // Nobody need work it out again. Whoever changed it meanwhile knows better.
            let _ = self
                .word
                .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

impl Latency {
    /// Takes in that an answer took so long. A change that meets another one at the same moment is
    /// lost: there are more where it came from.
    pub(super) fn learn(&self, now: u64, took: Duration) {
        let took = (took.as_secs_f32() * 1e6).max(f32::MIN_POSITIVE);
        let word = self.word.load(Ordering::Relaxed);
        let (heard, known) = unpack(word);
        let news = if word == 0 || took >= known {
            took
        } else {
            let kept = (-elapsed(heard, now) / TREND).exp();
            if kept >= 1.0 {
                return; // within one millisecond: the first of them stands for all
            }
            known * kept + took * (1.0 - kept)
        };
        let _ =
            self.word
                .compare_exchange(word, pack(now, news), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes in a failure: what is known does not fade, and is not better than it was.
    pub(super) fn failed(&self, now: u64) {
        let word = self.word.load(Ordering::Relaxed);
        if word != 0 {
            let (_, known) = unpack(word);
            let _ = self.word.compare_exchange(
                word,
                pack(now, known),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// What an answer may take, in microseconds; `None` if none was ever heard. `is_idle`: nobody
    /// waits there for one. Else no news is no good news.
    #[inline]
    pub(super) fn at(&self, now: u64, is_idle: bool) -> Option<f32> {
        let word = self.word.load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        let (heard, known) = unpack(word);
        let silent = elapsed(heard, now);
        Some(if is_idle && silent > 0.0 {
            known * (-silent / TREND).exp()
        } else {
            known
        })
    }
}

fn decayed(word: u64, now: u64) -> u64 {
    let value = word & VALUE;
    let since = word >> SINCE;
    if now <= since {
        return value;
    }
    let past = Duration::from_millis(now - since).as_secs_f32() / MEMORY.as_secs_f32();
    let left = parts(part_f32(value) * (-past).exp());
    if left == 0 && word & SUCCEEDED == 0 && now - since < STAYS {
        return LAST_PART;
    }
    left
}

/// Whether one that has only failed since is not worth being remembered.
fn is_long_ago(word: u64, now: u64) -> bool {
    now.saturating_sub(word >> SINCE) > 2 * STAYS
}

/// Seconds since a time of which the lower 32 bits are known: 49 days. Another worker's clock may
/// be a little ahead.
fn elapsed(then: u32, now: u64) -> f32 {
    let past = lower(now).wrapping_sub(then);
    if past > u32::MAX - AHEAD {
        return 0.0;
    }
    Duration::from_millis(past.into()).as_secs_f32()
}

fn pack(now: u64, microseconds: f32) -> u64 {
    u64::from(lower(now)) << 32 | u64::from(microseconds.to_bits())
}

fn unpack(word: u64) -> (u32, f32) {
    (lower(word >> 32), f32::from_bits(lower(word)))
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn lower(number: u64) -> u32 {
    number as u32
}

#[expect(clippy::cast_precision_loss, reason = "as many bits as a float has")]
fn part_f32(parts: u64) -> f32 {
    parts as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between nothing and the most that is remembered"
)]
fn parts(parts: f32) -> u64 {
    parts as u64
}

/// One request, as penalties are counted: fine enough that two that differ are told apart for some
/// half a minute.
pub const REQUEST: u64 = 256;

/// The time in which a penalty sinks to 37 %. Long against an answer, so that the few that go to
/// an endpoint that fails are few; short against a restart.
const MEMORY: Duration = Duration::from_secs(5);

/// What stays of a penalty while nothing succeeds.
const LAST_PART: u64 = 1;

/// For so many milliseconds after the last failure.
const STAYS: u64 = 60_000;

/// The longest time to stay away that is believed: what an endpoint says must not take it out of
/// traffic for hours.
const LONGEST_AWAY: Duration = Duration::from_mins(1);

/// Seconds in which news replace 63 % of what was known: Finagle's own.
const TREND: f32 = 10.0;

/// Milliseconds that the clock of one worker may be ahead of another one's, at most: it is read
/// once for all that is ready at the same time.
const AHEAD: u32 = 60_000;

/// Where the time is in a penalty's word: 40 bits of it, which is 34 years.
const SINCE: u32 = 24;
const LATEST: u64 = (1 << 40) - 1;
/// Set once something succeeded since the last failure.
const SUCCEEDED: u64 = 1 << 23;
/// Set with a further failure after which nothing has succeeded.
const AGAIN: u64 = 1 << 22;
/// The penalty: 16,383 requests at most, more than any endpoint carries.
const VALUE: u64 = AGAIN - 1;

#[cfg(test)]
mod tests;
