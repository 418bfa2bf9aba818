//! What a pick costs, by algorithm and number of endpoints, and what it costs to prepare one.
//!
//! `cargo bench --bench pick`. A pick is that of a request: from the table of an upstream, with the
//! count of what is in flight, up and down again. Endpoints are told apart by what was learned of
//! them, each in its own place in memory, and were heard of a moment ago; a third of them may be
//! backing off, and two workers may pick from the same.

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use evenkeel::balance::{Balancer, Hashed, identity};
use evenkeel::config::{self, Balance};
use evenkeel::endpoint::{ConnectFailure, InFlight, Outcome};
use evenkeel::net::Address;
use evenkeel::telemetry::events::Events;
use evenkeel::telemetry::metrics::Registry;
use evenkeel::upstream::{ResolvedEndpoint, Upstream, World};
use fastrand::Rng;
use tokio::time::Instant;

/// As in the program: where endpoints lie in memory is what it is about.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

const ALGORITHMS: [Balance; 8] = [
    Balance::RoundRobin,
    Balance::PowerOfTwo,
    Balance::PeakEwma,
    Balance::Random,
    Balance::LeastConnections,
    Balance::FirstHealthy,
    Balance::RingHash,
    Balance::Maglev,
];
const MEMBERS: [usize; 4] = [3, 10, 64, 10_000];

/// An upstream in use.
struct Running {
    upstream: Arc<Upstream>,
    now: Instant,
    _held: Vec<InFlight>,
    _world: World,
}

impl Running {
    /// Endpoints of weights 1 to 5 with 0 to 9 requests each, that answer within 1 to 10 ms.
    fn new(balance: Balance, members: usize, are_failing: bool) -> Self {
        let world = World::new(Registry::new(1), Events::default());
        let written = config::Upstream {
            balance: Some(balance),
            ..config::Upstream::default()
        };
        let endpoints = (0_u32..).zip(weights(members, 5));
        let endpoints = endpoints.map(|(number, weight)| {
            let octets = (0x0a00_0000 + number).to_be_bytes();
            ResolvedEndpoint {
                weight,
                ..ResolvedEndpoint::at(Address::Ip((octets, 80).into()))
            }
        });
        let given = (endpoints.collect(), None);
        let upstream = Upstream::build("bench", &written, given, "", &world, None);
        let upstream = upstream.expect("valid");
        world.install([&upstream]);
        let now = Instant::now();
        let mut held = Vec::new();
        for (place, endpoint) in (0_u32..).zip(upstream.endpoints().iter()) {
            let load = place % 10;
            held.extend((0..load).map(|_| endpoint.live.begin()));
            let took = Duration::from_millis(u64::from(load) + 1);
            endpoint.live.took(now, took);
            if are_failing && place % 3 == 1 {
                endpoint.learn(Outcome::NoConnection(ConnectFailure::TimedOut), now);
            }
        }
        Self {
            upstream,
            // As long as it takes until an endpoint is picked again, of which there are many.
            now: now + Duration::from_millis(50),
            _held: held,
            _world: world,
        }
    }
}

fn balancer(balance: Balance, weights: &[u32]) -> Balancer {
    Balancer::new(balance, weights, 0, || Hashed {
        identities: (0..weights.len())
            .map(|member| identity(&format!("10.0.0.{member}:80")))
            .collect(),
        total: weights.iter().map(|&weight| u64::from(weight)).sum(),
        beyond: Arc::default(),
        max_load: 1.25,
    })
}

fn weights(members: usize, kinds: u32) -> Vec<u32> {
    (0..kinds)
        .cycle()
        .map(|kind| kind + 1)
        .take(members)
        .collect()
}

/// An algorithm, of so many, and whether a third of them is backing off.
struct Case(Balance, usize, bool);

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failing = if self.2 { ", a third backs off" } else { "" };
        write!(f, "{:?} of {}{failing}", self.0, self.1)
    }
}

fn cases(failing: &'static [bool]) -> impl Iterator<Item = Case> {
    ALGORITHMS.into_iter().flat_map(move |balance| {
        let of = move |members| failing.iter().map(move |it| Case(balance, members, *it));
        MEMBERS.into_iter().flat_map(of)
    })
}

#[divan::bench(args = cases(&[false, true]), threads = [1, 2])]
fn pick(bencher: Bencher<'_, '_>, case: &Case) {
    let running = Running::new(case.0, case.1, case.2);
    bencher.with_inputs(Rng::new).bench_values(|mut random| {
        let key = random.u64(..);
        let pick = running
            .upstream
            .pick_for(Some(key), &[], &mut random, running.now);
        pick.is_ok()
    });
}

#[divan::bench(args = cases(&[false]))]
fn prepare(bencher: Bencher<'_, '_>, case: &Case) {
    let weights = weights(case.1, 5);
    bencher.bench_local(|| balancer(case.0, black_box(&weights)));
}

/// As many different weights as the format allows: the dearest order to write down.
#[divan::bench]
fn prepare_a_thousand_weights(bencher: Bencher<'_, '_>) {
    let weights = weights(10_000, 1_000);
    bencher.bench_local(|| balancer(Balance::RoundRobin, black_box(&weights)));
}
