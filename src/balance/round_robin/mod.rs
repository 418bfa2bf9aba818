//! Round robin: in turn, interleaved by weight as smoothly as can be.
//!
//! The order is nginx's smooth weighted round robin (M. Dounin, nginx 1.3.1, 2012): at each step
//! every member gains its weight, the one with the most is picked and pays the sum of all. Weights
//! 5, 1 and 1 give a a b a c a a instead of a burst of five.
//!
//! nginx keeps these sums per process and goes through all members at each pick. Here one cycle is
//! written down when the members change, and all workers share one cursor into it: a pick
//! is a single add, the order is exact over all workers together, and ten thousand members
//! cost what two do.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;

use super::members::takes;
use super::sample::Sampler;
use super::{Members, at_least_one};

/// Picks in turn.
#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    /// Where the turns of those that are skipped go.
    others: Sampler,
    cursor: Cursor,
}

/// All workers write it at each pick, so it has cache lines for itself: what stands beside it is
/// read as often, and never changes.
#[derive(Debug)]
#[repr(align(128))]
struct Cursor(AtomicUsize);

#[derive(Debug)]
enum Order {
    /// All weights are equal: one after the other.
    Even { members: usize },
    /// One cycle of turns.
    Written { turns: Box<[u32]> },
}

/// Members of one weight. They take turns among themselves, so the next of them is always the one
/// with the largest sum, and a step compares groups instead of members.
#[derive(Debug)]
struct Group {
    weight: i64,
    members: Vec<u32>,
    next: usize,
    /// How often each member has been picked, bar those before `next`, which are one ahead.
    rounds: i64,
}

impl RoundRobin {
    pub(super) fn new(weights: &[u32], position: usize) -> Self {
        Self {
            order: Order::new(weights),
            others: Sampler::new(weights),
            cursor: Cursor(AtomicUsize::new(position)),
        }
    }

    pub(super) fn pick<M: Members>(&self, members: &M, random: &mut Rng) -> Option<usize> {
        if self.others.len() == 0 {
            return None;
        }
        // Every look takes a turn of its own: were the turns of a skipped member to fall to the one
        // after it, that one would get twice its share. Behind a gap of many (a zone that is dark)
        // it would get those of all of them: so these are drawn for.
        for _ in 0..LOOKS {
            let member = self.order.at(self.cursor.0.fetch_add(1, Ordering::Relaxed));
            if !members.skips(member) && takes(members, member, random) {
                return Some(member);
            }
        }
        self.others.draw_usable(members, random)
    }

    pub(super) fn position(&self) -> usize {
        self.cursor.0.load(Ordering::Relaxed)
    }
}

impl Order {
    fn new(weights: &[u32]) -> Self {
        let members = weights.len();
        let mut weights = at_least_one(weights);
        reduce(&mut weights);
        if weights.iter().all(|&weight| weight == 1) {
            return Self::Even { members };
        }
        Self::Written {
            turns: smooth(&weights),
        }
    }

    fn at(&self, cursor: usize) -> usize {
        match self {
            Self::Even { members } => cursor % members,
            Self::Written { turns } => turns[cursor % turns.len()] as usize,
        }
    }
}

impl Group {
    /// The sum of the member that is next, after step number `step`: what it gained less what it
    /// paid.
    fn sum(&self, step: i64, total: i64) -> i64 {
        step * self.weight - self.rounds * total
    }

    fn take(&mut self) -> u32 {
        let member = self.members[self.next];
        self.next += 1;
        if self.next == self.members.len() {
            self.next = 0;
            self.rounds += 1;
        }
        member
    }
}

/// Brings weights to the smallest numbers with the same ratios, and so far down that a cycle stays
/// bounded. Exact up to [`LONGEST_CYCLE`] turns; beyond, a weight is off by less than one
/// of its new units.
fn reduce(weights: &mut [u32]) {
    divide_by_common(weights);
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let longest = LONGEST_CYCLE.max(weights.len() as u64 * TURNS_PER_MEMBER);
    if total > longest {
        for weight in weights.iter_mut() {
            let scaled = (u64::from(*weight) * longest + total / 2) / total;
            *weight = u32::try_from(scaled).unwrap_or(u32::MAX).max(1);
        }
        divide_by_common(weights);
    }
}

fn divide_by_common(weights: &mut [u32]) {
    let common = weights
        .iter()
        .fold(0, |common, &weight| greatest_divisor(common, weight));
    if common > 1 {
        for weight in weights {
            *weight /= common;
        }
    }
}

fn greatest_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// One cycle of smooth weighted round robin: as many turns as the weights add up to.
fn smooth(weights: &[u32]) -> Box<[u32]> {
    let mut by_weight: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (member, &weight) in (0_u32..).zip(weights) {
        by_weight.entry(weight).or_default().push(member);
    }
    let mut groups: Vec<Group> = by_weight
        .into_iter()
        .map(|(weight, members)| Group {
            weight: i64::from(weight),
            members,
            next: 0,
            rounds: 0,
        })
        .collect();
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    (1..=total)
        .filter_map(|step| {
            // Of equal sums the first in the order of the file is picked, as nginx does.
            groups
                .iter_mut()
                .max_by_key(|group| (group.sum(step, total), Reverse(group.members[group.next])))
                .map(Group::take)
        })
        .collect()
}

/// Turns up to which a cycle is exact: sixteen members with any weights up to 1,000. 64 KiB.
const LONGEST_CYCLE: u64 = 16_384;
/// With more members than that allows, turns per member on average: their ratios hold to a quarter.
const TURNS_PER_MEMBER: u64 = 4;
/// Turns that are taken before others are drawn.
const LOOKS: usize = 16;

#[cfg(test)]
mod tests;
