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

use fastrand::Rng;

use super::is_lighter;
use super::sample::Sampler;

/// Picks the lighter of two.
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

    pub(super) fn pick(
        &self,
        random: &mut Rng,
        load: impl Fn(usize) -> u32,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = self.sampler.draw_unskipped(random, &skip)?;
        let Some(second) = self.second(first, random, skip) else {
            return Some(first);
        };
        let carries = |member| (load(member), self.sampler.weight(member));
        if is_lighter(carries(second), carries(first)) {
            Some(second)
        } else {
            Some(first)
        }
    }

    /// Another member than the first that is not skipped. By weight as long as draws find one; then
    /// any of the others in turn, since under a weight that outweighs all others they never would.
    fn second(
        &self,
        first: usize,
        random: &mut Rng,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let members = self.sampler.len();
        if members < 2 {
            return None;
        }
        let is_usable = |member: usize| member != first && !skip(member);
        for _ in 0..DRAWS {
            let member = self.sampler.draw(random);
            if is_usable(member) {
                return Some(member);
            }
        }
        let start = random.usize(..members);
        (start..members)
            .chain(0..start)
            .find(|&member| is_usable(member))
    }
}

/// Draws of a second member before the others are gone through.
const DRAWS: usize = 4;
