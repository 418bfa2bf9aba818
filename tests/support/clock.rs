//! Real time, in one place.
//!
//! The program under test runs in another process, so its clock cannot be paused; all that a test
//! can do is to wait for what it expects. The limit is generous: it decides between "slow machine"
//! and "never", not between fast and slow.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "another process is awaited: tokio's paused clock does not reach it"
)]

use std::thread;
use std::time::{Duration, Instant};

/// Calls `probe` until it finds something, and returns that.
///
/// # Panics
/// When nothing has been found after `PATIENCE`; `what` says what was awaited.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe)
}

/// The same for what takes its time by design.
///
/// # Panics
/// When nothing has been found after `limit`; `what` says what was awaited.
pub(crate) fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        thread::sleep(STEP);
    }
}

/// Lets time pass, where a bad peer's slowness is the point.
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// Does something, and says how long that took.
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed())
}

/// A constant beat. Whoever is late catches up: the beats stay where they were due.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
    every: Duration,
}

/// A beat, which was due at this moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat(Instant);

impl Pace {
    /// A beat of this length, the first after `offset`.
    pub(crate) fn new(every: Duration, offset: Duration) -> Self {
        Self {
            next: Instant::now() + offset,
            every,
        }
    }

    /// Waits for the next beat.
    pub(crate) fn wait(&mut self) -> Beat {
        let due = self.next;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        self.next += self.every;
        Beat(due)
    }

    /// Whether the next beat is due, which is the one after it then.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = Instant::now() >= self.next;
        if is_due {
            self.next += self.every;
        }
        is_due
    }
}

impl Beat {
    /// Time since it was due.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// How long an awaited thing may take: longer than any stall of a busy two-core machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long silence must last before "nothing comes" is believed. A proxy that does send something
/// does so within a millisecond or two; a test that waits in vain for it costs this much.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// Between two looks: short against a start of the program.
const STEP: Duration = Duration::from_millis(5);
