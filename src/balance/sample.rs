//! Random members by weight, in constant time.
//!
//! Walker's alias method (A. J. Walker, 1977) in the form of M. D. Vose ("A linear algorithm for
//! generating random numbers with a given distribution", 1991): as many columns as members, each of
//! the same capacity, split between its own member and one other. Worked out in whole numbers, and
//! kept in eight bytes a column: one of thousands is seldom at hand, and a draw waits for it. So
//! shares are exact to a part in four billion.

use std::hint::select_unpredictable;

use fastrand::Rng;

use super::members::{Weighed, takes, weight_now};
use super::{Load, Members, REQUEST, at_least_one};

/// Draws members by their weights.
#[derive(Debug)]
pub(super) struct Sampler {
    weights: Box<[u32]>,
    total: u64,
    /// Penalties are damped beyond what a member would carry if all that is in flight were at one
    /// of this weight: so the heaviest one comes last as well when it fails.
    measure: u64,
    /// `None` if all weights are equal: then any member is as good as any other.
    columns: Option<Box<[Column]>>,
}

/// Below `own`, of 2^32, the column is its own member's, above it the other one's; of one that is
/// wholly its own, the other one is that as well.
#[derive(Debug, Clone, Copy)]
struct Column {
    own: u32,
    other: u32,
}

impl Sampler {
    pub(super) fn new(weights: &[u32]) -> Self {
        let weights = at_least_one(weights);
        let is_even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let columns = (!is_even).then(|| columns(&weights));
        let total = weights.iter().map(|&weight| u64::from(weight)).sum();
        let (least, most) = (weights.iter().min(), weights.iter().max());
        let but_one = total - most.map_or(0, |most| u64::from(*most));
        let least = least.map_or(1, |least| u64::from(*least));
        Self {
            total,
            measure: least.max(but_one / MANY),
            weights,
            columns,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// All weights.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// A member by weight. There must be at least one.
    pub(super) fn draw(&self, random: &mut Rng) -> usize {
        // One number tells which column, and what is left of it where in that.
        let number = u128::from(random.u64(..)) * self.weights.len() as u128;
        let (place, rest) = (upper(number), lower(number));
        let member = usize::try_from(place).unwrap_or(0);
        match &self.columns {
            None => member,
            Some(columns) => {
                let Column { own, other } = columns[member];
                // No guess at it: a wrong one would be found out only once the column is there, and
                // would keep all that comes behind from being fetched meanwhile.
                let is_own = rest >> 32 < u64::from(own);
                select_unpredictable(is_own, member, other as usize)
            }
        }
    }

    /// What a member carries, and for which weight.
    pub(super) fn weighed<M: Members>(&self, members: &M, member: usize) -> Weighed {
        self.weigh(members, member, members.load(member))
    }

    /// The same where it is known already.
    pub(super) fn weigh<M: Members>(&self, members: &M, member: usize, load: Load) -> Weighed {
        let weight = self.weight_now(members, member);
        Weighed::new(self.parts(members, member, load), weight)
    }

    /// What a member carries, in parts of a request.
    pub(super) fn load<M: Members>(&self, members: &M, member: usize) -> u64 {
        self.parts(members, member, members.load(member))
    }

    fn parts<M: Members>(&self, members: &M, member: usize, load: Load) -> u64 {
        if load.penalty == 0 {
            return load.sum();
        }
        // The same for all: by what is in flight elsewhere, whoever has most would seem to fail
        // least.
        let weight = u64::from(self.weights[member]);
        let beyond = members.in_flight() * REQUEST * weight / self.measure;
        load.damped(beyond.max(REQUEST))
    }

    /// A member's weight as far as it counts by now.
    pub(super) fn weight_now<M: Members>(&self, members: &M, member: usize) -> u64 {
        weight_now(members, member, self.weights[member])
    }

    /// A member by weight, as far as that counts by now, that is wanted; `None` once so many draws
    /// were in vain. There must be at least one.
    pub(super) fn try_draw<M: Members>(
        &self,
        members: &M,
        random: &mut Rng,
        draws: usize,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut in_vain = 0;
        for _ in 0..REFUSALS {
            let member = self.draw(random);
            // That it was not its turn says nothing about how many may be had.
            if !takes(members, member, random) {
                continue;
            }
            if is_wanted(member) {
                return Some(member);
            }
            in_vain += 1;
            if in_vain == draws {
                break;
            }
        }
        None
    }

    /// A member by weight, as far as that counts by now, that is not skipped; looks at all once a
    /// few draws were in vain.
    pub(super) fn draw_usable<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        if self.weights.is_empty() {
            return None;
        }
        let drawn = self.try_draw(members, random, DRAWS, |member| !members.skips(member));
        if drawn.is_some() {
            return drawn;
        }
        let mut choice = Choice::default();
        for (member, &weight) in self.weights.iter().enumerate() {
            if !members.skips(member) {
                choice.offer(member, weight_now(members, member, weight), random);
            }
        }
        choice.member
    }
}

/// The columns of these weights.
fn columns(weights: &[u32]) -> Box<[Column]> {
    // Scaled by the number of members, the weights fill as many columns of this capacity.
    let capacity: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let members = weights.len() as u64;
    let own = weights.iter().map(|&weight| u64::from(weight) * members);
    let mut own: Box<[u64]> = own.collect();
    let mut others: Box<[usize]> = (0..weights.len()).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|&member| own[member] < capacity);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        others[poor] = rich;
        own[rich] -= capacity - own[poor];
        if own[rich] < capacity {
            large.pop();
            small.push(rich);
        }
    }
    let columns = own.iter().zip(&others).map(|(&own, &other)| {
        let share = (u128::from(own) << 32) / u128::from(capacity);
        Column {
            own: u32::try_from(share).unwrap_or(u32::MAX),
            other: u32::try_from(other).unwrap_or(0),
        }
    });
    columns.collect()
}

fn upper(number: u128) -> u64 {
    (number >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn lower(number: u128) -> u64 {
    number as u64
}

/// One of several by weight, offered one after the other (reservoir sampling).
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) member: Option<usize>,
    total: u64,
}

impl Choice {
    pub(super) fn offer(&mut self, member: usize, weight: u64, random: &mut Rng) {
        self.total += weight;
        if self.member.is_none() || random.u64(..self.total) < weight {
            self.member = Some(member);
        }
    }
}

/// Draws before all members are looked at: with half of them skipped, one pick in 256 looks at all.
const DRAWS: usize = 8;

/// With more members than that, it is so many times what one carries in the mean.
const MANY: u64 = 8;

/// Draws at most: where all are at a tenth of their weights, one pick in 500 billion needs more.
const REFUSALS: usize = 256;
