//! What a pick costs, by algorithm and number of members, and what it costs to prepare one.
//!
//! `cargo bench --bench pick`

use std::cell::RefCell;

use divan::{Bencher, black_box};
use evenkeel::balance::Balancer;
use evenkeel::config::Balance;
use fastrand::Rng;

fn main() {
    divan::main();
}

const ALGORITHMS: [Balance; 4] = [
    Balance::RoundRobin,
    Balance::PowerOfTwo,
    Balance::Random,
    Balance::LeastConnections,
];
const MEMBERS: [usize; 3] = [3, 100, 10_000];

fn weights(members: usize, kinds: u32) -> Vec<u32> {
    (0..kinds)
        .cycle()
        .map(|kind| kind + 1)
        .take(members)
        .collect()
}

fn cases() -> impl Iterator<Item = (Balance, usize)> {
    ALGORITHMS
        .into_iter()
        .flat_map(|balance| MEMBERS.map(|members| (balance, members)))
}

struct Case(Balance, usize);

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", self.0, self.1)
    }
}

fn named() -> impl Iterator<Item = Case> {
    cases().map(|(balance, members)| Case(balance, members))
}

#[divan::bench(args = named())]
fn pick(bencher: Bencher<'_, '_>, case: &Case) {
    let balancer = Balancer::new(case.0, &weights(case.1, 5), 0);
    let loads: Vec<u32> = (0..10).cycle().take(case.1).collect();
    let random = RefCell::new(Rng::with_seed(1));
    bencher
        .bench_local(|| balancer.pick(&mut random.borrow_mut(), |member| loads[member], |_| false));
}

#[divan::bench(args = named())]
fn prepare(bencher: Bencher<'_, '_>, case: &Case) {
    let weights = weights(case.1, 5);
    bencher.bench_local(|| Balancer::new(case.0, black_box(&weights), 0));
}

/// As many different weights as the format allows: the dearest order to write down.
#[divan::bench]
fn prepare_a_thousand_weights(bencher: Bencher<'_, '_>) {
    let weights = weights(10_000, 1_000);
    bencher.bench_local(|| Balancer::new(Balance::RoundRobin, black_box(&weights), 0));
}
