//! Power of two choices: of two members drawn at random, the one that carries less for its weight.
//!
//! Two choices instead of one bring the longest queue down from `ln n / ln ln n` to
//! `ln ln n / ln 2` (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
//! 2001), at the price of two loads to compare. Unlike the minimum over all, it does not send
//! everybody to the one member that has just become idle.
//!
//! Members are drawn by weight and compared by load per weight. A tie goes to the first drawn, so
//! that an idle group is shared by weight exactly, and a busy one so that all carry the same for
//! their weight.
//!
//! Where both fail, two are no choice: where a third of all fails, that is one pick in nine. So as
//! long as the better one has failed lately, further ones are drawn.
//!
//! Whoever is new gets what it is drawn for at first, and takes the place of none that is not and
//! serves some: so slow start holds, however light it is.

use std::hint::select_unpredictable;

use fastrand::Rng;

use super::Members;
use super::members::{may_replace, takes};
use super::sample::Sampler;

/// Picks the better of two.
#[derive(Debug)]
pub(super) struct PowerOfTwo {
    sampler: Sampler,
}

impl PowerOfTwo {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self {
            sampler: Sampler::new(weights),
        }
    }

    /// The lighter of two.
    pub(super) fn pick<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        self.pick_by(members, random, |member, other| {
            let member = self.sampler.weighed(members, member);
            member.is_lighter_than(self.sampler.weighed(members, other))
        })
    }

    /// The better of two. `is_better` is asked for a member and one that was drawn before.
    pub(super) fn pick_by<M: Members>(
        &self,
        members: &M,
        random: &mut Rng,
        is_better: impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        let first = self.sampler.draw_usable(members, random)?;
        let Some(second) = self.second(first, members, random) else {
            return Some(first);
        };
        let mut best = select_unpredictable(is_better(second, first), second, first);
        for _ in 0..FURTHER {
            if members.load(best).penalty == 0 {
                break;
            }
            let member = self.sampler.draw(random);
            if may_replace(members, member, best)
                && takes(members, member, random)
                && !members.skips(member)
                && is_better(member, best)
            {
                best = member;
            }
        }
        Some(best)
    }

    pub(super) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Another member than the first that is not skipped. By weight as long as draws find one; then
    /// the next of some in turn, since under a weight that outweighs all others they never would.
    fn second<M: Members>(&self, first: usize, members: &M, random: &mut Rng) -> Option<usize> {
        let count = self.sampler.len();
        if count < 2 {
            return None;
        }
        let is_usable = |member: usize| {
            member != first && may_replace(members, member, first) && !members.skips(member)
        };
        let sampler = &self.sampler;
        let second = sampler.try_draw(members, random, DRAWS, is_usable);
        second.or_else(|| {
            let start = random.usize(..count);
            (start..start + count.min(LOOKS))
                .map(|place| place % count)
                .find(|&member| is_usable(member) && takes(members, member, random))
        })
    }
}

/// Draws of a second member before some others are gone through.
const DRAWS: usize = 4;

/// How many of them: where hardly any is left to compare with, one has to do.
const LOOKS: usize = 16;

/// Members that are drawn besides two that have failed: where a third of all fails, all six do
/// once in 729 picks.
const FURTHER: usize = 4;
