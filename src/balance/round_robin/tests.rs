//! The order against nginx's own algorithm.

use proptest::prelude::*;

use super::*;
use crate::balance::tests::without;

/// nginx's algorithm as it is written down: each gains its weight, the first with the most pays.
fn nginx(weights: &[u32], steps: usize) -> Vec<usize> {
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
            best
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
    let (mut picks, mut random) = ([0; 4], fastrand::Rng::with_seed(1));
    for _ in 0..300 {
        picks[round_robin
            .pick(&without(|member| member == 0), &mut random)
            .expect("three are left")] += 1;
    }
    assert_eq!(picks, [0, 100, 100, 100]);
}

#[test]
fn the_turns_of_a_gap_are_shared_as_well() {
    for weights in [vec![1; 80], [1, 3].repeat(40)] {
        let round_robin = RoundRobin::new(&weights, 0);
        let (mut picks, mut random) = ([0_u32; 80], fastrand::Rng::with_seed(1));
        for _ in 0..80_000 {
            let member = round_robin.pick(&without(|member| member < 40), &mut random);
            picks[member.expect("forty are left")] += 1;
        }
        let total: u32 = weights[40..].iter().sum();
        for (picks, weight) in picks.iter().zip(&weights).skip(40) {
            let due = 80_000.0 * f64::from(*weight) / f64::from(total);
            let error = (f64::from(*picks) / due - 1.0).abs();
            assert!(error < 0.15, "{picks} picks, due {due}");
        }
    }
}

#[test]
fn workers_together_keep_the_order() {
    let round_robin = RoundRobin::new(&[3, 2, 1], 0);
    let picks: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
    let pick_many = || {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let member = round_robin.pick(&without(|_| false), &mut random);
            let member = member.expect("three members");
            picks[member].fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(pick_many);
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
        let written: Vec<usize> = turns.iter().map(|&member| member as usize).collect();
        prop_assert_eq!(written, nginx(&reduced, turns.len()));
    }

    /// Exact over a cycle, and at no point of it is a member a whole turn ahead of its due.
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
                prop_assert!(f64::from(*count) - due < 1.0);
                prop_assert!(due - f64::from(*count) < 2.0);
            }
        }
        prop_assert_eq!(counts, reduced);
    }
}
