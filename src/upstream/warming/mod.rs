//! Slow start: endpoints that are new, or back, get their share by and by.
//!
//! Problem: who has just started has cold caches, an interpreter and no connections; under a full
//! share it answers so slowly that it is taken out again. So its weight, and what it may have in
//! flight, grow from [`FLOOR`] to the whole, in a straight line over `slow_start`.
//!
//! All is relative: against the healthy one that is furthest. Where all began together, as at the
//! start of the process or after an outage of all, nobody is held back, for somebody has to do the
//! work; and whoever comes back first is not held back against those that are still gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::balance::WHOLE;
use crate::endpoint::Endpoint;

/// How far the members of a group are. Made with the group, and true until that changes.
#[derive(Debug)]
pub(super) struct Warming {
    /// When each came into service; `None` if it is as far as it gets, or is not healthy.
    since: Box<[Option<Instant>]>,
    /// When the first of them did; `None` if one is as far as it gets.
    first: Option<Instant>,
    /// When the last of them is as far as it gets.
    until: Instant,
    slow_start: Duration,
}

impl Warming {
    /// `None` if nobody is behind another one. With each member: whether it is healthy. The others
    /// get what they get, and hold nobody back.
    pub(super) fn new<'a>(
        members: impl Iterator<Item = (&'a Arc<Endpoint>, bool)>,
        slow_start: Duration,
        now: Instant,
    ) -> Option<Self> {
        let warm = |since: &Instant| now.saturating_duration_since(*since) < slow_start;
        let mut is_one_warm = false;
        let since: Box<[Option<Instant>]> = members
            .map(|(member, is_healthy)| {
                let since = member.live.in_service_since().filter(warm);
                is_one_warm |= is_healthy && since.is_none();
                since.filter(|_| is_healthy)
            })
            .collect();
        let last = since.iter().flatten().max().copied()?;
        let first = since
            .iter()
            .flatten()
            .min()
            .filter(|_| !is_one_warm)
            .copied();
        // Steps of the epoch apart is together.
        if first.is_some_and(|first| last - first <= TOGETHER) {
            return None;
        }
        Some(Self {
            since,
            first,
            until: last + slow_start,
            slow_start,
        })
    }

    /// Whether it is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// How much of a member's weight counts, of [`WHOLE`].
    pub(super) fn share(&self, member: usize, now: Instant) -> u32 {
        let Some(since) = self.since[member] else {
            return WHOLE;
        };
        let first = self.first.map_or(1.0, |first| self.ramp(first, now));
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 256")]
        #[expect(clippy::cast_sign_loss, reason = "between 0 and 256")]
        let share = (self.ramp(since, now) / first * f64::from(WHOLE)) as u32;
        share.clamp(1, WHOLE)
    }

    fn ramp(&self, since: Instant, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(since).as_secs_f64();
        (passed / self.slow_start.as_secs_f64()).clamp(FLOOR, 1.0)
    }
}

/// What an endpoint gets in its first moment: enough to become warm by.
const FLOOR: f64 = 0.1;

/// Nobody can say who of two was first that were told within so little.
const TOGETHER: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
