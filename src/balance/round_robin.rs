//! Round robin: in turn, interleaved by weight as smoothly as can be.
//!
//! The order is nginx's smooth weighted round robin (M. Dounin, nginx 1.3.1, 2012): at each step
//! every member gains its weight, the one with the most is picked and pays the sum of all. Weights 5,
//! 1 and 1 give a a b a c a a instead of a burst of five.
//!
//! nginx keeps these sums per process and goes through all members at each pick. Here one cycle is
//! written down when the members change, and all workers share one cursor into it: a pick is a single
//! add, the order is exact over all workers together, and ten thousand members cost what two do.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::at_least_one;

/// Picks in turn.
#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    cursor: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    /// All weights are equal: one after the other.
    Even { members: usize },
    /// One cycle of turns.
    Written { turns: Box<[u32]>, members: usize },
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
            cursor: AtomicUsize::new(position),
        }
    }

    pub(super) fn pick(&self, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let members = self.order.members();
        if members == 0 {
            return None;
        }
        // Every look takes a turn of its own: were the turns of a skipped member to fall to the one
        // after it, that one would get twice its share.
        for _ in 0..LOOKS {
            let member = self.order.at(self.cursor.fetch_add(1, Ordering::Relaxed));
            if !skip(member) {
                return Some(member);
            }
        }
        let start = self.cursor.load(Ordering::Relaxed) % members;
        (start..members)
            .chain(0..start)
            .find(|&member| !skip(member))
    }

    pub(super) fn position(&self) -> usize {
        self.cursor.load(Ordering::Relaxed)
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
            members,
        }
    }

    fn members(&self) -> usize {
        match self {
            Self::Even { members } | Self::Written { members, .. } => *members,
        }
    }

    fn at(&self, cursor: usize) -> usize {
        match self {
            Self::Even { members } => cursor % members,
            Self::Written { turns, .. } => turns[cursor % turns.len()] as usize,
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
/// bounded. Exact up to [`LONGEST_CYCLE`] turns; beyond, a weight is off by less than one of its new
/// units.
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
/// Turns that are taken before all members are looked at.
const LOOKS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// nginx's algorithm as it is written down: each gains its weight, the first with the most pays.
    fn nginx(weights: &[u32], steps: usize) -> Vec<u32> {
        let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let mut sums = vec![0; weights.len()];
        (0..steps)
            .map(|_| {
                let mut best = 0;
                for member in 0..weights.len() {
                    sums[member] += i64::from(weights[member]);
                    if sums[member] > sums[best] {
                        best = member;
                    }
                }
                sums[best] -= total;
                best as u32
            })
            .collect()
    }

    #[test]
    fn the_example_of_nginx() {
        assert_eq!(*smooth(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn ratios_are_reduced() {
        let mut weights = [200, 100, 50];
        reduce(&mut weights);
        assert_eq!(weights, [4, 2, 1]);
    }

    #[test]
    fn a_cycle_is_bounded_and_keeps_its_ratios() {
        let weights: Vec<u32> = (0..10_000).map(|member| 1 + member % 1_000).collect();
        let mut scaled = weights.clone();
        reduce(&mut scaled);
        let turns: u64 = scaled.iter().map(|&weight| u64::from(weight)).sum();
        assert!(turns <= 10_000 * TURNS_PER_MEMBER * 5 / 4, "{turns} turns");
        let share = |weights: &[u32], member: usize| {
            f64::from(weights[member]) / weights.iter().map(|&w| f64::from(w)).sum::<f64>()
        };
        let heaviest = 999;
        let error = share(&scaled, heaviest) / share(&weights, heaviest);
        assert!((0.75..1.25).contains(&error), "off by {error}");
    }

    #[test]
    fn the_turns_of_a_skipped_member_are_shared() {
        let round_robin = RoundRobin::new(&[1, 1, 1, 1], 0);
        let mut picks = [0; 4];
        for _ in 0..300 {
            picks[round_robin
                .pick(|member| member == 0)
                .expect("three are left")] += 1;
        }
        assert_eq!(picks, [0, 100, 100, 100]);
    }

    #[test]
    fn workers_together_keep_the_order() {
        let round_robin = RoundRobin::new(&[3, 2, 1], 0);
        let picks: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let member = round_robin.pick(|_| false).expect("three members");
                        picks[member].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let picks: Vec<usize> = picks.into_iter().map(AtomicUsize::into_inner).collect();
        assert_eq!(picks, [3_000, 2_000, 1_000]);
    }

    proptest! {
        /// Written down in advance it is the same order, turn for turn, and it repeats.
        #[test]
        fn the_order_is_nginxs(weights in prop::collection::vec(1_u32..30, 1..12)) {
            let mut reduced = weights;
            reduce(&mut reduced);
            let turns = smooth(&reduced);
            prop_assert_eq!(turns.to_vec(), nginx(&reduced, turns.len()));
        }

        /// Exact over a cycle, and at no point of it is a member more than one turn from its due.
        #[test]
        fn shares_are_exact_and_smooth(weights in prop::collection::vec(1_u32..30, 1..12)) {
            let mut reduced = weights;
            reduce(&mut reduced);
            let total: u32 = reduced.iter().sum();
            let mut counts = vec![0_u32; reduced.len()];
            for (step, member) in (1_u32..).zip(smooth(&reduced)) {
                counts[member as usize] += 1;
                for (count, weight) in counts.iter().zip(&reduced) {
                    let due = f64::from(step * weight) / f64::from(total);
                    prop_assert!((f64::from(*count) - due).abs() < reduced.len() as f64);
                }
            }
            prop_assert_eq!(counts, reduced);
        }
    }
}
