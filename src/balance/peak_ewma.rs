//! Peak EWMA: of two members drawn at random, the one whose next answer is expected sooner.
//!
//! Problem: what is in flight says nothing as long as hardly anything is. Of four idle members one
//! that takes a second instead of ten milliseconds gets every fourth request. So a member costs the
//! time that its answers take times what it carries for its weight and one more (Twitter's Finagle,
//! `PeakEwma`). What it carries includes its penalty, and failures are no answers, so that a server
//! that fails at once costs more and not less.
//!
//! The one more has no weight: where nothing is in flight, only the time is compared, and of
//! members that are as fast each gets what it is drawn for. A weight is against the mean of all.
//!
//! One that has not answered yet costs nothing while it carries nothing, and more than any other
//! one while somebody waits there: so it is tried at once, and with one request, not with all that
//! come before its first answer. One that has failed before it ever answered counts as fast as the
//! other one. Where none has answered yet, the one that carries least is picked.

use fastrand::Rng;

use super::members::lossy;
use super::power_of_two::PowerOfTwo;
use super::{Members, REQUEST, WHOLE};

/// Picks the cheaper of two.
#[derive(Debug)]
pub(super) struct PeakEwma {
    drawn: PowerOfTwo,
    /// The mean of all weights, in parts of [`WHOLE`].
    mean: f32,
}

impl PeakEwma {
    pub(super) fn new(weights: &[u32]) -> Self {
        let drawn = PowerOfTwo::new(weights);
        let all = drawn.sampler().total() * u64::from(WHOLE);
        Self {
            mean: lossy(all) / lossy(weights.len().max(1) as u64),
            drawn,
        }
    }

    pub(super) fn pick<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        self.drawn.pick_by(members, random, |member, other| {
            self.cost(members, member, other) < self.cost(members, other, member)
        })
    }

    /// What a member costs, against another one.
    fn cost<M: Members>(&self, members: &M, member: usize, other: usize) -> f32 {
        let sampler = self.drawn.sampler();
        let load = sampler.load(members, member);
        let delay = match members.delay(member) {
            Some(delay) => delay,
            None if load == 0 => return 0.0,
            None if members.load(member).in_flight == 0 => members.delay(other).unwrap_or(UNKNOWN),
            None => UNKNOWN,
        };
        let weight = lossy(sampler.weight_now(members, member));
        delay * (lossy(load) * self.mean / weight + lossy(REQUEST))
    }
}

/// More than any delay: in microseconds, eleven days.
const UNKNOWN: f32 = 1e12;
