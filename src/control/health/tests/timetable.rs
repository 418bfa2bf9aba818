//! When what is probed, in time that the test moves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::Prober;
use super::super::checks::{Checks, Job};
use super::super::outcome::Outcome;
use super::super::run::Run;
use super::{prober, tcp, upstream, world};
use crate::config;
use crate::config::Time;
use crate::endpoint::{ConnectFailure, Endpoint};
use crate::net::Address;
use crate::upstream::{Upstream, World};

/// An upstream whose endpoints nobody will connect to.
fn imaginary(world: &World, health: config::Health, count: u32) -> Arc<Upstream> {
    let addresses: Vec<Address> = (0..count)
        .map(|number| Address::Ip(((0x0a00_0000 + number).to_be_bytes(), 80).into()))
        .collect();
    upstream(world, health, &addresses.iter().collect::<Vec<_>>(), None)
}

fn passed() -> Outcome {
    Outcome::Connected
}

fn failed() -> Outcome {
    Outcome::NotConnected(ConnectFailure::Refused, String::new())
}

fn only(endpoints: &[Arc<Endpoint>]) -> u64 {
    endpoints[0].live.id()
}

#[test]
fn first_probes_are_due_at_once_and_second_ones_are_spread() {
    let world = world();
    let upstream = imaginary(&world, tcp(), 100);
    let mut checks = Checks::new(Rng::with_seed(1));
    let now = Instant::now();
    checks.apply(&[upstream], now);
    let mut first = Vec::new();
    while let Some(job) = checks.take_due(now) {
        first.push(job.id);
    }
    assert_eq!(first.len(), 100);
    assert!(checks.waits_for_verdicts());
    for id in first {
        assert!(checks.finished(id, &passed(), now).is_some());
    }
    assert!(!checks.waits_for_verdicts());
    let mut quarters = [0; 4];
    let mut until = now;
    for count in &mut quarters {
        until += Duration::from_millis(60);
        while checks.take_due(until).is_some() {
            *count += 1;
        }
    }
    assert_eq!(
        quarters.iter().sum::<i32>(),
        100,
        "within the interval and its jitter"
    );
    assert!(
        quarters.iter().skip(1).all(|&count| count > 10),
        "{quarters:?}"
    );
}

/// What is sent by traffic may never be answered (syslog, statsd): nothing else would end it.
#[test]
fn a_probe_over_udp_that_passes_ends_the_backoff() {
    let world = world();
    let over_udp = config::Health {
        tcp: None,
        udp: Some(config::HealthUdp {
            send: "ping".to_owned(),
            expect: None,
        }),
        ..tcp()
    };
    for (health, is_over) in [(over_udp, true), (tcp(), false)] {
        let upstream = imaginary(&world, health, 1);
        let endpoints = upstream.endpoints();
        let live = &endpoints[0].live;
        let now = Instant::now();
        let mut checks = Checks::new(Rng::with_seed(1));
        checks.apply(&[Arc::clone(&upstream)], now);
        live.connect_failed(now);
        checks.take_due(now).expect("the first");
        checks.finished(only(&endpoints), &passed(), now);
        assert!(live.admit(now), "one may try it");
        assert_eq!(live.admit(now), is_over, "others may too");
        live.connect_succeeded();
    }
}

#[test]
fn a_steady_endpoint_is_probed_every_interval_with_jitter() {
    let world = world();
    let long = config::Health {
        interval: Some(Time(Duration::from_secs(10))),
        ..tcp()
    };
    let upstream = imaginary(&world, long, 1);
    let id = only(&upstream.endpoints());
    let mut checks = Checks::new(Rng::with_seed(1));
    let mut now = Instant::now();
    checks.apply(&[upstream], now);
    checks.take_due(now).expect("the first");
    checks.finished(id, &passed(), now);
    now = checks.next_due().expect("the second");
    let mut delays = BTreeSet::new();
    for _ in 0..50 {
        checks.take_due(now).expect("due");
        assert!(checks.next_due().is_none(), "not while it is being probed");
        checks.finished(id, &passed(), now + Duration::from_millis(30));
        let next = checks.next_due().expect("the next");
        delays.insert((next - now).as_millis());
        now = next;
    }
    assert!(
        delays.iter().all(|delay| (8_000..=12_000).contains(delay)),
        "{delays:?}"
    );
    assert!(delays.len() > 30, "{delays:?}");
}

#[test]
fn a_changing_endpoint_is_probed_four_times_as_often() {
    let world = world();
    let long = config::Health {
        interval: Some(Time(Duration::from_secs(10))),
        ..tcp()
    };
    let upstream = imaginary(&world, long, 1);
    let id = only(&upstream.endpoints());
    let mut checks = Checks::new(Rng::with_seed(1));
    let mut now = Instant::now();
    checks.apply(&[upstream], now);
    checks.take_due(now).expect("the first");
    checks.finished(id, &passed(), now);
    let mut news = Vec::new();
    for _ in 0..3 {
        now = checks.next_due().expect("the next");
        checks.take_due(now).expect("due");
        news.push(checks.finished(id, &failed(), now).is_some());
        let delay = checks.next_due().expect("the next") - now;
        let (least, most) = if news.len() < 3 {
            (2_000, 3_000)
        } else {
            (8_000, 12_000)
        };
        assert!(
            (least..=most).contains(&delay.as_millis()),
            "{delay:?} after {news:?}"
        );
    }
    assert_eq!(news, [false, false, true]);
}

#[test]
fn a_request_brings_a_probe_forward_and_repeats_one_under_way() {
    let world = world();
    let upstream = imaginary(&world, tcp(), 1);
    let id = only(&upstream.endpoints());
    let mut checks = Checks::new(Rng::with_seed(1));
    let now = Instant::now();
    checks.apply(&[upstream], now);
    checks.take_due(now).expect("the first");
    checks.request(id, now);
    checks.finished(id, &passed(), now);
    assert_eq!(checks.next_due(), Some(now + Duration::from_millis(100)));
    // Not at once: what fails while probes pass would be probed without end.
    checks.request(id, now + Duration::from_millis(1));
    assert_eq!(checks.next_due(), Some(now + Duration::from_millis(100)));
    let now = now + Duration::from_millis(100);
    checks.take_due(now).expect("the second");
    checks.finished(id, &passed(), now);
    checks.request(id, now + Duration::from_millis(110));
    assert_eq!(checks.next_due(), Some(now + Duration::from_millis(110)));
    checks.request(u64::MAX, now); // of an endpoint that is gone: nothing happens
}

#[test]
fn a_fault_of_ours_is_no_verdict() {
    let world = world();
    let upstream = imaginary(&world, tcp(), 1);
    let id = only(&upstream.endpoints());
    let mut checks = Checks::new(Rng::with_seed(1));
    let now = Instant::now();
    checks.apply(&[upstream], now);
    checks.take_due(now).expect("the first");
    let ours = Outcome::NotConnected(ConnectFailure::Ours, "no descriptors".into());
    assert!(checks.finished(id, &ours, now).is_none());
    assert!(checks.waits_for_verdicts());
    assert!(checks.next_due().is_some(), "but it is tried again");
}

#[test]
fn other_settings_are_tried_at_once_and_keep_the_verdict() {
    let world = world();
    let old = imaginary(&world, tcp(), 1);
    let id = only(&old.endpoints());
    let mut checks = Checks::new(Rng::with_seed(1));
    let now = Instant::now();
    checks.apply(std::slice::from_ref(&old), now);
    checks.take_due(now).expect("the first");
    checks.finished(id, &passed(), now);
    let due = checks.next_due();
    let later = now + Duration::from_millis(10);
    checks.apply(std::slice::from_ref(&old), later);
    assert_eq!(checks.next_due(), due, "the same settings change nothing");
    let sterner = config::Health {
        unhealthy_after: Some(1),
        ..tcp()
    };
    let address = old.endpoints()[0].address.clone();
    let new = upstream(&world, sterner, &[&address], Some(&old));
    checks.apply(&[new], later);
    assert_eq!(checks.next_due(), Some(later));
    checks.take_due(later).expect("due");
    let news = checks
        .finished(id, &failed(), later)
        .expect("one is enough now");
    assert_eq!(news.change.why, "a probe failed: connection refused");
}

/// The prober's loop without sockets, in time that stands still.
async fn simulated(world: &World, upstream: &Arc<Upstream>, probe: Duration) -> (Duration, usize) {
    let at_once = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (commands, received) = mpsc::unbounded_channel();
    let run = Run::new(
        received,
        (
            Arc::clone(world.live.probe_requests()),
            Arc::clone(world.live.suspects()),
        ),
        Rng::with_seed(1),
    );
    let peak = Arc::clone(&most);
    let task = tokio::spawn(run.until_dropped(move |_: Job| {
        let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
        async move {
            most.fetch_max(
                at_once.fetch_add(1, Ordering::Relaxed) + 1,
                Ordering::Relaxed,
            );
            sleep(probe).await;
            at_once.fetch_sub(1, Ordering::Relaxed);
            passed()
        }
    }));
    let prober = Prober { commands, task };
    let began = Instant::now();
    prober.apply([upstream]);
    prober.first_verdicts().await;
    (began.elapsed(), peak.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn probes_at_once_are_bounded() {
    let world = world();
    let long = config::Health {
        interval: Some(Time(Duration::from_mins(1))),
        ..tcp()
    };
    let upstream = imaginary(&world, long, 400);
    let (took, most) = simulated(&world, &upstream, Duration::from_millis(10)).await;
    assert_eq!(most, 64);
    // Seven rounds of 64; timers are good for a millisecond.
    assert!((70..90).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn many_endpoints_may_be_probed_more_at_once() {
    let world = world();
    let upstream = imaginary(&world, tcp(), 4_000);
    let (_, most) = simulated(&world, &upstream, Duration::from_millis(1)).await;
    assert_eq!(most, 500);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_probe_is_judged_at_once() {
    let world = world();
    let prober = prober(&world);
    prober.first_verdicts().await;
    prober.apply([]);
    prober.first_verdicts().await;
}
