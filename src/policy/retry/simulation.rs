//! Layers of proxies in front of endpoints that all fail, simulated: how many attempts they make of
//! how many requests.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::{Asked, Failure, RetryPolicy};
use crate::config::{self, StatusPattern};
use crate::upstream::RetryBudget;

/// An instance, as far as retries are concerned.
struct Layer {
    policy: RetryPolicy,
    budget: RetryBudget,
    has_several: bool,
}

/// Layers, the first one first, in front of endpoints that fail in one way.
struct World {
    layers: Vec<Layer>,
    failure: Failure,
    /// Whether the layers tell each other.
    speak: bool,
    attempts: u32,
}

/// A request as a layer gets it.
#[derive(Clone, Copy)]
struct Came {
    layer: usize,
    attempt: u32,
    at: Instant,
}

impl World {
    /// A request that is answered with a failure; whether that is final.
    fn ask(&mut self, came: Came) -> bool {
        let said = if self.speak { came.attempt } else { 1 };
        if said == 1 {
            self.layers[came.layer].budget.deposit(came.at);
        }
        let mut is_final = false;
        for attempt in 1.. {
            let (failure, was_final) = self.attempt(came, attempt);
            if was_final && self.speak {
                return true;
            }
            let Layer {
                policy,
                budget,
                has_several,
            } = &self.layers[came.layer];
            let asked = Asked {
                method: &Method::GET,
                attempt,
                is_whole: true,
                is_repeated: said > 1 || self.speak && came.layer > 0 && !has_several,
            };
            if !policy.may_retry(&asked, failure) {
                break;
            }
            is_final = *has_several;
            if !budget.withdraw(came.at) {
                break;
            }
        }
        is_final
    }

    fn attempt(&mut self, came: Came, attempt: u32) -> (Failure, bool) {
        if came.layer + 1 == self.layers.len() {
            self.attempts += 1;
            return (self.failure, false);
        }
        let next = Came {
            layer: came.layer + 1,
            attempt: came.attempt + attempt - 1,
            ..came
        };
        let is_final = self.ask(next);
        (Failure::Status(StatusCode::BAD_GATEWAY), is_final)
    }
}

/// Attempts at the endpoints for each request, of which so many come in a second; and how they
/// fail.
fn attempts_for_each(seed: u64, speak: bool) -> (f64, u32, Failure) {
    let mut random = fastrand::Rng::with_seed(seed);
    let failures = [
        Failure::NotSent,
        Failure::NoResponse,
        Failure::Status(StatusCode::SERVICE_UNAVAILABLE),
    ];
    let layer = |random: &mut fastrand::Rng| Layer {
        policy: RetryPolicy::new(&config::Retry {
            attempts: Some(random.u8(2..=10)),
            statuses: vec![StatusPattern::Range("5xx".to_owned())],
            ..config::Retry::default()
        }),
        budget: RetryBudget::new(&config::RetryBudget::default(), None),
        has_several: random.bool(),
    };
    let mut world = World {
        layers: (0..LAYERS).map(|_| layer(&mut random)).collect(),
        failure: failures[random.usize(..failures.len())],
        speak,
        attempts: 0,
    };
    let (begin, rate) = (Instant::now(), random.u32(200..2_000));
    let requests = rate * SECONDS;
    for number in 0..requests {
        let at = begin + Duration::from_secs(1) * number / rate;
        world.ask(Came {
            layer: 0,
            attempt: 1,
            at,
        });
    }
    let attempts = f64::from(world.attempts) / f64::from(requests);
    (attempts, rate, world.failure)
}

const SECONDS: u32 = 60;
const LAYERS: usize = 3;

#[test]
fn three_layers_make_as_many_attempts_as_one() {
    for seed in 0..60 {
        let (attempts, rate, failure) = attempts_for_each(seed, true);
        // A fifth, and ten a second.
        let share = 0.2 + 12.0 / f64::from(rate);
        // The last one tries connections again by itself, though it has one endpoint: that is no
        // load. Whoever is in front sees an answer that failed.
        let most = if failure.reached_nobody() {
            1.0 + 2.0 * share
        } else {
            assert!(attempts <= 1.3, "seed {seed}: {attempts}");
            1.0 + share
        };
        assert!(attempts <= most, "seed {seed}: {attempts} at {rate}/s");
        assert!(attempts > 1.15, "seed {seed}: {attempts}, nothing is tried");
    }
}

#[test]
fn layers_that_say_nothing_multiply() {
    for seed in 0..5 {
        let (attempts, ..) = attempts_for_each(seed, false);
        assert!(attempts > 1.6, "seed {seed}: {attempts}");
    }
}
