//! How much that leads nowhere a connection may do.
//!
//! Problem: a client can keep a server busy with frames that cost it nothing: streams that it opens
//! and resets (CVE-2023-44487), streams that it makes the server reset (CVE-2025-8671), frames that
//! must be answered, frames without content (CVE-2019-9511 to 9518, CVE-2024-27316). None of them
//! is wrong by itself, and honest clients send some of each.
//!
//! So each kind has an allowance that comes back with time. Frames that accompany work are paid for
//! by it: a client that measures its way with a PING for each piece of a download is an honest one.
//! Nothing is paid for twice: what a reset wastes is work that has begun and not ended, here or at
//! an endpoint, so one of a stream that was answered or refused is free, once.

use std::time::Duration;

use super::error::Abuse;
use crate::time::Instant;

/// What has been spent of each allowance.
#[derive(Debug)]
pub(super) struct Budget {
    /// Below zero of what was paid for before it came.
    spent: [i32; Abuse::ALL.len()],
    /// Windows that have been paid for by what was sent, and not been told yet.
    windows: u32,
    /// Bytes in small pieces, which have not made a whole piece of work together.
    bytes: usize,
    since: Instant,
}

/// How much may be spent at once, and how much of it comes back in a second.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u16,
    per_second: u16,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            spent: [0; Abuse::ALL.len()],
            windows: 0,
            bytes: 0,
            since: now,
        }
    }

    /// Spends one of a kind. The error is that there was none left.
    pub(super) fn spend(&mut self, kind: Abuse, now: Instant) -> Result<(), Abuse> {
        self.come_back(now);
        let spent = &mut self.spent[kind as usize];
        *spent += 1;
        if *spent > i32::from(allowance(kind).burst) {
            return Err(kind);
        }
        Ok(())
    }

    /// Work was done: what accompanies it is paid for, though it comes a round trip later.
    pub(super) fn earn(&mut self) {
        for kind in PAID_BY_WORK {
            let spent = &mut self.spent[kind as usize];
            *spent = (*spent - PAID).max(-PAID_AT_MOST);
        }
    }

    /// So many bytes have moved in a piece that is no work of its own: many of them are.
    pub(super) fn earn_by(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= WORK {
            self.bytes %= WORK;
            self.earn();
        }
    }

    /// So many bytes of a body were sent. Some tell of every few of them, for their stream and for
    /// the connection, and later, when they are read.
    pub(super) fn pay_windows(&mut self, bytes: usize) {
        let paid = u32::try_from(bytes / A_WINDOW).unwrap_or(u32::MAX);
        let windows = self.windows.saturating_add(paid).saturating_add(1);
        self.windows = windows.min(WINDOWS);
    }

    /// Whether a window that is told has been paid for.
    pub(super) fn pays_window(&mut self) -> bool {
        let is_paid = self.windows > 0;
        self.windows = self.windows.saturating_sub(1);
        is_paid
    }

    /// A stream came to its end: one that is given up, or is malformed, is a part of such work. Who
    /// has many use its connection, as a proxy does, passes some of these on all the time.
    pub(super) fn complete(&mut self) {
        for kind in PAID_BY_ANSWERS {
            let spent = &mut self.spent[kind as usize];
            *spent = (*spent - 1).max(0);
        }
    }

    fn come_back(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed < SECOND {
            return;
        }
        self.since = now;
        let seconds = i32::try_from(passed.as_secs()).unwrap_or(i32::MAX);
        for kind in Abuse::ALL {
            let back = i32::from(allowance(kind).per_second).saturating_mul(seconds);
            let spent = &mut self.spent[kind as usize];
            if *spent > 0 {
                *spent = spent.saturating_sub(back).max(0);
            }
        }
    }
}

/// What is more than honest clients are known to need.
fn allowance(kind: Abuse) -> Allowance {
    let (burst, per_second) = match kind {
        // A page that is left cancels what it was waiting for; two hundred at once, on all of its
        // connections, is a large one.
        Abuse::RapidReset => (200, 20),
        Abuse::Settings => (20, 1),
        Abuse::HeaderList => (50, 5),
        Abuse::Priority => (400, 40),
        Abuse::MadeYouReset => (60, 10),
        Abuse::Ping | Abuse::EmptyData | Abuse::UnknownFrame => (100, 10),
        // Some tell of every piece twice. A client may use streams before it knows how many it has;
        // and one that gives up many requests, as a proxy does for all of its own clients, opens
        // others while we still end those: each costs it a round trip, and us next to nothing.
        Abuse::WindowUpdate | Abuse::RefusedStream => (1000, 100),
        // These are told by what they are, not by how many there were.
        Abuse::Continuation | Abuse::Stalled => (0, 0),
    };
    Allowance { burst, per_second }
}

/// What comes with requests and their bodies.
const PAID_BY_WORK: [Abuse; 4] = [
    Abuse::Ping,
    Abuse::Priority,
    Abuse::WindowUpdate,
    Abuse::UnknownFrame,
];

/// What is passed on for others.
const PAID_BY_ANSWERS: [Abuse; 4] = [
    Abuse::RapidReset,
    Abuse::MadeYouReset,
    Abuse::RefusedStream,
    Abuse::HeaderList,
];

/// Bytes of a body that pay for a window: an eighth of the least that is known to be told of at
/// once, for a stream and its connection, by those that read in small pieces.
const A_WINDOW: usize = 512;

/// Bytes that are a piece of work, in however many frames they move.
const WORK: usize = 1024;

/// Windows that may be told late: those of 16 MiB.
const WINDOWS: u32 = 32 * 1024;

/// How many of each kind one piece of work pays for: a window of its stream and one of the
/// connection.
const PAID: i32 = 2;

/// How much may be paid for before it comes: as many frames of bodies may be under way.
const PAID_AT_MOST: i32 = 1024;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budget: &mut Budget, kind: Abuse, count: usize, now: Instant) -> Result<(), Abuse> {
        (0..count).try_for_each(|_| budget.spend(kind, now))
    }

    #[test]
    fn each_kind_has_an_allowance_of_its_own() {
        let now = Instant::now();
        for kind in Abuse::ALL {
            let mut budget = Budget::new(now);
            let burst = usize::from(allowance(kind).burst);
            assert_eq!(spend(&mut budget, kind, burst, now), Ok(()));
            assert_eq!(budget.spend(kind, now), Err(kind));
        }
    }

    #[test]
    fn it_comes_back_with_time() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(spend(&mut budget, Abuse::Ping, 100, now), Ok(()));
        let later = now + 3 * SECOND;
        assert_eq!(spend(&mut budget, Abuse::Ping, 30, later), Ok(()));
        assert_eq!(budget.spend(Abuse::Ping, later), Err(Abuse::Ping));
        let much_later = later + Duration::from_secs(1 << 30);
        assert_eq!(spend(&mut budget, Abuse::Ping, 100, much_later), Ok(()));
    }

    #[test]
    fn work_pays_for_what_accompanies_it_and_for_nothing_else() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..10_000 {
            budget.earn();
            assert_eq!(spend(&mut budget, Abuse::WindowUpdate, 2, now), Ok(()));
        }
        // What is under way is paid for before it is told of.
        let mut budget = Budget::new(now);
        for _ in 0..10 {
            (0..200).for_each(|_| budget.earn());
            assert_eq!(spend(&mut budget, Abuse::Ping, 200, now), Ok(()));
        }
        // But not for ever.
        (0..100_000).for_each(|_| budget.earn());
        let result = spend(&mut budget, Abuse::Ping, 1024 + 101, now);
        assert_eq!(result, Err(Abuse::Ping));
        let mut budget = Budget::new(now);
        let result = (0..10_000).try_for_each(|_| {
            budget.earn();
            budget.spend(Abuse::RapidReset, now)
        });
        assert_eq!(result, Err(Abuse::RapidReset));
        let mut budget = Budget::new(now);
        for _ in 0..10_000 {
            budget.complete();
            assert_eq!(budget.spend(Abuse::RapidReset, now), Ok(()));
        }
        let result = spend(&mut budget, Abuse::RapidReset, 200, now);
        assert_eq!(result, Err(Abuse::RapidReset));
    }
}
