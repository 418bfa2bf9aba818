//! Weights and time limits.

use std::time::Duration;

use super::config;
use crate::config::{Time, Timeouts};
use crate::snapshot::{CallTimeouts, Choice, ClientTimeouts, Split};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{Upstream, World};

/// A split over upstreams that are named by their places.
fn split(weights: &[u32]) -> Option<Split> {
    let world = World::new(Registry::new(1), Events::default());
    let none = Timeouts::default();
    let choices = weights.iter().enumerate().map(|(place, weight)| {
        let written = crate::config::Upstream::default();
        let upstream = Upstream::build(
            &place.to_string(),
            &written,
            (Vec::new(), None),
            "",
            &world,
            None,
        );
        Choice {
            weight: *weight,
            upstream: upstream.expect("valid settings"),
            timeouts: CallTimeouts::new(&none, &none, &none),
            affinity: None,
        }
    });
    Split::new(choices.collect())
}

/// How often each choice was picked.
fn counts(weights: &[u32], picks: usize) -> Vec<usize> {
    let split = split(weights).expect("a positive weight");
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = vec![0; weights.len()];
    for _ in 0..picks {
        let place: usize = split
            .pick(&mut random)
            .upstream
            .name
            .parse()
            .expect("a place");
        counts[place] += 1;
    }
    counts
}

#[test]
fn a_split_follows_its_weights() {
    let picks: u32 = 100_000;
    for weights in [&[1, 1][..], &[1, 3], &[90, 9, 1], &[0, 5, 0, 5], &[1000, 1]] {
        let total: u32 = weights.iter().sum();
        for (weight, count) in weights.iter().zip(counts(weights, picks as usize)) {
            let share = f64::from(*weight) / f64::from(total);
            // Five standard deviations of the binomial distribution.
            let deviation = (f64::from(picks) * share * (1.0 - share)).sqrt();
            let expected = f64::from(picks) * share;
            let count = f64::from(u32::try_from(count).expect("at most the picks"));
            assert!(
                (count - expected).abs() <= 5.0 * deviation,
                "{weights:?}: {count} times, not about {expected}"
            );
        }
    }
}

#[test]
fn a_split_without_weight_is_none() {
    assert!(split(&[]).is_none());
    assert!(split(&[0, 0]).is_none());
    assert_eq!(counts(&[0, 1], 100), [0, 100]);
    assert_eq!(counts(&[1], 100), [100]);
}

#[test]
fn weights_beyond_what_can_be_summed_still_pick() {
    let counts = counts(&[u32::MAX / 2, u32::MAX / 2, u32::MAX], 1000);
    assert_eq!(counts.iter().sum::<usize>(), 1000);
    assert!(counts[0] > 400 && counts[1] > 400, "{counts:?}");
}

type Setting = fn(&mut Timeouts) -> &mut Option<Time>;
type Limit = fn(&CallTimeouts) -> Option<Duration>;

type Row = (&'static str, Setting, Limit, Option<u64>);

/// Each limit of a call, what sets it, and its default.
const LIMITS: [Row; 6] = [
    ("connect", |t| &mut t.connect, |t| Some(t.connect), Some(3)),
    (
        "response_head",
        |t| &mut t.response_head,
        |t| Some(t.response_head),
        Some(30),
    ),
    (
        "tunnel_idle",
        |t| &mut t.tunnel_idle,
        |t| Some(t.tunnel_idle),
        Some(3600),
    ),
    (
        "upstream_idle",
        |t| &mut t.upstream_idle,
        |t| Some(t.upstream_idle),
        Some(4),
    ),
    ("request", |t| &mut t.request, |t| t.request, None),
    (
        "tunnel_max_age",
        |t| &mut t.tunnel_max_age,
        |t| t.tunnel_max_age,
        None,
    ),
];

#[test]
fn the_nearest_time_limit_counts() {
    let set = |setting: Setting, seconds: Option<u64>| {
        let mut timeouts = Timeouts::default();
        *setting(&mut timeouts) = seconds.map(|seconds| Time(Duration::from_secs(seconds)));
        timeouts
    };
    for (name, setting, limit, default) in LIMITS {
        // What the route, the upstream and the defaults say, and what counts.
        for (written, counts) in [
            ([None, None, None], default),
            ([None, None, Some(7)], Some(7)),
            ([None, Some(8), Some(7)], Some(8)),
            ([Some(9), Some(8), Some(7)], Some(9)),
            ([Some(9), None, Some(7)], Some(9)),
        ] {
            let [route, upstream, defaults] = written.map(|seconds| set(setting, seconds));
            let timeouts = CallTimeouts::new(&route, &upstream, &defaults);
            assert_eq!(
                limit(&timeouts),
                counts.map(Duration::from_secs),
                "{name} {written:?}"
            );
            // No setting reaches another limit.
            let none = Timeouts::default();
            let plain = CallTimeouts::new(&none, &none, &none);
            for (other, _, other_limit, _) in LIMITS.iter().filter(|(other, ..)| *other != name) {
                assert_eq!(
                    other_limit(&timeouts),
                    other_limit(&plain),
                    "{name} changes {other}"
                );
            }
        }
    }
}

/// It is about clients as well: what no route and no upstream says of it is the listener's.
#[test]
fn a_call_has_the_limit_of_a_body_that_is_written_for_it() {
    let none = Timeouts::default();
    let of = |seconds| Timeouts {
        body_idle: Some(Time(Duration::from_secs(seconds))),
        ..Timeouts::default()
    };
    let body_idle = |route: &Timeouts, upstream: &Timeouts| {
        CallTimeouts::new(route, upstream, &of(9)).body_idle
    };
    assert_eq!(body_idle(&none, &none), None);
    assert_eq!(body_idle(&none, &of(2)), Some(Duration::from_secs(2)));
    assert_eq!(body_idle(&of(1), &of(2)), Some(Duration::from_secs(1)));
}

#[test]
fn a_listener_has_limits_on_its_clients() {
    let written = config(
        "[defaults.timeouts]\nclient_idle = '1s'\nrequest_head = '2s'\nbody_idle = '3s'\n\
         [listener.web]\nbind = ':8080'\nto = ['10.0.0.1:80']\ntimeouts = { request_head = '4s' }\n",
    );
    let timeouts = ClientTimeouts::new(
        &written.listener["web"].timeouts,
        &written.defaults.timeouts,
    );
    let expected = ClientTimeouts {
        request_head: Duration::from_secs(4),
        idle: Duration::from_secs(1),
        body_idle: Duration::from_secs(3),
    };
    assert_eq!(timeouts, expected);
    let none = Timeouts::default();
    let expected = ClientTimeouts {
        request_head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body_idle: Duration::from_mins(1),
    };
    assert_eq!(ClientTimeouts::new(&none, &none), expected);
}
