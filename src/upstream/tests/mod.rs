//! Upstreams: what a change does to the picks, and what outlives a reload.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::*;
use crate::config::Ratio;
use crate::config::{Balance, EndpointEntry};
use crate::endpoint::{By, ConnectFailure, Outcome};
use crate::net::Address;
use crate::telemetry::metrics::Format;

const REFUSED: Outcome = Outcome::NoConnection(ConnectFailure::Refused);

fn world() -> World {
    World::new(Registry::new(1), Events::default())
}

fn resolved(number: u8) -> ResolvedEndpoint {
    let address = Address::Ip(([10, 0, 0, number], 80).into());
    ResolvedEndpoint {
        zone: "eu-1a".into(),
        ..ResolvedEndpoint::at(address)
    }
}

fn all(count: u8) -> Vec<ResolvedEndpoint> {
    (1..=count).map(resolved).collect()
}

fn checked() -> config::Upstream {
    config::Upstream {
        balance: Some(Balance::RoundRobin),
        health: Some(config::Health {
            tcp: Some(config::HealthTcp {}),
            ..config::Health::default()
        }),
        ..config::Upstream::default()
    }
}

fn unchecked() -> config::Upstream {
    config::Upstream {
        balance: Some(Balance::RoundRobin),
        ..config::Upstream::default()
    }
}

/// An upstream of one endpoint.
pub(crate) fn of_one() -> Arc<Upstream> {
    built(&world(), &config::Upstream::default(), all(1), None)
}

/// An installed upstream `api`.
fn running(
    world: &World,
    written: &config::Upstream,
    endpoints: Vec<ResolvedEndpoint>,
    previous: Option<&Arc<Upstream>>,
) -> Arc<Upstream> {
    let upstream = built(world, written, endpoints, previous);
    world.install([&upstream]);
    upstream
}

fn built(
    world: &World,
    written: &config::Upstream,
    endpoints: Vec<ResolvedEndpoint>,
    previous: Option<&Arc<Upstream>>,
) -> Arc<Upstream> {
    Upstream::build("api", written, (endpoints, None), "eu-1a", world, previous).expect("valid")
}

fn judge(upstream: &Upstream, place: usize, health: Health) {
    let endpoint = Arc::clone(&upstream.endpoints()[place]);
    upstream.set_health(&endpoint, health, By::Active, "a test says so".into());
}

fn judge_all(upstream: &Upstream, healths: &[Health]) {
    for (place, health) in healths.iter().enumerate() {
        judge(upstream, place, *health);
    }
}

fn id(upstream: &Upstream, place: usize) -> u64 {
    upstream.endpoints()[place].live.id()
}

/// The places of the endpoints that requests reach that end at once.
fn reached(upstream: &Upstream) -> BTreeSet<usize> {
    let mut random = Rng::with_seed(1);
    (0..50)
        .map(|_| {
            let pick = upstream
                .pick(&[], &mut random, Instant::now())
                .expect("a pick");
            place(upstream, &pick)
        })
        .collect()
}

fn place(upstream: &Upstream, pick: &Pick) -> usize {
    let endpoints = upstream.endpoints();
    let is_picked = |endpoint: &Arc<Endpoint>| endpoint.live.id() == pick.endpoint().live.id();
    endpoints.iter().position(is_picked).expect("one of them")
}

fn pick(upstream: &Upstream, tried: &[u64]) -> Result<Pick, PickError> {
    upstream.pick(tried, &mut Rng::with_seed(1), Instant::now())
}

fn kinds(world: &World) -> Vec<&'static str> {
    world
        .events
        .list(0)
        .iter()
        .map(|recorded| recorded.event.kind)
        .collect()
}

use Health::{Healthy, Unhealthy};

mod failing;
mod further;
mod hedging;
#[expect(clippy::print_stdout, reason = "the figures are what one wants to see")]
mod slow;

#[test]
fn without_checks_every_endpoint_gets_traffic() {
    let upstream = running(&world(), &unchecked(), all(3), None);
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1, 2]));
    assert!(
        upstream
            .endpoints()
            .iter()
            .all(|endpoint| endpoint.live.health() == Healthy)
    );
}

#[test]
fn a_verdict_takes_effect_at_once_and_is_an_event() {
    let world = world();
    let upstream = running(&world, &checked(), all(3), None);
    assert_eq!(upstream.standing(), Standing::Unproven);
    judge_all(&upstream, &[Healthy, Healthy, Unhealthy]);
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1]));
    judge(&upstream, 2, Healthy);
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1, 2]));
    judge(&upstream, 2, Healthy);
    assert_eq!(
        kinds(&world),
        ["endpoint_up", "endpoint_up", "endpoint_down", "endpoint_up"]
    );
    let last = &world.events.list(3)[0].event;
    assert_eq!(last.why, "a test says so");
    assert!(
        last.fields
            .contains(&("endpoint", "10.0.0.3:80".to_owned()))
    );
    assert!(last.fields.contains(&("healthy", "3".to_owned())));
    let verdict = upstream.endpoints()[2].live.verdict().expect("a verdict");
    assert_eq!(&*verdict.why, "a test says so");
}

#[test]
fn panic_begins_below_the_threshold_and_ends_above() {
    let world = world();
    let upstream = running(&world, &checked(), all(3), None);
    judge_all(&upstream, &[Healthy, Healthy, Unhealthy]);
    assert!(!upstream.is_panicking());
    judge(&upstream, 1, Unhealthy);
    assert!(upstream.is_panicking());
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1, 2]));
    judge(&upstream, 1, Healthy);
    assert!(!upstream.is_panicking());
    assert_eq!(
        kinds(&world)[3..],
        ["endpoint_down", "panic_on", "endpoint_up", "panic_off"]
    );
    let written = config::Upstream {
        panic_threshold: Some(Ratio(0.0)),
        ..checked()
    };
    let stern = running(&world, &written, all(1), Some(&upstream));
    judge(&stern, 0, Unhealthy);
    assert_eq!(pick(&stern, &[]).err(), Some(PickError::NoEndpoints));
}

#[test]
fn no_endpoints_is_an_answer() {
    let upstream = running(&world(), &unchecked(), Vec::new(), None);
    assert_eq!(pick(&upstream, &[]).err(), Some(PickError::NoEndpoints));
}

#[test]
fn a_pick_counts_until_it_is_dropped() {
    let upstream = running(&world(), &unchecked(), all(1), None);
    let live = Arc::clone(&upstream.endpoints()[0].live);
    let first = pick(&upstream, &[]).expect("a pick");
    assert_eq!(live.in_flight(), 1);
    drop(first);
    assert_eq!(live.in_flight(), 0);
}

#[test]
fn limits_hold_and_the_last_one_is_overload() {
    let written = config::Upstream {
        max_in_flight_per_endpoint: Some(2),
        ..unchecked()
    };
    let mut endpoints = all(2);
    endpoints[1].max_connections = Some(1);
    let upstream = running(&world(), &written, endpoints, None);
    let held: Vec<Pick> = (0..3)
        .map(|_| pick(&upstream, &[]).expect("room"))
        .collect();
    let places: Vec<usize> = held.iter().map(|pick| place(&upstream, pick)).collect();
    assert_eq!(places.iter().filter(|&&place| place == 1).count(), 1);
    assert_eq!(pick(&upstream, &[]).err(), Some(PickError::AllAtLimit));
    drop(held);
    assert!(pick(&upstream, &[]).is_ok());
}

#[test]
fn a_retry_goes_elsewhere_if_there_is_an_elsewhere() {
    let upstream = running(&world(), &unchecked(), all(3), None);
    let ids: Vec<u64> = (0..3).map(|place| id(&upstream, place)).collect();
    for _ in 0..10 {
        let retry = pick(&upstream, &ids[..2]).expect("one is left");
        assert_eq!(retry.endpoint().live.id(), ids[2]);
    }
    assert!(pick(&upstream, &ids).is_ok(), "at last one that was tried");
}

#[test]
fn a_retry_leaves_the_zone_of_what_failed() {
    let world = world();
    let mut endpoints = all(6);
    for (number, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.zone = ["eu-1a", "eu-1b"][number % 2].into();
    }
    let upstream = running(&world, &unchecked(), endpoints, None);
    for _ in 0..20 {
        let next = pick(&upstream, &[id(&upstream, 0)]).expect("five are left");
        assert_eq!(&*next.endpoint().zone, "eu-1b");
    }
    // With a failure in both, the best that can be had is one that has not failed.
    let tried = [id(&upstream, 0), id(&upstream, 1)];
    let next = pick(&upstream, &tried).expect("four are left");
    assert!(!tried.contains(&next.endpoint().live.id()));
}

#[test]
fn an_endpoint_that_failed_is_left_alone_unless_nothing_else_is_left() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let now = Instant::now();
    let endpoints = upstream.endpoints();
    assert!(endpoints[0].learn(REFUSED, now));
    assert_eq!(reached(&upstream), BTreeSet::from([1]));
    endpoints[1].learn(REFUSED, now);
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1]));
    endpoints[0].learn(Outcome::answered(http::StatusCode::OK), Instant::now());
    assert_eq!(reached(&upstream), BTreeSet::from([0]));
}

#[test]
fn a_failure_of_our_own_blames_nobody() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    assert!(!endpoint.learn(Outcome::NoConnection(ConnectFailure::Ours), Instant::now()));
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1]));
}

#[test]
fn a_build_that_is_not_installed_changes_nothing() {
    let world = world();
    let old = running(&world, &checked(), all(2), None);
    judge_all(&old, &[Healthy, Unhealthy]);
    let events = world.events.list(0).len();
    let other = vec![resolved(2), resolved(9)];
    let refused = built(&world, &unchecked(), other, Some(&old));
    assert_eq!(reached(&old), BTreeSet::from([0]));
    assert_eq!(old.endpoints()[1].live.health(), Unhealthy);
    assert!(
        old.endpoints()
            .iter()
            .all(|endpoint| !endpoint.live.is_retired())
    );
    assert_eq!(world.events.list(0).len(), events);
    drop(refused);
}

#[test]
fn a_reload_keeps_what_was_learned_and_retires_what_is_gone() {
    let world = world();
    let old = running(&world, &checked(), all(3), None);
    judge_all(&old, &[Healthy, Unhealthy, Healthy]);
    old.endpoints()[0]
        .live
        .learn_idle_close(Duration::from_secs(5));
    old.endpoints()[0].learn(Outcome::answered(http::StatusCode::OK), Instant::now());
    let running_request = pick(&old, &[]).expect("a pick");

    let new = running(
        &world,
        &checked(),
        vec![resolved(1), resolved(2), resolved(4)],
        Some(&old),
    );
    let endpoints = new.endpoints();
    assert_eq!(endpoints[0].live.in_flight(), 1);
    assert_eq!(
        endpoints[0].live.idle_limit(),
        Some(Duration::from_millis(4_500))
    );
    assert_eq!(endpoints[1].live.health(), Unhealthy);
    assert_eq!(
        endpoints[2].live.health(),
        Health::Unknown,
        "new: its first probe decides"
    );
    assert_eq!(reached(&new), BTreeSet::from([0]));
    let gone = &old.endpoints()[2].live;
    assert!(gone.is_retired() && !endpoints[0].live.is_retired());
    assert!(std::ptr::eq(old.usual_wait(), new.usual_wait()));
    drop(running_request);
    assert_eq!(endpoints[0].live.in_flight(), 0);

    let back = running(&world, &checked(), all(3), Some(&new));
    assert!(!back.endpoints()[2].live.is_retired(), "and back again");
}

#[test]
fn a_removed_upstream_is_retired() {
    let world = world();
    let old = running(&world, &unchecked(), all(1), None);
    world.install([]);
    assert!(old.endpoints()[0].live.is_retired());
}

#[test]
fn a_verdict_between_build_and_install_is_not_lost() {
    let world = world();
    let old = running(&world, &checked(), all(2), None);
    judge_all(&old, &[Healthy, Healthy]);
    let new = built(&world, &checked(), all(2), Some(&old));
    judge(&old, 0, Unhealthy);
    world.install([&new]);
    assert_eq!(reached(&new), BTreeSet::from([1]));
    judge(&old, 0, Healthy); // by a prober that does not know of the new build yet
    new.refresh();
    assert_eq!(reached(&new), BTreeSet::from([0, 1]));
}

#[test]
fn endpoints_that_served_without_checks_are_not_new_when_checks_are_added() {
    let world = world();
    let old = running(&world, &unchecked(), all(2), None);
    let new = running(&world, &checked(), all(3), Some(&old));
    assert_eq!(reached(&new), BTreeSet::from([0, 1]));
}

#[test]
fn the_turn_goes_on_over_changes() {
    let world = world();
    let old = running(&world, &unchecked(), all(3), None);
    assert_eq!(place(&old, &pick(&old, &[]).expect("a pick")), 0);
    let new = running(&world, &unchecked(), all(3), Some(&old));
    assert_eq!(place(&new, &pick(&new, &[]).expect("a pick")), 1);
}

#[test]
fn endpoints_can_be_replaced_while_running() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let kept = id(&upstream, 1);
    let gone = Arc::clone(&upstream.endpoints()[0].live);
    upstream.replace_endpoints(vec![resolved(2), resolved(3)]);
    assert_eq!((id(&upstream, 0), upstream.endpoints().len()), (kept, 2));
    assert!(gone.is_retired());
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1]));
}

#[test]
fn who_was_picked_here_may_have_been_replaced_since() {
    let world = world();
    let upstream = running(&world, &unchecked(), all(2), None);
    let before = upstream.endpoints();
    let gone = || [0, 1].map(|place| upstream.has_taken_out(&before[place]));
    assert_eq!(gone(), [false, false]);
    upstream.replace_endpoints(vec![resolved(2), resolved(3)]);
    assert_eq!(gone(), [true, false]);
    upstream.replace_endpoints(vec![resolved(1), resolved(2)]);
    assert_eq!(gone(), [false, false], "it is back");
    // Where nothing else is left, those that are there go on.
    world.install([]);
    assert_eq!(gone(), [false, false]);
}

#[test]
fn an_address_that_is_named_twice_is_one_endpoint() {
    let upstream = running(&world(), &unchecked(), vec![resolved(1), resolved(1)], None);
    assert_eq!(upstream.endpoints().len(), 1);
}

#[test]
fn entries_come_with_their_zone() {
    let entry = |address: &str| EndpointEntry::Address(address.into());
    let written = config::Upstream {
        endpoints: vec![entry("a:1")].into(),
        zone: [(
            "eu-1a".to_owned(),
            config::Zone {
                endpoints: vec![entry("b:1"), entry("c:1")],
            },
        )]
        .into(),
        ..config::Upstream::default()
    };
    let zones: Vec<&str> = entries(&written)
        .into_iter()
        .map(|(zone, _)| zone)
        .collect();
    assert_eq!(zones, ["", "eu-1a", "eu-1a"]);
}

#[test]
fn the_exposition_shows_states_and_forgets_removed_upstreams() {
    let world = world();
    let upstream = running(&world, &checked(), all(2), None);
    judge_all(&upstream, &[Healthy, Unhealthy]);
    let pick = pick(&upstream, &[]).expect("a pick");
    let not_found = Outcome::answered(http::StatusCode::NOT_FOUND);
    pick.endpoint().learn(not_found, Instant::now());
    pick.endpoint().connected(Duration::from_millis(2));
    pick.endpoint().learn(REFUSED, Instant::now());
    let mut text = String::new();
    world.registry.encode(Format::Text, &mut text);
    for line in [
        r#"evenkeel_upstream_endpoints{upstream="api",zone="eu-1a",state="healthy"} 1"#,
        r#"evenkeel_upstream_panic{upstream="api"} 0"#,
        r#"evenkeel_endpoint_state{upstream="api",zone="eu-1a",endpoint="10.0.0.2:80",state="unhealthy"} 1"#,
        r#"evenkeel_endpoint_in_flight{upstream="api",zone="eu-1a",endpoint="10.0.0.1:80"} 1"#,
        r#"evenkeel_endpoint_requests_total{upstream="api",zone="eu-1a",endpoint="10.0.0.1:80",class="4xx"} 1"#,
        r#"evenkeel_endpoint_connect_errors_total{upstream="api",zone="eu-1a",reason="connection_refused"} 1"#,
        r#"evenkeel_endpoint_connect_duration_seconds_count{upstream="api",zone="eu-1a"} 1"#,
        r#"evenkeel_endpoint_transitions_total{upstream="api",endpoint="10.0.0.2:80",to="unhealthy",by="active"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\nis missing in\n{text}");
    }
    drop((pick, upstream));
    world.install([]);
    text.clear();
    world.registry.encode(Format::Text, &mut text);
    assert!(!text.contains("api"), "{text}");
}

/// A request may keep an upstream alive long after its reload.
#[test]
fn an_upstream_that_no_longer_runs_shows_no_health() {
    let world = world();
    let empty = running(&world, &unchecked(), Vec::new(), None);
    let health = || {
        let mut text = String::new();
        world.registry.encode(Format::Text, &mut text);
        let lines = text.lines().map(str::to_owned);
        let lines = lines.filter(|line| line.starts_with("evenkeel_upstream_"));
        lines.collect::<Vec<_>>()
    };
    let none = r#"evenkeel_upstream_endpoints{upstream="api",zone="",state="healthy"} 0"#;
    assert!(health().contains(&none.to_owned()), "{:?}", health());
    world.install([]);
    assert_eq!(health(), [""; 0]);
    drop(empty);
}

#[test]
fn traffic_between_zones_outlives_the_endpoints_that_had_it() {
    let world = world();
    let elsewhere = |number| ResolvedEndpoint {
        zone: "eu-1b".into(),
        ..resolved(number)
    };
    let flows = || {
        let mut text = String::new();
        world.registry.encode(Format::Text, &mut text);
        let lines = text.lines().filter_map(|line| {
            let line = line.strip_prefix("evenkeel_zone_requests_total{upstream=\"api\",")?;
            Some(line.to_owned())
        });
        lines.collect::<Vec<_>>()
    };
    let upstream = running(&world, &unchecked(), vec![resolved(1), elsewhere(2)], None);
    for endpoint in upstream.endpoints().iter() {
        endpoint.learn(Outcome::answered(http::StatusCode::OK), Instant::now());
    }
    upstream.endpoints()[1].unanswered();
    let near = r#"from_zone="eu-1a",to_zone="eu-1a"} 1"#;
    let far = |count| format!(r#"from_zone="eu-1a",to_zone="eu-1b"}} {count}"#);
    assert_eq!(flows(), [near, &far(2)]);
    // A rolling update: none of those that counted is left, and nobody has looked in between.
    upstream.replace_endpoints(vec![resolved(3), elsewhere(4)]);
    upstream.endpoints()[1].learn(Outcome::answered(http::StatusCode::OK), Instant::now());
    assert_eq!(flows(), [near, &far(3)]);
    let next = running(&world, &unchecked(), vec![elsewhere(5)], Some(&upstream));
    drop(upstream);
    assert_eq!(flows(), [far(3)], "a zone that is gone shows nothing");
    drop(next);
    world.install([]);
    assert!(flows().is_empty());
}

#[test]
fn ten_thousand_endpoints_are_built_and_changed_quickly() {
    let world = world();
    let endpoints: Vec<_> = (0..10_000_u32)
        .map(|number| {
            let address = Address::Ip(((0x0a00_0000 + number).to_be_bytes(), 80).into());
            ResolvedEndpoint {
                name: address.to_string().into(),
                address,
                weight: 1 + number % 7,
                ..resolved(1)
            }
        })
        .collect();
    let began = std::time::SystemTime::now();
    let old = running(&world, &checked(), endpoints.clone(), None);
    let new = running(&world, &checked(), endpoints, Some(&old));
    judge(&new, 5_000, Healthy);
    assert_eq!(reached(&new), BTreeSet::from([5_000]));
    // Without optimisation, on a busy machine; release builds take a tenth.
    let took = began.elapsed().expect("a clock that runs forwards");
    assert!(took < Duration::from_secs(2), "took {took:?}");
}

/// The kill proof in small: what requests meet between the death of an endpoint and the verdict of
/// its health check, with one retry and the default budget.
#[tokio::test(start_paused = true)]
async fn a_killed_endpoint_costs_no_request_and_few_retries() {
    for balance in [
        Balance::PowerOfTwo,
        Balance::RoundRobin,
        Balance::LeastConnections,
    ] {
        let written = config::Upstream {
            balance: Some(balance),
            ..checked()
        };
        let upstream = running(&world(), &written, all(3), None);
        judge_all(&upstream, &[Healthy; 3]);
        let dead = id(&upstream, 0);
        let mut random = Rng::with_seed(1);
        let mut retries = 0;
        for _ in 0..5_000 {
            tokio::time::advance(Duration::from_millis(2)).await;
            upstream.retry_budget().deposit(Instant::now());
            let first = upstream
                .pick(&[], &mut random, Instant::now())
                .expect("a pick");
            if first.endpoint().live.id() != dead {
                first
                    .endpoint()
                    .learn(Outcome::answered(http::StatusCode::OK), Instant::now());
                continue;
            }
            first.endpoint().learn(REFUSED, Instant::now());
            retries += 1;
            assert!(
                upstream.retry_budget().withdraw(Instant::now()),
                "{balance:?}: the budget is spent"
            );
            let second = upstream
                .pick(&[dead], &mut random, Instant::now())
                .expect("a pick");
            assert_ne!(
                second.endpoint().live.id(),
                dead,
                "{balance:?}: it met the dead one again"
            );
        }
        // In ten seconds: at 0, 1, 3 and 7 s.
        assert!((1..=5).contains(&retries), "{balance:?}: {retries} retries");
    }
}
