//! Least connections: the member with the least in flight for its weight.
//!
//! It looks at every member, so it is for groups of tens, not of thousands. The load is shared by
//! all workers, which makes it fair over them; members that tie are chosen from at random by
//! weight, or every worker of every instance would send its next request to the same one.

use fastrand::Rng;

use super::sample::Choice;
use super::{at_least_one, is_lighter};

/// Picks the lightest of all.
#[derive(Debug)]
pub(super) struct LeastConnections {
    weights: Box<[u32]>,
}

impl LeastConnections {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self {
            weights: at_least_one(weights),
        }
    }

    pub(super) fn pick(
        &self,
        random: &mut Rng,
        load: impl Fn(usize) -> u32,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut lightest = None;
        let mut choice = Choice::default();
        for (member, &weight) in self.weights.iter().enumerate() {
            if skip(member) {
                continue;
            }
            let carries = (load(member), weight);
            let best = *lightest.get_or_insert(carries);
            if is_lighter(best, carries) {
                continue;
            }
            if is_lighter(carries, best) {
                lightest = Some(carries);
                choice = Choice::default();
            }
            choice.offer(member, weight, random);
        }
        choice.member
    }
}
