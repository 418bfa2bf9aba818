//! What holds for every algorithm, and what each promises.

use std::collections::HashSet;

use fastrand::Rng;
use proptest::prelude::{any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;

const ALL: [Balance; 6] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::PowerOfTwo,
    Balance::Random,
    Balance::FirstHealthy,
    Balance::Maglev,
];

fn idle(_: usize) -> u32 {
    0
}

fn nobody(_: usize) -> bool {
    false
}

/// How often each member is picked, of `picks`, when nothing ever ends.
fn fill(balancer: &Balancer, members: usize, picks: u32, random: &mut Rng) -> Vec<u32> {
    let mut loads = vec![0_u32; members];
    for _ in 0..picks {
        let member = balancer
            .pick(random, |member| loads[member], nobody)
            .expect("none is skipped");
        loads[member] += 1;
    }
    loads
}

/// How often each member is picked, of `picks`, when each request ends before the next.
fn one_by_one(balancer: &Balancer, members: usize, picks: u32, random: &mut Rng) -> Vec<u32> {
    let mut counts = vec![0_u32; members];
    for _ in 0..picks {
        counts[balancer
            .pick(random, idle, nobody)
            .expect("none is skipped")] += 1;
    }
    counts
}

/// Asserts shares within a tenth of a share of each weight's due.
fn assert_shares(counts: &[u32], weights: &[u32], of: &str) {
    let picks: u32 = counts.iter().sum();
    let total: u32 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let due = f64::from(picks) * f64::from(*weight) / f64::from(total);
        let error = (f64::from(*count) - due).abs() / due;
        assert!(error < 0.1, "{of}: {counts:?} for weights {weights:?}");
    }
}

#[test]
fn no_member_means_no_pick() {
    for balance in ALL {
        let balancer = Balancer::new(balance, &[], 0);
        assert_eq!(balancer.pick(&mut Rng::with_seed(1), idle, nobody), None);
    }
}

#[test]
fn weights_are_kept_when_idle() {
    let weights = [5, 1, 3, 1];
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo,
        Balance::Random,
        Balance::Maglev,
    ] {
        let balancer = Balancer::new(balance, &weights, 0);
        let counts = one_by_one(&balancer, 4, 40_000, &mut Rng::with_seed(7));
        assert_shares(&counts, &weights, &format!("{balance:?}"));
    }
}

#[test]
fn weights_are_kept_under_load() {
    let weights = [5, 1, 3, 1];
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo,
        Balance::Random,
    ] {
        let balancer = Balancer::new(balance, &weights, 0);
        let counts = fill(&balancer, 4, 40_000, &mut Rng::with_seed(7));
        assert_shares(&counts, &weights, &format!("{balance:?}"));
    }
}

#[test]
fn power_of_two_never_picks_the_most_loaded() {
    let balancer = Balancer::new(Balance::PowerOfTwo, &[1, 1, 1], 0);
    let loads = [4, 9, 6];
    let mut random = Rng::with_seed(3);
    let picked: HashSet<usize> = (0..1_000)
        .filter_map(|_| balancer.pick(&mut random, |member| loads[member], nobody))
        .collect();
    assert_eq!(picked, HashSet::from([0, 2]));
}

#[test]
fn power_of_two_compares_even_when_one_outweighs_all() {
    let balancer = Balancer::new(Balance::PowerOfTwo, &[1_000, 1], 0);
    let mut random = Rng::with_seed(3);
    let pick = balancer.pick(&mut random, |member| [5_000, 0][member], nobody);
    assert_eq!(pick, Some(1));
}

#[test]
fn power_of_two_keeps_the_longest_queue_short() {
    // Mitzenmacher: with 1,000 requests for 1,000 members the longest queue is about ln ln n = 2 to
    // 3 with two choices, and about ln n / ln ln n = 5 to 6 with one.
    let longest = |balance| {
        let balancer = Balancer::new(balance, &[1; 1_000], 0);
        let queues = fill(&balancer, 1_000, 1_000, &mut Rng::with_seed(11));
        queues.into_iter().max().expect("a thousand members")
    };
    assert!(longest(Balance::PowerOfTwo) <= 3);
    assert!(longest(Balance::Random) >= 4);
}

#[test]
fn least_connections_finds_the_lightest_for_its_weight() {
    let balancer = Balancer::new(Balance::LeastConnections, &[1, 4, 2], 0);
    let pick = balancer.pick(&mut Rng::with_seed(1), |member| [3, 8, 7][member], nobody);
    assert_eq!(pick, Some(1));
}

#[test]
fn least_connections_shares_ties() {
    let balancer = Balancer::new(Balance::LeastConnections, &[1; 5], 0);
    let counts = one_by_one(&balancer, 5, 20_000, &mut Rng::with_seed(5));
    assert_shares(&counts, &[1; 5], "ties");
}

#[test]
fn first_healthy_keeps_to_the_order_of_the_file() {
    let balancer = Balancer::new(Balance::FirstHealthy, &[1, 9, 9], 0);
    let mut random = Rng::with_seed(1);
    assert_eq!(balancer.pick(&mut random, |_| 100, nobody), Some(0));
    assert_eq!(
        balancer.pick(&mut random, idle, |member| member == 0),
        Some(1)
    );
}

#[test]
fn a_new_balancer_goes_on_where_the_old_one_stood() {
    let mut random = Rng::with_seed(1);
    let old = Balancer::new(Balance::RoundRobin, &[1, 1, 1], 0);
    assert_eq!(old.pick(&mut random, idle, nobody), Some(0));
    let new = Balancer::new(Balance::RoundRobin, &[1, 1, 1], old.position());
    assert_eq!(new.pick(&mut random, idle, nobody), Some(1));
}

proptest! {
    /// Never a skipped member, and always one while there is one.
    #[test]
    fn a_pick_is_a_member_that_is_not_skipped(
        members in prop::collection::vec((1_u32..1_000, 0_u32..50, any::<bool>()), 1..60),
        seed in any::<u64>(),
    ) {
        let weights: Vec<u32> = members.iter().map(|member| member.0).collect();
        let usable = members.iter().any(|member| !member.2);
        for balance in ALL {
            let balancer = Balancer::new(balance, &weights, 0);
            let mut random = Rng::with_seed(seed);
            for _ in 0..20 {
                let pick = balancer.pick(&mut random, |m| members[m].1, |m| members[m].2);
                prop_assert_eq!(pick.is_some(), usable, "{:?}", balance);
                prop_assert!(pick.is_none_or(|member| !members[member].2), "{:?}", balance);
            }
        }
    }

    /// The one member that is left is found among many.
    #[test]
    fn a_single_usable_member_is_found(count in 1_usize..3_000, left in any::<prop::sample::Index>()) {
        let left = left.index(count);
        for balance in ALL {
            let balancer = Balancer::new(balance, &vec![1; count], 0);
            let pick = balancer.pick(&mut Rng::with_seed(9), idle, |member| member != left);
            prop_assert_eq!(pick, Some(left));
        }
    }

    /// The same seed gives the same picks.
    #[test]
    fn picks_follow_from_the_seed(
        weights in prop::collection::vec(1_u32..10, 1..20),
        seed in any::<u64>(),
    ) {
        for balance in ALL {
            let run = || {
                let balancer = Balancer::new(balance, &weights, 0);
                fill(&balancer, weights.len(), 50, &mut Rng::with_seed(seed))
            };
            prop_assert_eq!(run(), run());
        }
    }
}

#[test]
fn an_address_is_one_key_in_either_form() {
    let key = |address: &str| client_key(address.parse().unwrap());
    assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    assert_ne!(key("2001:db8::1"), key("2001:db8::2"));
    assert_ne!(key("2001:db8:1::1"), key("2001:db8:2::1"));
    assert_ne!(identity("10.0.0.1:53"), identity("10.0.0.2:53"));
}
