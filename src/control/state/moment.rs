//! When something was written down, for whoever reads it: after a restart, or after days.
//!
//! Problem: the wall clock jumps. It is set when the network is up, and by people; an ejection that
//! seems to have been written down tomorrow must not last until then. So the time since the machine
//! began to run is written beside it, which nobody sets: until the machine is started anew it alone
//! counts. Else the wall clock does, and what seems to come from the future is of no
//! known age.

use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::time::since_epoch;

/// A moment by both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970.
    wall_ms: u64,
    /// Which run of the machine it was; empty if that is not known.
    boot: String,
    /// Milliseconds since that began, those asleep included.
    up_ms: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let up = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self {
            wall_ms: millis(since_epoch(SystemTime::now())),
            boot: boot.trim().to_owned(),
            up_ms: millis(uptime(&up)),
        }
    }

    /// How long it is past; `None` if that cannot be told.
    pub fn age(&self, now: &Self) -> Option<Duration> {
        let is_same_run = !self.boot.is_empty() && self.boot == now.boot;
        let by_run = now.up_ms.checked_sub(self.up_ms).filter(|_| is_same_run);
        let age = by_run.or_else(|| now.wall_ms.checked_sub(self.wall_ms))?;
        Some(Duration::from_millis(age))
    }

    /// When it was, by the wall clock.
    pub fn wall(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.wall_ms))
    }

    /// For tests: one that is so many seconds by each clock.
    #[cfg(test)]
    pub(super) fn at(wall: u64, boot: &str, up: u64) -> Self {
        Self {
            wall_ms: wall * 1_000,
            boot: boot.to_owned(),
            up_ms: up * 1_000,
        }
    }
}

/// Seconds with a fraction, before how long the machine was idle.
fn uptime(text: &str) -> Duration {
    let seconds = text.split_whitespace().next();
    let seconds: Option<f64> = seconds.and_then(|seconds| seconds.parse().ok());
    let up = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    up.unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_nobody_sets_is_believed_while_the_machine_runs() {
        let age = |then: &Moment, now: &Moment| then.age(now).map(|age| age.as_secs());
        let then = Moment::at(1_000_000, "a", 500);
        assert_eq!(age(&then, &Moment::at(1_000_020, "a", 520)), Some(20));
        // Set back by a day, and ahead by one.
        assert_eq!(age(&then, &Moment::at(913_620, "a", 520)), Some(20));
        assert_eq!(age(&then, &Moment::at(1_086_420, "a", 520)), Some(20));
        // Started anew.
        assert_eq!(age(&then, &Moment::at(1_000_090, "b", 10)), Some(90));
        assert_eq!(age(&then, &Moment::at(999_990, "b", 10)), None);
        assert_eq!(age(&Moment::at(5, "", 1), &Moment::at(4, "", 2)), None);
    }

    #[test]
    fn the_time_that_the_machine_is_up_is_read() {
        assert_eq!(uptime("1234.56 99.0\n"), Duration::from_millis(1_234_560));
        for text in ["", "?", "-1 2", "NaN 0", "1e400 0"] {
            assert_eq!(uptime(text), Duration::ZERO, "{text}");
        }
    }

    #[test]
    fn this_machine_tells_both() {
        let now = Moment::now();
        assert!(now.up_ms > 0 && !now.boot.is_empty());
        assert!(
            now.age(&Moment::now())
                .is_some_and(|age| age.as_secs() < 60)
        );
    }
}
