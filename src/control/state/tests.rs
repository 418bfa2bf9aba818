//! What is kept comes back, as far as it holds; and no bytes make a state that was not kept.

use http::StatusCode;
use proptest::prelude::{any, prop, proptest};
use proptest::prop_assert_eq;

use super::*;
use crate::config;
use crate::control::outlier::Outliers;
use crate::endpoint::{By, Outcome};
use crate::net::Address;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{HealthChange, ResolvedEndpoint, World};

fn state() -> State {
    let text = r#"{
        "at": {"wall_ms": 5000, "boot": "b", "up_ms": 100},
        "version": "1.0",
        "upstreams": {"api": {"endpoints": {"10.0.0.1:80": {
            "live": {"since_ms": 9, "why": "refused", "backoff": {"failures": 2, "left_ms": 900,
                "unanswered": false}},
            "member": {"condition": {"probed": "healthy", "row": 1, "calm_ms": 5, "trust":
                {"ejected": {"since_ms": 10, "left_ms": 60000, "length_ms": 60010, "count": 1,
                "of_connections": true}}}, "cause": "latency", "unhealthy_ms": null}}}}},
        "counts": {"requests_total": {"series": {"code=\"200\"": {"cells": [7]}}}},
        "overrides": [{"from": "a program of later days"}]
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn bytes_and_back() {
    let state = state();
    let bytes = state.to_bytes();
    assert_eq!(State::from_bytes(&bytes), Ok(state.clone()));
    assert_eq!(State::from_bytes(&state.to_bytes()), Ok(state));
}

#[test]
fn no_beginning_of_a_state_is_one() {
    let bytes = state().to_bytes();
    for end in 0..bytes.len() {
        assert!(State::from_bytes(&bytes[..end]).is_err(), "{end} bytes");
    }
    let more = [&*bytes, b"x"].concat();
    assert!(matches!(
        State::from_bytes(&more),
        Err(Unreadable::Torn { .. })
    ));
}

#[test]
fn no_byte_can_be_another_one() {
    let bytes = state().to_bytes();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x20;
        assert!(State::from_bytes(&damaged).is_err(), "byte {place}");
        // A block that was never written is zeroes.
        damaged[place..].fill(0);
        assert!(State::from_bytes(&damaged).is_err(), "zeroes from {place}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let told = |bytes: &[u8]| State::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "it is no such file of this program");
    assert_eq!(told(b"\x7fELF\n"), "it is no such file of this program");
    assert_eq!(
        told(b"evenkeel-state 2 3 abc\n..."),
        "it has version 2 of the format, and this program reads version 1"
    );
    assert_eq!(
        told(b"evenkeel-state 1 9 abc\n..."),
        "it is torn: 3 of 9 bytes are there"
    );
    assert_eq!(
        told(b"evenkeel-state 1 3 abc\n..."),
        "it is damaged: its digest is another one"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(State::from_bytes(&bytes));
        let framed = [b"evenkeel-state 1 ", &*bytes].concat();
        prop_assert_eq!(State::from_bytes(&framed).is_err(), true);
    }
}

const TERMS: Duration = Duration::from_secs(30);

/// One process: an upstream, and who drives it.
struct Process {
    world: World,
    outliers: Outliers,
}

impl Process {
    fn new() -> Self {
        Self {
            world: World::new(Registry::new(1), Events::default()),
            outliers: Outliers::new(fastrand::Rng::with_seed(1)),
        }
    }

    fn upstream(&self, written: &config::Upstream, numbers: &[u8]) -> Arc<Upstream> {
        let endpoint =
            |number: &u8| ResolvedEndpoint::at(Address::Ip(([10, 0, 0, *number], 80).into()));
        let endpoints = (numbers.iter().map(endpoint).collect(), None);
        Upstream::build("api", written, endpoints, "", &self.world, None).expect("it is valid")
    }

    fn run(&mut self, upstream: &Arc<Upstream>) {
        self.world.install([upstream]);
        self.outliers
            .apply(std::slice::from_ref(upstream), Instant::now());
    }

    /// What is kept of it, as bytes that somebody reads.
    fn kept(&self, upstream: &Arc<Upstream>) -> State {
        let now = Instant::now();
        let members = self.outliers.kept(now);
        let at = (Moment::now(), now);
        let state = State::of([upstream], &members, Counts::default(), at);
        State::from_bytes(&state.to_bytes()).expect("what was written")
    }

    /// Another one, that goes on from it.
    fn after(state: &State, written: &config::Upstream, age: Duration) -> (Self, Arc<Upstream>) {
        let mut next = Self::new();
        let upstream = next.upstream(written, &[1, 2, 3, 4]);
        let restored = state.restore([&upstream], age, Instant::now());
        next.outliers.resume(restored.members);
        next.run(&upstream);
        (next, upstream)
    }
}

fn unprobed() -> config::Upstream {
    config::Upstream {
        outlier: config::Outlier {
            max_ejected: Some(config::Ratio(0.75)),
            ..config::Outlier::default()
        },
        ..config::Upstream::default()
    }
}

fn probed() -> config::Upstream {
    config::Upstream {
        health: Some(config::Health {
            tcp: Some(config::HealthTcp {}),
            ..config::Health::default()
        }),
        ..unprobed()
    }
}

fn healths(upstream: &Upstream) -> Vec<Health> {
    let endpoints = upstream.endpoints();
    endpoints
        .iter()
        .map(|one| upstream.health_of(one))
        .collect()
}

/// A process whose second endpoint of four has just been ejected.
async fn with_one_ejected(written: &config::Upstream) -> (Process, Arc<Upstream>) {
    let mut process = Process::new();
    let upstream = process.upstream(written, &[1, 2, 3, 4]);
    process.run(&upstream);
    let endpoints = upstream.endpoints();
    for endpoint in endpoints.iter() {
        upstream.set_health(endpoint, Health::Healthy, By::Active, "a test".into());
        let change = HealthChange {
            endpoint: Arc::clone(endpoint),
            health: Health::Healthy,
            by: By::Active,
            why: String::new(),
            ejection: None,
        };
        process.outliers.probes_say(change, Instant::now());
        endpoint.learn(Outcome::answered(StatusCode::OK), Instant::now());
    }
    for _ in 0..5 {
        endpoints[1].learn(Outcome::answered(StatusCode::BAD_GATEWAY), Instant::now());
    }
    let ids = process.world.live.suspects().take().await;
    process.outliers.suspect(&ids, Instant::now());
    assert_eq!(healths(&upstream)[1], Health::Ejected);
    (process, upstream)
}

#[tokio::test(start_paused = true)]
async fn an_ejection_goes_on_in_the_next_process_and_ends_there() {
    use Health::{Ejected, HalfOpen, Healthy};
    let (process, upstream) = with_one_ejected(&unprobed()).await;
    let state = process.kept(&upstream);
    let (mut next, upstream) = Process::after(&state, &unprobed(), Duration::from_secs(10));
    assert_eq!(healths(&upstream), [Healthy, Ejected, Healthy, Healthy]);
    let verdict = upstream.endpoints()[1].live.verdict().unwrap();
    assert!(
        verdict.why.contains("5 failures in a row"),
        "{}",
        verdict.why
    );
    let left = verdict.ejection.unwrap().until - Instant::now();
    let least = TERMS.mul_f64(0.85);
    let total = left + Duration::from_secs(10);
    assert!(total >= least && left <= TERMS.mul_f64(1.15), "{left:?}");
    // No request needs to go anywhere for it to end.
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        next.outliers.sweep(Instant::now());
    }
    assert_eq!(healths(&upstream), [Healthy, HalfOpen, Healthy, Healthy]);
}

#[tokio::test(start_paused = true)]
async fn what_probes_have_found_is_known_until_they_find_something_else() {
    let (mut process, upstream) = with_one_ejected(&probed()).await;
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    let change = HealthChange {
        endpoint: Arc::clone(&endpoint),
        health: Health::Unhealthy,
        by: By::Active,
        why: "refused".into(),
        ejection: None,
    };
    let change = process.outliers.probes_say(change, Instant::now());
    upstream.apply(vec![change]);
    let state = process.kept(&upstream);
    let age = Duration::from_secs(10);
    let (_, next) = Process::after(&state, &probed(), age);
    assert_eq!(
        healths(&next),
        [
            Health::Unhealthy,
            Health::Ejected,
            Health::Healthy,
            Health::Healthy
        ]
    );
    assert_eq!(&*next.endpoints()[0].live.verdict().unwrap().why, "refused");
    // Who is not probed any more is not unhealthy; who may not be ejected any more is not out.
    let (_, next) = Process::after(&state, &unprobed(), age);
    assert_eq!(healths(&next)[..2], [Health::Healthy, Health::Ejected]);
    let without = config::Upstream {
        outlier: config::Outlier {
            enabled: Some(false),
            ..config::Outlier::default()
        },
        ..probed()
    };
    let (_, next) = Process::after(&state, &without, age);
    assert_eq!(healths(&next)[..2], [Health::Unhealthy, Health::Healthy]);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_gone_is_nothing() {
    let (process, upstream) = with_one_ejected(&unprobed()).await;
    upstream.endpoints()[2]
        .live
        .learn_idle_close(Duration::from_secs(5));
    let state = process.kept(&upstream);
    let (_, next) = Process::after(&state, &unprobed(), YOUNG + Duration::from_secs(1));
    assert_eq!(healths(&next), [Health::Healthy; 4]);
    let next = Process::new();
    let other = next.upstream(&unprobed(), &[2, 9]);
    let restored = state.restore([&other], Duration::ZERO, Instant::now());
    assert_eq!((restored.endpoints, restored.out, restored.gone), (1, 1, 3));
}
