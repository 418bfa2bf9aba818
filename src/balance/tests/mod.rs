//! What holds for every algorithm, and what each promises.

use std::collections::HashSet;

use fastrand::Rng;
use proptest::prelude::{any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;

#[expect(clippy::print_stdout, reason = "the figures are what one wants to see")]
mod affinity;
#[expect(clippy::print_stdout, reason = "the figures are what one wants to see")]
mod simulated;

const COMPARING: [Balance; 3] = [
    Balance::PowerOfTwo,
    Balance::LeastConnections,
    Balance::PeakEwma,
];

const ALL: [Balance; 8] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::PowerOfTwo,
    Balance::PeakEwma,
    Balance::Random,
    Balance::FirstHealthy,
    Balance::RingHash,
    Balance::Maglev,
];

/// Those that are quickly made: a ring of thousands takes a while without optimizations.
const QUICK: [Balance; 7] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::PowerOfTwo,
    Balance::PeakEwma,
    Balance::Random,
    Balance::FirstHealthy,
    Balance::Maglev,
];

/// Members whose loads and absence are told by functions.
pub(super) struct Told<L, S> {
    pub(super) load: L,
    pub(super) skip: S,
}

impl<L: Fn(usize) -> u32, S: Fn(usize) -> bool> Members for Told<L, S> {
    fn skips(&self, member: usize) -> bool {
        (self.skip)(member)
    }

    /// All have answered equally fast.
    fn delay(&self, _: usize) -> Option<f32> {
        Some(1e4)
    }

    fn load(&self, member: usize) -> Load {
        (self.load)(member).into()
    }
}

/// Members that carry nothing, of which some are left out.
pub(super) fn without(skip: impl Fn(usize) -> bool) -> impl Members {
    Told { load: idle, skip }
}

fn idle(_: usize) -> u32 {
    0
}

fn nobody(_: usize) -> bool {
    false
}

impl Balancer {
    /// A balancer of members whose names nobody asks for.
    fn of(balance: Balance, weights: &[u32]) -> Self {
        Self::new(balance, weights, 0, || Hashed {
            identities: (0..weights.len() as u64).collect(),
            total: weights.iter().map(|&weight| u64::from(weight)).sum(),
            beyond: Arc::default(),
            max_load: 1.25,
        })
    }

    /// The next member, as functions tell what members carry and which are left out.
    fn next(
        &self,
        random: &mut Rng,
        load: impl Fn(usize) -> u32,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.pick(None, &Told { load, skip }, random)
    }
}

/// Each third member has failed lately; the others are busy.
struct ThirdFails;

impl Members for ThirdFails {
    fn skips(&self, _: usize) -> bool {
        false
    }

    fn load(&self, member: usize) -> Load {
        let fails = member.is_multiple_of(3);
        Load {
            in_flight: if fails { 0 } else { 2 },
            penalty: if fails { 1_000 } else { 0 },
        }
    }
}

/// How often each member is picked, of `picks`, when nothing ever ends.
fn fill(balancer: &Balancer, members: usize, picks: u32, random: &mut Rng) -> Vec<u32> {
    let mut loads = vec![0_u32; members];
    for _ in 0..picks {
        let member = balancer
            .next(random, |member| loads[member], nobody)
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
            .next(random, idle, nobody)
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
fn of_many_those_that_fail_are_hardly_picked() {
    const PICKS: usize = 100_000;
    for (balance, most) in [
        (Balance::PowerOfTwo, PICKS / 500),
        (Balance::LeastConnections, PICKS / 4_000),
    ] {
        let balancer = Balancer::of(balance, &[1; 3_000]);
        let mut random = Rng::with_seed(7);
        let picked = (0..PICKS).filter_map(|_| balancer.pick(None, &ThirdFails, &mut random));
        let failing = picked.filter(|member| member.is_multiple_of(3)).count();
        // All that were drawn fail: six, or eight.
        assert!(failing <= most, "{balance:?}: {failing}");
    }
}

#[test]
fn no_member_means_no_pick() {
    for balance in ALL {
        let balancer = Balancer::of(balance, &[]);
        assert_eq!(balancer.next(&mut Rng::with_seed(1), idle, nobody), None);
    }
}

#[test]
fn weights_are_kept_when_idle() {
    let weights = [5, 1, 3, 1];
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo,
        Balance::PeakEwma,
        Balance::Random,
        Balance::Maglev,
    ] {
        let balancer = Balancer::of(balance, &weights);
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
        Balance::PeakEwma,
        Balance::Random,
    ] {
        let balancer = Balancer::of(balance, &weights);
        let counts = fill(&balancer, 4, 40_000, &mut Rng::with_seed(7));
        assert_shares(&counts, &weights, &format!("{balance:?}"));
    }
}

/// The heavier it is the more it is asked, and the more failures it takes until it comes last.
#[test]
fn a_heavy_member_that_fails_comes_last() {
    struct Failing(u32);
    impl Members for Failing {
        fn skips(&self, _: usize) -> bool {
            false
        }

        fn load(&self, member: usize) -> Load {
            Load {
                in_flight: if member == 0 { 0 } else { 5 },
                penalty: if member == 0 { self.0 } else { 0 },
            }
        }

        fn in_flight(&self) -> u64 {
            5
        }
    }
    for balance in [Balance::PowerOfTwo, Balance::LeastConnections] {
        let balancer = Balancer::of(balance, &[100, 1]);
        let mut random = Rng::with_seed(3);
        let mut pick = |failed: u32| balancer.pick(None, &Failing(failed * 256), &mut random);
        assert_eq!(pick(499), Some(0), "{balance:?}");
        assert_eq!(pick(501), Some(1), "{balance:?}");
    }
}

#[test]
fn what_failed_before_it_ever_answered_counts_as_fast_as_others() {
    struct Failed(u32);
    impl Members for Failed {
        fn skips(&self, _: usize) -> bool {
            false
        }

        fn load(&self, member: usize) -> Load {
            Load {
                in_flight: if member == 0 { 0 } else { 3 },
                penalty: if member == 0 { self.0 } else { 0 },
            }
        }

        fn delay(&self, member: usize) -> Option<f32> {
            (member > 0).then_some(1e4)
        }

        fn in_flight(&self) -> u64 {
            9
        }
    }
    let balancer = Balancer::of(Balance::PeakEwma, &[1; 4]);
    let mut random = Rng::with_seed(3);
    let mut picks = |failed| (0..100).any(|_| balancer.pick(None, &failed, &mut random) == Some(0));
    assert!(!picks(Failed(4 * 256)) && picks(Failed(256)));
}

#[test]
fn power_of_two_never_picks_the_most_loaded() {
    let balancer = Balancer::of(Balance::PowerOfTwo, &[1, 1, 1]);
    let loads = [4, 9, 6];
    let mut random = Rng::with_seed(3);
    let picked: HashSet<usize> = (0..1_000)
        .filter_map(|_| balancer.next(&mut random, |member| loads[member], nobody))
        .collect();
    assert_eq!(picked, HashSet::from([0, 2]));
}

#[test]
fn power_of_two_compares_even_when_one_outweighs_all() {
    let balancer = Balancer::of(Balance::PowerOfTwo, &[1_000, 1]);
    let mut random = Rng::with_seed(3);
    let pick = balancer.next(&mut random, |member| [5_000, 0][member], nobody);
    assert_eq!(pick, Some(1));
}

#[test]
fn power_of_two_keeps_the_longest_queue_short() {
    // Mitzenmacher: with 1,000 requests for 1,000 members the longest queue is about ln ln n = 2 to
    // 3 with two choices, and about ln n / ln ln n = 5 to 6 with one.
    let longest = |balance| {
        let balancer = Balancer::of(balance, &[1; 1_000]);
        let queues = fill(&balancer, 1_000, 1_000, &mut Rng::with_seed(11));
        queues.into_iter().max().expect("a thousand members")
    };
    assert!(longest(Balance::PowerOfTwo) <= 3);
    assert!(longest(Balance::Random) >= 4);
}

#[test]
fn least_connections_finds_the_lightest_for_its_weight() {
    let balancer = Balancer::of(Balance::LeastConnections, &[1, 4, 2]);
    let pick = balancer.next(&mut Rng::with_seed(1), |member| [3, 8, 7][member], nobody);
    assert_eq!(pick, Some(1));
}

#[test]
fn least_connections_shares_ties() {
    let balancer = Balancer::of(Balance::LeastConnections, &[1; 5]);
    let counts = one_by_one(&balancer, 5, 20_000, &mut Rng::with_seed(5));
    assert_shares(&counts, &[1; 5], "ties");
}

#[test]
fn first_healthy_keeps_to_the_order_of_the_file() {
    let balancer = Balancer::of(Balance::FirstHealthy, &[1, 9, 9]);
    let mut random = Rng::with_seed(1);
    assert_eq!(balancer.next(&mut random, |_| 100, nobody), Some(0));
    assert_eq!(
        balancer.next(&mut random, idle, |member| member == 0),
        Some(1)
    );
}

#[test]
fn a_new_balancer_goes_on_where_the_old_one_stood() {
    let mut random = Rng::with_seed(1);
    let old = Balancer::of(Balance::RoundRobin, &[1, 1, 1]);
    assert_eq!(old.next(&mut random, idle, nobody), Some(0));
    let weights = [1, 1, 1];
    let new = Balancer::new(Balance::RoundRobin, &weights, old.position(), || {
        unreachable!("nothing is hashed")
    });
    assert_eq!(new.next(&mut random, idle, nobody), Some(1));
}

#[test]
fn a_ring_finds_whoever_is_left() {
    for count in [1, 2, 63, 300] {
        let balancer = Balancer::of(Balance::RingHash, &vec![1; count]);
        for left in [0, count / 2, count - 1] {
            let pick = balancer.next(&mut Rng::with_seed(9), idle, |member| member != left);
            assert_eq!(pick, Some(left));
            let pick = balancer.next(&mut Rng::with_seed(9), idle, |_| true);
            assert_eq!(pick, None);
        }
    }
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
        for balance in QUICK {
            let balancer = Balancer::of(balance, &weights);
            let mut random = Rng::with_seed(seed);
            for _ in 0..20 {
                let pick = balancer.next(&mut random, |m| members[m].1, |m| members[m].2);
                prop_assert_eq!(pick.is_some(), usable, "{:?}", balance);
                prop_assert!(pick.is_none_or(|member| !members[member].2), "{:?}", balance);
            }
        }
    }

    /// The one member that is left is found among many.
    #[test]
    fn a_single_usable_member_is_found(count in 1_usize..3_000, left in any::<prop::sample::Index>()) {
        let left = left.index(count);
        for balance in QUICK {
            let balancer = Balancer::of(balance, &vec![1; count]);
            let pick = balancer.next(&mut Rng::with_seed(9), idle, |member| member != left);
            prop_assert_eq!(pick, Some(left));
        }
    }

    /// The same seed gives the same picks.
    #[test]
    fn picks_follow_from_the_seed(
        weights in prop::collection::vec(1_u32..10, 1..20),
        seed in any::<u64>(),
    ) {
        for balance in QUICK {
            let run = || {
                let balancer = Balancer::of(balance, &weights);
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
