//! Least connections: the member with the least in flight for its weight.
//!
//! The load is shared by all workers, which makes it fair over them. Members that tie are chosen
//! from at random by weight, or every worker of every instance would send its next request to the
//! same one.
//!
//! Up to [`EXACT`] members all are looked at. Of more, the lightest of [`DRAWN`] that are drawn by
//! weight is picked: thousands of loads are as many cache misses, and whoever takes the minimum of
//! them meets every other worker there. By chance alone one of four is among the lighter half in 15
//! picks of 16, and all are among the heaviest quarter once in 256. The longest queue is
//! `ln ln n / ln 4` above the average, for ten thousand members 1 to 2 requests (M. Mitzenmacher,
//! 2001; see [`power_of_two`](super::power_of_two)).
//!
//! Where the lightest of these has failed lately, as many are drawn once more: where a third of all
//! fails, all eight do once in 6,561 picks.
//!
//! Whoever is new takes part as often as its weight is drawn, as everywhere: the least loaded one
//! it is at once.

use std::hint::select_unpredictable;

use fastrand::Rng;

use super::Members;
use super::members::{Weighed, is_new, may_replace, takes};
use super::sample::{Choice, Sampler};

/// Picks the lightest of all, or of several where there are many.
#[derive(Debug)]
pub(super) struct LeastConnections {
    sampler: Sampler,
}

/// The lightest of those that were offered, and of several any by weight.
#[derive(Debug, Default)]
struct Lightest {
    carries: Option<Weighed>,
    choice: Choice,
    /// All weights that were offered.
    total: u64,
}

impl LeastConnections {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self {
            sampler: Sampler::new(weights),
        }
    }

    pub(super) fn pick<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        if self.sampler.len() <= EXACT {
            of_all(&self.sampler, members, random)
        } else {
            of_drawn(&self.sampler, members, random)
        }
    }
}

impl Lightest {
    fn offer(&mut self, member: usize, carries: Weighed, random: &mut Rng) {
        self.total += carries.weight();
        if let Some(best) = self.carries
            && best.is_lighter_than(carries)
        {
            return;
        }
        if self
            .carries
            .is_none_or(|best| carries.is_lighter_than(best))
        {
            self.carries = Some(carries);
            self.choice = Choice::default();
        }
        self.choice.offer(member, carries.weight(), random);
    }

    fn is_lighter_than(&self, other: &Self) -> bool {
        match (self.carries, other.carries) {
            (Some(carries), Some(others)) => carries.is_lighter_than(others),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

fn of_all<M: Members>(sampler: &Sampler, members: &M, random: &mut Rng) -> Option<usize> {
    let (mut settled, mut new) = (Lightest::default(), Lightest::default());
    for member in 0..sampler.len() {
        if members.skips(member) {
            continue;
        }
        let group = if is_new(members, member) {
            &mut new
        } else {
            &mut settled
        };
        group.offer(member, sampler.weighed(members, member), random);
    }
    if new.total == 0 {
        return settled.choice.member;
    }
    let mut is_their_turn = random.u64(..new.total + settled.total) < new.total;
    if !is_their_turn && let (Some(one), Some(drawn)) = (new.choice.member, settled.choice.member) {
        is_their_turn = may_replace(members, one, drawn) && takes(members, one, random);
    }
    if is_their_turn && !settled.is_lighter_than(&new) {
        new.choice.member
    } else {
        settled.choice.member
    }
}

fn of_drawn<M: Members>(sampler: &Sampler, members: &M, random: &mut Rng) -> Option<usize> {
    let mut lightest: Option<(usize, Weighed)> = None;
    for _ in 0..ROUNDS {
        lightest = lightest_of_some(sampler, lightest, members, random);
        if lightest.is_some_and(|(best, _)| members.load(best).penalty == 0) {
            break;
        }
    }
    match lightest {
        Some((member, _)) => Some(member),
        None => sampler.draw_usable(members, random),
    }
}

/// The lightest of some that are drawn, and of one that is known already.
fn lightest_of_some<M: Members>(
    sampler: &Sampler,
    mut lightest: Option<(usize, Weighed)>,
    members: &M,
    random: &mut Rng,
) -> Option<(usize, Weighed)> {
    // Two loops so short that the processor is at the last of them before the first has come: they
    // are fetched all at once. Whatever else is asked of them is then at hand.
    let drawn: [usize; DRAWN] = std::array::from_fn(|_| sampler.draw(random));
    let loads = drawn.map(|member| members.load(member));
    for (member, load) in drawn.into_iter().zip(loads) {
        if !takes(members, member, random) || members.skips(member) {
            continue;
        }
        let other = sampler.weigh(members, member, load);
        let Some((best, carries)) = lightest else {
            lightest = Some((member, other));
            continue;
        };
        if may_replace(members, member, best) {
            let is_lighter = other.is_lighter_than(carries);
            lightest = Some((
                select_unpredictable(is_lighter, member, best),
                carries.or(other, is_lighter),
            ));
        }
    }
    lightest
}

/// Members up to which all are looked at: some hundred nanoseconds.
const EXACT: usize = 64;

/// Members that are drawn at once where there are more: each of them is in another line of the
/// cache, which is what a pick costs.
const DRAWN: usize = 4;

/// How often, as long as the lightest one has failed lately.
const ROUNDS: usize = 2;
