//! Endpoints that go, or come, in large numbers.
//!
//! Problem: where a zone is lost, or this machine's network, probes find thousands of endpoints
//! unhealthy within seconds. An event of each would push those that explain it out of the last
//! thousand, and tell nobody more than how many there are. So of each kind the first few of such a
//! burst are told one by one, and of the others how many they were, when it is over.

use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::Health;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Burst {
    begun: Option<Instant>,
    down: Kind,
    up: Kind,
}

#[derive(Debug, Default)]
struct Kind {
    told: u32,
    untold: u32,
}

/// How many changes have not been told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) down: u32,
    pub(super) up: u32,
}

impl Burst {
    /// Takes in a change. Whether it is to be told by itself.
    pub(super) fn takes(&mut self, health: Health, now: Instant) -> bool {
        let kind = match health {
            Health::Unhealthy => &mut self.down,
            Health::Healthy => &mut self.up,
            // Of these there are not so many.
            Health::Unknown | Health::Ejected | Health::HalfOpen => return true,
        };
        self.begun.get_or_insert(now);
        if kind.told < EACH {
            kind.told += 1;
            return true;
        }
        kind.untold += 1;
        false
    }

    /// Ends the burst, if that is over. What is to be told of it.
    pub(super) fn end(&mut self, now: Instant) -> Option<Untold> {
        let begun = self.begun?;
        if now.saturating_duration_since(begun) < LASTS {
            return None;
        }
        let Self { down, up, .. } = std::mem::take(self);
        let (down, up) = (down.untold, up.untold);
        (down + up > 0).then_some(Untold { down, up })
    }
}

/// Enough to see what is the matter with them.
const EACH: u32 = 10;

/// A round of probes at the usual interval that time out, three times over.
pub(super) const LASTS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_the_others_counted() {
        let (mut burst, now) = (Burst::default(), Instant::now());
        let told = (0..2_000).filter(|_| burst.takes(Health::Unhealthy, now));
        assert_eq!(told.count(), 10);
        assert!(burst.takes(Health::Ejected, now) && burst.takes(Health::Healthy, now));
        assert_eq!(burst.end(now + LASTS / 2), None);
        let untold = Untold { down: 1_990, up: 0 };
        assert_eq!(burst.end(now + LASTS), Some(untold));
        assert!(burst.takes(Health::Unhealthy, now + LASTS));
        assert_eq!(burst.end(now + LASTS * 2), None);
    }
}
