//! Random: any member, by weight. Needs no state that workers would share.

use fastrand::Rng;

use super::Members;
use super::sample::Sampler;

/// Picks by weight alone.
#[derive(Debug)]
pub(super) struct Random {
    sampler: Sampler,
}

impl Random {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self {
            sampler: Sampler::new(weights),
        }
    }

    pub(super) fn pick<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        self.sampler.draw_usable(members, random)
    }
}
