mod requests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use fastrand::Rng;
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::config::{self, Balance, Endpoints, OnRemoved, OtherEndpoints};
use crate::endpoint::{ConnectFailure, Outcome};
use crate::net::Address;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Format;
use crate::upstream::{ResolvedEndpoint, World};

fn world() -> World {
    World::new(Registry::new(1), Events::default())
}

/// An installed upstream `db` whose endpoints take one each.
fn running(world: &World, count: u8) -> Arc<Upstream> {
    installed(world, &taking(1), endpoints(count), None)
}

/// One whose endpoints take so many.
fn taking(max_connections: u32) -> config::Upstream {
    config::Upstream {
        balance: Some(Balance::FirstHealthy),
        max_connections_per_endpoint: Some(max_connections),
        ..config::Upstream::default()
    }
}

fn endpoints(count: u8) -> Vec<ResolvedEndpoint> {
    let endpoints = (1..=count).map(|number| {
        let address = Address::Ip(([10, 0, 0, number], 5432).into());
        ResolvedEndpoint::at(address)
    });
    endpoints.collect()
}

fn installed(
    world: &World,
    written: &config::Upstream,
    endpoints: Vec<ResolvedEndpoint>,
    previous: Option<&Arc<Upstream>>,
) -> Arc<Upstream> {
    let upstream = Upstream::build("db", written, (endpoints, None), "", world, previous);
    let upstream = upstream.expect("valid");
    world.install([&upstream]);
    upstream
}

fn pick(upstream: &Upstream, tried: &[u64]) -> Result<Pick, PickError> {
    pick_by(upstream, tried, Haste::MayWait)
}

fn pick_by(upstream: &Upstream, tried: &[u64], haste: Haste) -> Result<Pick, PickError> {
    let when = (Instant::now(), haste);
    upstream.pick_by(None, tried, when, &mut Rng::with_seed(1))
}

async fn in_turn(upstream: &Upstream, tried: &[u64], limit: Duration) -> Result<Pick, PickError> {
    let patience = Patience {
        limit,
        waited: &mut Waited::default(),
        arrival: &mut None,
    };
    let pick = |haste| pick_by(upstream, tried, haste);
    upstream.pick_in_turn(Line::Any, patience, pick).await
}

/// Those that were let in, in this order.
type Order = Arc<Mutex<Vec<u32>>>;

/// One that waits, and writes his number down when he is let in.
fn waiter(upstream: &Arc<Upstream>, order: &Order, number: u32) -> JoinHandle<()> {
    let (upstream, order) = (Arc::clone(upstream), Arc::clone(order));
    tokio::spawn(async move {
        let pick = in_turn(&upstream, &[], LONG).await.expect("room");
        order.lock().expect("no panic").push(number);
        yield_now().await;
        drop(pick);
    })
}

fn metric(world: &World, line: &str) -> u64 {
    let mut text = String::new();
    world.registry.encode(Format::Text, &mut text);
    let value = text.lines().find_map(|one| one.strip_prefix(line));
    let value = value.unwrap_or_else(|| panic!("{line} in {text}"));
    value.trim().parse().expect("a number")
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn they_are_let_in_in_the_order_in_which_they_came() {
    let world = world();
    let (upstream, order) = (running(&world, 1), Order::default());
    let held = pick(&upstream, &[]).expect("room");
    let mut waiters = Vec::new();
    for number in 0..20 {
        waiters.push(waiter(&upstream, &order, number));
        yield_now().await;
    }
    // For longer than anybody takes to look again.
    tokio::time::sleep(LOOK_AGAIN * 3).await;
    assert_eq!(metric(&world, "evenkeel_queue_depth{upstream=\"db\"}"), 20);
    drop(held);
    // Who comes now finds room, and others before him.
    waiters.push(waiter(&upstream, &order, 20));
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    let expected: Vec<u32> = (0..=20).collect();
    assert_eq!(*order.lock().expect("no panic"), expected);
    assert_eq!(metric(&world, "evenkeel_queue_depth{upstream=\"db\"}"), 0);
}

/// One that cannot be connected at first, and returns how long he has waited in all.
async fn unlucky(upstream: Arc<Upstream>, order: Order) -> Duration {
    let (mut waited, mut arrival) = (Waited::default(), None);
    let mut tried = Vec::new();
    for _ in 0..2 {
        let patience = Patience {
            limit: LONG,
            waited: &mut waited,
            arrival: &mut arrival,
        };
        let pick = |haste| pick_by(&upstream, &tried, haste);
        let turn = upstream.pick_in_turn(Line::Any, patience, pick);
        let pick = turn.await.expect("room");
        order.lock().expect("no panic").push(0);
        if tried.is_empty() {
            let refused = ConnectFailure::Refused;
            let refused = Outcome::NoConnection(refused);
            pick.endpoint().learn(refused, Instant::now());
            tried.push(pick.endpoint().live.id());
        }
    }
    waited.time()
}

#[tokio::test(start_paused = true)]
async fn who_could_not_be_connected_comes_back_to_where_he_stood() {
    let (upstream, order) = (running(&world(), 2), Order::default());
    let held = [pick(&upstream, &[]), pick(&upstream, &[])].map(|held| held.expect("room"));
    let [dying, other] = held;
    let unlucky = tokio::spawn(unlucky(Arc::clone(&upstream), Arc::clone(&order)));
    yield_now().await;
    let mut waiters = Vec::new();
    for number in 1..4 {
        waiters.push(waiter(&upstream, &order, number));
        yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(dying);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*order.lock().expect("no panic"), [0]);
    waiters.push(waiter(&upstream, &order, 4));
    yield_now().await;
    drop(other);
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("no panic"), [0, 0, 1, 2, 3, 4]);
    // He has one time for all of it.
    let waited = unlucky.await.expect("no panic");
    assert_eq!(waited.as_millis(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_a_change_brings_is_taken_at_once() {
    let world = world();
    let upstream = running(&world, 1);
    let in_force = Arc::new(Mutex::new(Arc::clone(&upstream)));
    let _held = pick(&upstream, &[]).expect("room");
    let waiters = (0..6).map(|_| {
        let (upstream, in_force) = (Arc::clone(&upstream), Arc::clone(&in_force));
        tokio::spawn(async move {
            let patience = Patience {
                limit: LONG,
                waited: &mut Waited::default(),
                arrival: &mut None,
            };
            let pick = |haste| {
                let upstream = Arc::clone(&in_force.lock().expect("no panic"));
                pick_by(&upstream, &[], haste)
            };
            upstream.pick_in_turn(Line::Any, patience, pick).await
        })
    });
    let mut waiters: Vec<_> = waiters.collect();
    // In the middle between two looks of the first.
    tokio::time::sleep(LOOK_AGAIN * 3 / 2).await;
    let began = Instant::now();
    let raised = Upstream::build(
        "db",
        &taking(3),
        (endpoints(1), None),
        "",
        &world,
        Some(&upstream),
    );
    let raised = raised.expect("valid");
    *in_force.lock().expect("no panic") = Arc::clone(&raised);
    world.install([&raised]);
    let mut picks = Vec::new();
    for waiter in waiters.drain(..2) {
        picks.push(waiter.await.expect("no panic").expect("room"));
    }
    raised.replace_endpoints(endpoints(2));
    for waiter in waiters.drain(..3) {
        picks.push(waiter.await.expect("no panic").expect("room"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(!waiters[0].is_finished(), "six in all");
}

#[tokio::test(start_paused = true)]
async fn only_the_first_looks() {
    let upstream = running(&world(), 1);
    let _held = pick(&upstream, &[]).expect("room");
    let looks = Arc::new(AtomicU32::new(0));
    let waiters = (0..100).map(|_| {
        let (upstream, looks) = (Arc::clone(&upstream), Arc::clone(&looks));
        tokio::spawn(async move {
            let patience = Patience {
                limit: Duration::from_secs(1),
                waited: &mut Waited::default(),
                arrival: &mut None,
            };
            let pick = |_| {
                looks.fetch_add(1, Ordering::Relaxed);
                pick(&upstream, &[])
            };
            upstream.pick_in_turn(Line::Any, patience, pick).await
        })
    });
    // All of them before any of them is waited for.
    let waiters: Vec<_> = waiters.collect();
    for waiter in waiters {
        let end = waiter.await.expect("no panic");
        assert_eq!(end.err(), Some(PickError::AllAtLimit));
    }
    // The first twenty times, and each once when those before it have left and once at its end.
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks <= 250, "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn beyond_a_number_nobody_waits() {
    let world = world();
    let upstream = running(&world, 1);
    let held = pick(&upstream, &[]).expect("room");
    let waiters = (0..1_024).map(|number| waiter(&upstream, &Order::default(), number));
    let waiters: Vec<_> = waiters.collect();
    tokio::time::sleep(LOOK_AGAIN).await;
    let began = Instant::now();
    let refused = in_turn(&upstream, &[], LONG).await;
    assert_eq!(refused.err(), Some(PickError::AllAtLimit));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let counted = "evenkeel_queue_refused_total{upstream=\"db\",reason=\"full\"}";
    assert_eq!(metric(&world, counted), 1);
    drop(held);
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_has_less_patience() {
    let world = world();
    let upstream = running(&world, 1);
    let _held = pick(&upstream, &[]).expect("room");
    let mut waited = Waited::default();
    waited.add(Duration::from_millis(700));
    let began = Instant::now();
    let patience = Patience {
        limit: Duration::from_secs(1),
        waited: &mut waited,
        arrival: &mut None,
    };
    let turn = upstream.pick_in_turn(Line::Any, patience, |_| pick(&upstream, &[]));
    assert_eq!(turn.await.err(), Some(PickError::AllAtLimit));
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    assert_eq!(waited.time(), Duration::from_secs(1));
    let counted = "evenkeel_queue_refused_total{upstream=\"db\",reason=\"timeout\"}";
    assert_eq!(metric(&world, counted), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_takes_no_ones_place() {
    let upstream = running(&world(), 2);
    let dead = Arc::clone(&upstream.endpoints()[0]);
    dead.learn(
        Outcome::NoConnection(ConnectFailure::Refused),
        Instant::now(),
    );
    let held = pick(&upstream, &[]).expect("the other");
    assert_ne!(held.endpoint().live.id(), dead.live.id());
    let id = dead.live.id();
    for tried in [&[][..], &[id]] {
        let full = pick(&upstream, tried);
        assert_eq!(full.err(), Some(PickError::AllAtLimit), "{tried:?}");
    }
    // It may be back: that is better than none for who cannot wait, and at the end.
    let at_once = pick_by(&upstream, &[], Haste::Now).expect("that one");
    assert_eq!(at_once.endpoint().live.id(), id);
    drop(at_once);
    let at_last = in_turn(&upstream, &[], Duration::from_millis(100)).await;
    assert_eq!(at_last.expect("that one").endpoint().live.id(), id);
    // But not for whom it has failed.
    let again = pick_by(&upstream, &[id], Haste::Now);
    assert_eq!(again.err(), Some(PickError::AllAtLimit));
    let waits = Arc::clone(&upstream);
    let waiter = tokio::spawn(async move { in_turn(&waits, &[id], LONG).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(held);
    let pick = waiter.await.expect("no panic").expect("room");
    assert_ne!(pick.endpoint().live.id(), id);
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_those_are_tried() {
    let upstream = running(&world(), 2);
    for endpoint in upstream.endpoints().iter() {
        endpoint.learn(
            Outcome::NoConnection(ConnectFailure::Refused),
            Instant::now(),
        );
    }
    let first = pick(&upstream, &[]).expect("nothing else is left");
    let second = pick(&upstream, &[first.endpoint().live.id()]).expect("the other");
    assert_ne!(first.endpoint().live.id(), second.endpoint().live.id());
}

#[test]
fn sessions_share_no_connections_whatever_requests_do() {
    let world = world();
    let written = config::Upstream {
        protocol: Some(config::UpstreamProtocol::H2c),
        ..taking(1)
    };
    let upstream = installed(&world, &written, endpoints(2), None);
    let session = || {
        let pick = pick(&upstream, &[])?;
        let open = pick.endpoint().live.open_connection(1);
        Ok((open.expect("not another one's"), pick))
    };
    let sessions = [session(), session()].map(|session| session.expect("room"));
    assert_eq!(
        session().err(),
        Some(PickError::AllAtLimit),
        "it waits in turn"
    );
    // A request may ride along.
    let request = upstream.pick(&[], &mut Rng::with_seed(1), Instant::now());
    drop((request.expect("streams"), sessions));
    assert!(session().is_ok());
}

/// Wherever connections were going within these networks.
fn to_destinations(allowed: &[&str], on_removed: OnRemoved) -> config::Upstream {
    let networks = allowed
        .iter()
        .map(|network| network.parse().expect("valid"));
    config::Upstream {
        endpoints: Endpoints::Other(OtherEndpoints::OriginalDst),
        allowed: networks.collect(),
        on_removed: Some(on_removed),
        max_connections_per_endpoint: Some(1),
        ..config::Upstream::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_destination_holds_up_nobody_else() {
    let written = to_destinations(&["10.0.0.0/8"], OnRemoved::Drain);
    let upstream = installed(&world(), &written, Vec::new(), None);
    let there = |last| upstream.destination(([10, 0, 0, last], 80).into());
    let full = there(1).expect("allowed");
    let held = Pick::only(&full).expect("room");
    let waits = (Arc::clone(&upstream), Arc::clone(&full));
    let waiter = tokio::spawn(async move {
        let patience = Patience {
            limit: LONG,
            waited: &mut Waited::default(),
            arrival: &mut None,
        };
        let (upstream, full) = waits;
        let line = Line::Only(full.live.id());
        let turn = upstream.pick_in_turn(line, patience, |_| Pick::only(&full));
        turn.await.map(drop)
    });
    yield_now().await;
    let began = Instant::now();
    let idle = there(2).expect("allowed");
    let mut time = Waited::default();
    let patience = Patience {
        limit: LONG,
        waited: &mut time,
        arrival: &mut None,
    };
    let line = Line::Only(idle.live.id());
    let turn = upstream.pick_in_turn(line, patience, |_| Pick::only(&idle));
    let pick = turn.await.expect("room");
    assert_eq!((began.elapsed(), time), (Duration::ZERO, Waited::default()));
    drop((pick, held));
    assert_eq!(waiter.await.expect("no panic"), Ok(()));
}

#[test]
fn a_destination_that_is_not_allowed_any_more_is_retired() {
    let world = world();
    let build = |allowed: &[&str], previous: Option<&Arc<Upstream>>| {
        let written = to_destinations(allowed, OnRemoved::Close);
        installed(&world, &written, Vec::new(), previous)
    };
    let first = build(&["10.0.0.0/8"], None);
    let there = |last| first.destination(([10, 0, 0, last], 80).into());
    let (stays, goes) = (there(1).expect("allowed"), there(200).expect("allowed"));
    let ends = || [&stays, &goes].map(|one| one.live.end_of_tunnels().is_some());
    let second = build(&["10.0.0.0/25"], Some(&first));
    assert_eq!(ends(), [false, true]);
    let third = build(&["10.0.0.0/8"], Some(&second));
    assert_eq!(ends(), [false, false], "and back again");
    world.install([]);
    assert_eq!(ends(), [true, true]);
    drop(third);
}
