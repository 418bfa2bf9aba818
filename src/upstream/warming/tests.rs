//! Who gets how much while some are new, by upstreams as they run.

use fastrand::Rng;

use super::*;
use crate::config::{self, Balance, Time};
use crate::endpoint::{By, Health};
use crate::net::Address;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{Pick, ResolvedEndpoint, Upstream, World};

fn world() -> World {
    World::new(Registry::new(1), Events::default())
}

fn endpoints(count: u8) -> Vec<ResolvedEndpoint> {
    let endpoint = |number| {
        let address = Address::Ip(([10, 0, 0, number], 80).into());
        ResolvedEndpoint::at(address)
    };
    (1..=count).map(endpoint).collect()
}

fn written(balance: Balance, slow_start: u64) -> config::Upstream {
    config::Upstream {
        balance: Some(balance),
        slow_start: Some(Time(Duration::from_secs(slow_start))),
        ..config::Upstream::default()
    }
}

fn checked(balance: Balance) -> config::Upstream {
    config::Upstream {
        health: Some(config::Health {
            tcp: Some(config::HealthTcp {}),
            ..config::Health::default()
        }),
        ..written(balance, 10)
    }
}

fn running(world: &World, written: &config::Upstream, count: u8) -> Arc<Upstream> {
    let built = Upstream::build("api", written, (endpoints(count), None), "", world, None);
    let upstream = built.expect("valid");
    world.install([&upstream]);
    upstream
}

/// The share of requests that end at once, of each endpoint.
fn shares(upstream: &Upstream, now: Instant) -> Vec<f64> {
    let mut random = Rng::with_seed(1);
    let endpoints = upstream.endpoints();
    let mut counts = vec![0_u32; endpoints.len()];
    for _ in 0..10_000 {
        let pick = upstream.pick(&[], &mut random, now).expect("a pick");
        counts[place(upstream, &pick)] += 1;
    }
    counts
        .into_iter()
        .map(|count| f64::from(count) / 1e4)
        .collect()
}

fn place(upstream: &Upstream, pick: &Pick) -> usize {
    let endpoints = upstream.endpoints();
    let is_picked = |endpoint: &Arc<Endpoint>| endpoint.live.id() == pick.endpoint().live.id();
    endpoints.iter().position(is_picked).expect("one of them")
}

/// Each has answered, and as fast as the others.
fn all_answer(upstream: &Upstream) {
    for endpoint in upstream.endpoints().iter() {
        endpoint.live.took(Instant::now(), SECOND / 100);
    }
}

fn judge(upstream: &Upstream, place: usize, health: Health) {
    let endpoint = Arc::clone(&upstream.endpoints()[place]);
    upstream.set_health(&endpoint, health, By::Active, "a test says so".into());
}

const SECOND: Duration = Duration::from_secs(1);
const SHARING: [Balance; 5] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::PowerOfTwo,
    Balance::Random,
    Balance::PeakEwma,
];

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_gets_its_share_by_and_by() {
    for balance in SHARING {
        let world = world();
        let upstream = running(&world, &written(balance, 10), 3);
        all_answer(&upstream);
        let even = shares(&upstream, Instant::now());
        assert!(
            even.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.05),
            "all are new: {even:?}"
        );
        tokio::time::advance(60 * SECOND).await;
        upstream.replace_endpoints(endpoints(4));
        all_answer(&upstream);
        let began = Instant::now();
        // After so many seconds, what its weight counts for.
        for (passed, weight) in [
            (0, 0.1),
            (1, 0.1),
            (5, 0.5),
            (9, 0.9),
            (10, 1.0),
            (100, 1.0),
        ] {
            let got = shares(&upstream, began + passed * SECOND);
            let due = weight / (3.0 + weight);
            assert!(
                (got[3] / due - 1.0).abs() < 0.25,
                "{balance:?} after {passed} s: {got:?}"
            );
            assert!((got[0] - got[1]).abs() < 0.05, "{got:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_back_begins_anew_and_all_that_are_back_do_not() {
    let world = world();
    let upstream = running(&world, &checked(Balance::RoundRobin), 3);
    // The first probes of a start do not end at once.
    for place in 0..3 {
        judge(&upstream, place, Health::Healthy);
        tokio::time::advance(SECOND / 2).await;
    }
    let even = shares(&upstream, Instant::now() + SECOND);
    assert!(
        even.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.02),
        "{even:?}"
    );
    tokio::time::advance(60 * SECOND).await;
    judge(&upstream, 0, Health::Unhealthy);
    tokio::time::advance(60 * SECOND).await;
    judge(&upstream, 0, Health::Healthy);
    let got = shares(&upstream, Instant::now());
    assert!(got[0] > 0.02 && got[0] < 0.08, "{got:?}");
    // An outage of all: whoever is there first works, and the others are not far behind him.
    for place in 0..3 {
        judge(&upstream, place, Health::Unhealthy);
    }
    tokio::time::advance(60 * SECOND).await;
    for place in 0..3 {
        judge(&upstream, place, Health::Healthy);
    }
    let even = shares(&upstream, Instant::now());
    assert!(
        even.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.02),
        "{even:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_that_is_back_is_not_held_back_against_those_that_are_gone() {
    let world = world();
    let written = config::Upstream {
        max_in_flight_per_endpoint: Some(20),
        ..checked(Balance::RoundRobin)
    };
    let upstream = running(&world, &written, 3);
    for place in 0..3 {
        judge(&upstream, place, Health::Healthy);
    }
    tokio::time::advance(60 * SECOND).await;
    for place in 0..3 {
        judge(&upstream, place, Health::Unhealthy);
    }
    judge(&upstream, 0, Health::Healthy);
    assert!(upstream.is_panicking(), "one of three");
    let got = shares(&upstream, Instant::now());
    assert!((got[0] - 1.0 / 3.0).abs() < 0.02, "{got:?}");
    // Nor beside one that is half-open, which takes one at a time.
    judge(&upstream, 1, Health::HalfOpen);
    judge(&upstream, 2, Health::Healthy);
    assert_eq!(upstream.warmth(0, Instant::now()), 100);
}

#[tokio::test(start_paused = true)]
async fn one_that_should_not_have_been_ejected_is_as_warm_as_it_was() {
    let world = world();
    let upstream = running(&world, &written(Balance::RoundRobin, 10), 3);
    tokio::time::advance(60 * SECOND).await;
    judge(&upstream, 0, Health::Ejected);
    judge(&upstream, 0, Health::Healthy);
    let got = shares(&upstream, Instant::now());
    assert!((got[0] - 1.0 / 3.0).abs() < 0.02, "{got:?}");
    judge(&upstream, 0, Health::Ejected);
    judge(&upstream, 0, Health::HalfOpen);
    judge(&upstream, 0, Health::Healthy);
    let got = shares(&upstream, Instant::now());
    assert!(got[0] < 0.08, "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn another_chance_is_one_without_a_penalty() {
    let world = world();
    let upstream = running(&world, &checked(Balance::PowerOfTwo), 2);
    judge(&upstream, 0, Health::Healthy);
    judge(&upstream, 1, Health::Healthy);
    let live = Arc::clone(&upstream.endpoints()[0].live);
    let now = Instant::now();
    for (from, to, is_forgotten) in [
        (Health::Healthy, Health::Unhealthy, false),
        (Health::Unhealthy, Health::Healthy, true),
        (Health::Healthy, Health::Ejected, false),
        (Health::Ejected, Health::HalfOpen, true),
        (Health::HalfOpen, Health::Ejected, false),
        (Health::Ejected, Health::Healthy, false),
    ] {
        live.penalize(now, None);
        assert_eq!(live.health(), from);
        judge(&upstream, 0, to);
        assert_eq!(live.penalty(now) == 0, is_forgotten, "{from:?} to {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_requests_grows_with_the_share() {
    let world = world();
    let written = config::Upstream {
        max_in_flight_per_endpoint: Some(20),
        ..written(Balance::RoundRobin, 10)
    };
    let upstream = running(&world, &written, 1);
    tokio::time::advance(60 * SECOND).await;
    upstream.replace_endpoints(endpoints(2));
    let began = Instant::now();
    let fill = |now| {
        let mut random = Rng::with_seed(1);
        let picks = std::iter::from_fn(|| upstream.pick(&[], &mut random, now).ok());
        let held: Vec<Pick> = picks.take(100).collect();
        let of = |wanted| {
            held.iter()
                .filter(|pick| place(&upstream, pick) == wanted)
                .count()
        };
        (of(0), of(1))
    };
    assert_eq!(fill(began), (20, 2), "a tenth of twenty");
    assert_eq!(fill(began + 5 * SECOND), (20, 10));
    assert_eq!(fill(began + 10 * SECOND), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn without_slow_start_nobody_is_held_back() {
    let world = world();
    let upstream = running(&world, &written(Balance::RoundRobin, 0), 1);
    tokio::time::advance(60 * SECOND).await;
    upstream.replace_endpoints(endpoints(2));
    assert_eq!(shares(&upstream, Instant::now()), [0.5, 0.5]);
}
