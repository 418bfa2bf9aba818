//! Balancers by a hash: who moves, what is bounded, and shares that grow.

use super::*;

fn names(members: usize) -> Vec<u64> {
    (0..members)
        .map(|member| identity(&format!("10.0.{}.{}:80", member / 250, member % 250)))
        .collect()
}

fn hashed(balance: Balance, weights: &[u32], identities: Vec<u64>, max_load: f64) -> Balancer {
    Balancer::new(balance, weights, 0, || Hashed {
        identities,
        total: weights.iter().map(|&weight| u64::from(weight)).sum(),
        beyond: Arc::default(),
        max_load,
    })
}

/// The members of keys, by their names.
fn owners(balance: Balance, identities: &[u64]) -> Vec<u64> {
    let weights = vec![1; identities.len()];
    let balancer = hashed(balance, &weights, identities.to_vec(), 1.25);
    let (members, mut random) = (without(nobody), Rng::with_seed(1));
    (0..KEYS)
        .map(|key| {
            let member = balancer.pick(Some(key), &members, &mut random);
            identities[member.expect("none is skipped")]
        })
        .collect()
}

const KEYS: u64 = 20_000;
const HASHED: [Balance; 2] = [Balance::RingHash, Balance::Maglev];

#[test]
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn hardly_more_moves_than_has_to() {
    for balance in HASHED {
        for count in [3, 10, 100] {
            let all = names(count);
            let before = owners(balance, &all);
            let gone = all[count / 2];
            let rest: Vec<u64> = all.iter().copied().filter(|name| *name != gone).collect();
            let after = owners(balance, &rest);
            let pairs = || before.iter().zip(&after);
            let moved = pairs().filter(|(before, after)| before != after).count();
            let had_to = before.iter().filter(|owner| **owner == gone).count();
            let (moved, had_to) = (moved as f64 / KEYS as f64, had_to as f64 / KEYS as f64);
            let ideal = 1.0 / count as f64;
            println!(
                "{balance:?} of {count}: {moved:.4} moved, ideal {ideal:.4}, had to {had_to:.4}"
            );
            assert!(had_to > ideal / 2.0);
            match balance {
                // Its neighbours inherit, and nobody else notices; shares are not quite even.
                Balance::RingHash => {
                    assert!((moved - had_to).abs() < 1e-9);
                    assert!(moved <= 1.5 * ideal, "{moved}");
                }
                // Its places, and those of a few others, who come to claim earlier: of a table that
                // is 655 times as large as there are members, less than one place in a hundred.
                _ => assert!(
                    moved <= had_to + 0.01 && moved <= 1.1 * ideal + 0.01,
                    "{moved}"
                ),
            }
        }
    }
}

#[test]
fn instances_agree_whatever_the_order() {
    let names = names(7);
    let turned: Vec<u64> = names.iter().rev().copied().collect();
    for balance in HASHED {
        let [one, other] = [&names, &turned].map(|names| owners(balance, names));
        assert_eq!(one, other, "{balance:?}");
    }
}

/// The owners of keys, as places among these members.
fn places(balance: Balance, weights: &[u32], identities: &[u64]) -> Vec<usize> {
    let balancer = hashed(balance, weights, identities.to_vec(), 1.25);
    let (members, mut random) = (without(nobody), Rng::with_seed(1));
    let picks = (0..KEYS).map(|key| balancer.pick(Some(key), &members, &mut random));
    picks.map(|pick| pick.expect("none is skipped")).collect()
}

/// Weights, equal ones that are not one among them, and such as differ by far.
const WEIGHTS: [&[u32]; 5] = [
    &[1, 2, 5],
    &[7, 7, 7, 7],
    &[1, 1, 10, 100],
    &[3, 40, 5, 17, 1, 60, 2, 9],
    &[100; 30],
];

#[test]
fn weights_are_shares_of_the_keys() {
    for balance in HASHED {
        for weights in WEIGHTS {
            let mut counts = vec![0_u32; weights.len()];
            for place in places(balance, weights, &names(weights.len())) {
                counts[place] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let due = f64::from(*weight) / f64::from(total);
                let share = f64::from(*count) / 20_000.0;
                // By chance: where keys fall, and on a ring where points do, of which there are
                // 160 for each unit of weight.
                let keys = 1.0 / (due * 20_000.0);
                let points = match balance {
                    Balance::RingHash => 1.0 / (160.0 * f64::from(*weight)),
                    _ => 0.0,
                };
                let most = 4.0 * (keys + points).sqrt();
                assert!(
                    (share / due - 1.0).abs() < most,
                    "{balance:?} {weights:?}: {counts:?}"
                );
            }
        }
    }
}

/// Whoever goes leaves his keys to others, and whoever gets more weight takes keys from others: no
/// key moves between two whom that does not concern.
#[test]
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn of_members_with_weights_only_those_move_that_have_to() {
    for balance in HASHED {
        for weights in WEIGHTS {
            let (all, count) = (names(weights.len()), weights.len());
            let before = places(balance, weights, &all);
            for gone in [0, count / 2, count - 1] {
                let (mut fewer, mut rest) = (weights.to_vec(), all.clone());
                fewer.remove(gone);
                rest.remove(gone);
                let after = places(balance, &fewer, &rest);
                let named = |place: usize| place + usize::from(place >= gone);
                let pairs = before.iter().zip(after);
                let moved =
                    pairs.filter(|(before, after)| **before != gone && named(*after) != **before);
                assert_few(balance, moved.count(), weights);

                let mut heavier = weights.to_vec();
                heavier[gone] *= 2;
                let after = places(balance, &heavier, &all);
                let pairs = || before.iter().zip(&after);
                let moved = pairs().filter(|(before, after)| before != after && **after != gone);
                assert_few(balance, moved.count(), weights);
                // And it gets what it is due then.
                let own =
                    |owners: &[usize]| owners.iter().filter(|owner| **owner == gone).count() as f64;
                let total: u32 = weights.iter().sum();
                let grows = 2.0 * f64::from(total) / f64::from(total + weights[gone]);
                let (was, is) = (own(&before), own(&after));
                assert!(is > was, "{balance:?} {weights:?}: {was} and {is}");
                if was > 1_000.0 {
                    let ratio = is / was / grows;
                    assert!(
                        (0.8..1.25).contains(&ratio),
                        "{balance:?} {weights:?}: {ratio}"
                    );
                }
            }
        }
    }
}

/// None on a ring; with tables some claim earlier than before, and so get other places.
fn assert_few(balance: Balance, moved: usize, weights: &[u32]) {
    let most = match balance {
        Balance::RingHash => 0,
        _ => 20_000 / 100,
    };
    assert!(moved <= most, "{balance:?} {weights:?}: {moved}");
}

/// Members that carry what they were given.
struct Filling(Vec<u32>);

impl Members for Filling {
    fn skips(&self, _: usize) -> bool {
        false
    }

    fn load(&self, member: usize) -> Load {
        self.0[member].into()
    }

    fn in_flight(&self) -> u64 {
        self.0.iter().map(|load| u64::from(*load)).sum()
    }
}

/// Members with penalties and shares, and some that are left out.
#[derive(Default)]
struct Various {
    in_flight: Vec<u32>,
    /// In requests.
    penalties: Vec<f64>,
    shares: Vec<u32>,
    skipped: usize,
}

impl Members for Various {
    fn skips(&self, member: usize) -> bool {
        member < self.skipped
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "few"
    )]
    fn load(&self, member: usize) -> Load {
        let penalty = self.penalties.get(member).map_or(0.0, |it| it * 256.0);
        Load {
            in_flight: self.in_flight[member],
            penalty: penalty as u32,
        }
    }

    fn share(&self, member: usize) -> u32 {
        self.shares.get(member).copied().unwrap_or(WHOLE)
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn together(&self, _: bool) -> Together {
        let loads = || (0..self.in_flight.len()).map(|member| self.load(member));
        let counts: u32 = (0..self.in_flight.len()).map(|it| self.share(it)).sum();
        Together {
            in_flight: loads().map(|load| u64::from(load.in_flight)).sum(),
            penalty: loads().map(|load| u64::from(load.penalty)).sum(),
            share: counts as f32 / 256.0 / self.in_flight.len() as f32,
        }
    }
}

#[test]
fn keys_stay_where_all_fail_now_and_then() {
    // As often as that is by chance; then one of them fails much more.
    for (in_flight, penalties) in [
        (20, [5.0, 3.0, 7.0, 6.0]),
        (2, [2.0, 3.0, 1.5, 3.5]),
        (0, [0.9, 0.5, 1.0, 1.2]),
        (20, [500.0, 530.0, 470.0, 510.0]),
    ] {
        for balance in HASHED {
            let balancer = hashed(balance, &[1; 4], names(4), 1.25);
            let mut random = Rng::with_seed(1);
            let mut members = Various {
                in_flight: vec![in_flight; 4],
                penalties: penalties.to_vec(),
                ..Various::default()
            };
            let mut pick = |key, members: &Various| balancer.pick(Some(key), members, &mut random);
            for key in 0..200 {
                members.penalties = Vec::new();
                let home = pick(key, &members);
                members.penalties = penalties.to_vec();
                assert_eq!(pick(key, &members), home, "{balance:?} {penalties:?}");
                members.penalties[2] = 40.0 + 4.0 * penalties[2];
                let now = pick(key, &members);
                assert!(now != Some(2) && (home == Some(2) || now == home));
            }
        }
    }
}

#[test]
fn keys_stay_with_who_is_warm_while_others_are_new() {
    for balance in HASHED {
        let balancer = hashed(balance, &[1; 4], names(4), 1.25);
        let mut random = Rng::with_seed(1);
        let mut held = Various {
            in_flight: vec![0; 4],
            shares: vec![WHOLE, 26, 26, 26],
            ..Various::default()
        };
        for asked in 0..400 {
            let key = Some(random.u64(..));
            let home = balancer.pick(key, &without(nobody), &mut random);
            let member = balancer.pick(key, &held, &mut random).unwrap();
            held.in_flight[member] += 1;
            let is_at_home = home == Some(member);
            assert!(
                is_at_home || home != Some(0),
                "{balance:?}: {:?}",
                held.in_flight
            );
            // A tenth of what each always has room for, and then its share.
            let most = 2.max((asked + 1) / 10 + 1);
            assert!(
                held.in_flight[1..].iter().all(|it| *it <= most),
                "{asked}: {:?}",
                held.in_flight
            );
        }
    }
}

#[test]
fn behind_a_gap_each_gets_its_share() {
    for balance in HASHED {
        let balancer = hashed(balance, &[1; 1_000], names(1_000), 1.25);
        let mut random = Rng::with_seed(1);
        let members = Various {
            in_flight: vec![0; 1_000],
            skipped: 990,
            ..Various::default()
        };
        let mut counts = [0_u32; 10];
        for key in 0..5_000 {
            let member = balancer.pick(Some(key), &members, &mut random).unwrap();
            assert_eq!(
                balancer.pick(Some(key), &members, &mut random),
                Some(member)
            );
            counts[member - 990] += 1;
        }
        assert!(
            counts.iter().all(|count| (300..750).contains(count)),
            "{balance:?}: {counts:?}"
        );
        // The bound holds there as well.
        let mut full = members;
        full.in_flight[995] = 100;
        assert!((0..500).all(|key| balancer.pick(Some(key), &full, &mut random) != Some(995)));
    }
}

#[test]
fn a_hot_key_is_bounded_and_stays_where_it_was() {
    for balance in HASHED {
        let balancer = hashed(balance, &[1; 8], names(8), 1.25);
        let mut random = Rng::with_seed(1);
        let home = balancer
            .pick(Some(99), &without(nobody), &mut random)
            .unwrap();
        // All that is asked for has one key, and nothing ever ends.
        let mut members = Filling(vec![0; 8]);
        for asked in 0..800_u64 {
            let member = balancer.pick(Some(99), &members, &mut random).unwrap();
            members.0[member] += 1;
            let most = members.0.iter().max().unwrap();
            let bound = (u32::try_from(asked).unwrap() + 1) * 5 / 32 + 1;
            assert!(*most <= bound.max(16), "{balance:?}: {:?}", members.0);
        }
        assert!(members.0[home] >= 120, "{balance:?}: {:?}", members.0);
        // While others are as busy, a key that is not hot stays at home.
        let busy = Filling(vec![100; 8]);
        assert_eq!(balancer.pick(Some(99), &busy, &mut random), Some(home));
    }
}

#[test]
fn what_is_full_everywhere_goes_where_least_is() {
    // What they carry is not counted yet.
    struct Full;
    impl Members for Full {
        fn skips(&self, member: usize) -> bool {
            member == 0
        }

        fn load(&self, member: usize) -> Load {
            [0, 50, 20, 30][member].into()
        }
    }
    for balance in HASHED {
        let balancer = hashed(balance, &[1; 4], names(4), 1.25);
        for key in 0..50 {
            let pick = balancer.pick(Some(key), &Full, &mut Rng::with_seed(1));
            assert_eq!(pick, Some(2), "{balance:?}");
        }
    }
}

#[test]
fn a_key_leaves_one_that_fails_and_no_other() {
    struct Failing(usize);
    impl Members for Failing {
        fn skips(&self, _: usize) -> bool {
            false
        }

        fn load(&self, member: usize) -> Load {
            let penalty = if member == self.0 { 600 } else { 0 };
            Load {
                in_flight: 0,
                penalty,
            }
        }
    }
    for balance in HASHED {
        let balancer = hashed(balance, &[1; 4], names(4), 1.25);
        let mut random = Rng::with_seed(1);
        for key in 0..1_000 {
            let home = balancer
                .pick(Some(key), &without(nobody), &mut random)
                .unwrap();
            let now = balancer.pick(Some(key), &Failing(2), &mut random).unwrap();
            assert!(now != 2 && (home == 2 || now == home), "{balance:?}");
        }
    }
}

/// Members of which the last one is new, and that answer equally fast.
struct Warming {
    share: u32,
    loads: Vec<u32>,
}

impl Members for Warming {
    fn skips(&self, _: usize) -> bool {
        false
    }

    fn load(&self, member: usize) -> Load {
        self.loads[member].into()
    }

    fn share(&self, member: usize) -> u32 {
        if member + 1 == self.loads.len() {
            self.share
        } else {
            WHOLE
        }
    }

    fn delay(&self, _: usize) -> Option<f32> {
        Some(1e4)
    }
}

#[test]
fn a_new_member_that_is_light_gets_no_more_than_its_share() {
    for balance in COMPARING {
        for count in [2, 4, 80] {
            let balancer = Balancer::of(balance, &vec![1; count]);
            let mut random = Rng::with_seed(3);
            // With two in flight each, it has none whenever it is asked.
            let mut loads = vec![2; count];
            loads[count - 1] = 0;
            let members = Warming { share: 26, loads };
            let picks = (0..40_000).map(|_| balancer.pick(None, &members, &mut random));
            let got = picks.filter(|pick| *pick == Some(count - 1)).count();
            let due = 40_000 * 26 / (26 + 256 * (count - 1));
            assert!(
                got > due / 2 && got <= due + due / 5 + 10,
                "{balance:?}: {got} of {due}"
            );
        }
    }
}

#[test]
fn a_new_member_gets_the_share_that_counts() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo,
        Balance::PeakEwma,
        Balance::Random,
    ] {
        for share in [26, 128, 256] {
            let balancer = Balancer::of(balance, &[1; 4]);
            let mut random = Rng::with_seed(3);
            // Each ends before the next, and none ever ends.
            for fills in [false, true] {
                let mut members = Warming {
                    share,
                    loads: vec![0; 4],
                };
                let mut counts = [0_u32; 4];
                for _ in 0..20_000 {
                    let member = balancer.pick(None, &members, &mut random).unwrap();
                    counts[member] += 1;
                    members.loads[member] += u32::from(fills);
                }
                let whole = f64::from(share) / 256.0;
                let due = whole / (3.0 + whole);
                let got = f64::from(counts[3]) / 20_000.0;
                assert!(
                    (got / due - 1.0).abs() < 0.15,
                    "{balance:?} {share} {fills}: {counts:?}"
                );
            }
        }
    }
}
