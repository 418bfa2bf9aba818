//! Counts, guards and requests for probes.

use std::num::NonZeroU32;

use super::*;
use crate::endpoint::{LiveStates, MostInFlight};
use crate::net::Address;

fn live(states: &LiveStates) -> Arc<Live> {
    states.get_or_create("api", &Address::Ip(([127, 0, 0, 1], 80).into()))
}

#[test]
fn guards_count_down_when_dropped() {
    let live = live(&LiveStates::new());
    let first = live.begin();
    let second = live.try_begin(2, u32::MAX).expect("one is free");
    assert!(live.try_begin(2, u32::MAX).is_none());
    drop(first);
    assert_eq!(live.in_flight(), 1);
    drop(second);
    assert_eq!(live.in_flight(), 0);
    let connection = live.open_connection(1).expect("none is open");
    assert!(live.open_connection(1).is_none());
    assert!(live.open_connection(u32::MAX).is_some());
    drop(connection);
    assert_eq!(live.connections(), 0);
}

#[test]
fn a_peak_fades_beside_what_is_answered_and_goes_on() {
    let live = live(&LiveStates::new());
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_mins(5));
    live.took(now, Duration::from_secs(30));
    let mut tunnel = live.begin();
    assert_eq!(live.latency(later), Some(3e7), "somebody waits");
    tunnel.answered();
    tunnel.answered();
    assert!(live.latency(later).is_some_and(|left| left < 1_000.0));
    let waiting = live.begin();
    assert_eq!(live.latency(later), Some(3e7), "no news is no good news");
    drop(waiting);
    assert!(live.latency(later).is_some_and(|left| left < 1_000.0));
    drop(tunnel);
    assert_eq!(live.compared.answered.load(Ordering::Relaxed), 0);
}

#[test]
fn requests_in_flight_are_bounded_by_what_a_connection_carries() {
    let most = |requests, streams: Option<(u32, u32)>| MostInFlight {
        requests,
        streams: streams.and_then(|(most, each)| Some((NonZeroU32::new(most)?, each))),
    };
    let live = live(&LiveStates::new());
    assert_eq!(live.carried(), u32::MAX, "the endpoint has said nothing");
    assert_eq!(most(u32::MAX, Some((2, 100))).now(&live), 200);
    live.carries(4);
    assert_eq!(most(u32::MAX, Some((2, 100))).now(&live), 8);
    assert_eq!(most(5, Some((2, 100))).now(&live), 5);
    assert_eq!(most(u32::MAX, Some((2, 3))).now(&live), 6);
    assert_eq!(most(7, None).now(&live), 7, "connections do not bound it");
    live.carries(0);
    assert_eq!(most(u32::MAX, Some((2, 100))).now(&live), 2);
}

#[test]
fn the_limit_is_never_passed_by_threads_at_once() {
    let live = live(&LiveStates::new());
    let most = AtomicU32::new(0);
    let begin_and_end = || {
        for _ in 0..5_000 {
            let guard = live.try_begin(2, u32::MAX);
            most.fetch_max(live.in_flight(), Ordering::Relaxed);
            drop(guard);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(begin_and_end);
        }
    });
    assert!(most.load(Ordering::Relaxed) <= 2);
    assert_eq!(live.in_flight(), 0);
}

#[tokio::test]
async fn a_failure_asks_for_one_probe_of_a_probed_endpoint() {
    let states = LiveStates::new();
    let live = live(&states);
    let now = Instant::now();
    live.connect_failed(now);
    assert!(live.is_backing_off(now), "also when nobody probes");
    live.set_probed(true);
    live.request_probe();
    live.request_probe();
    assert_eq!(states.probe_requests().take().await, [live.id()]);
    live.take_probe_request();
    live.connect_failed(now + Duration::from_secs(2));
    assert_eq!(states.probe_requests().take().await, [live.id()]);
}

#[test]
fn an_idle_close_is_learned() {
    let live = live(&LiveStates::new());
    assert_eq!(live.idle_limit(), None);
    live.learn_idle_close(Duration::from_secs(5));
    assert_eq!(live.idle_limit(), Some(Duration::from_millis(4_500)));
}

#[test]
fn who_sheds_load_is_left_alone_for_as_long_as_he_says() {
    let live = live(&LiveStates::new());
    let now = Instant::now();
    assert!(!live.is_shedding(now));
    live.sheds_for(Duration::from_secs(5), now);
    // What is said later holds no less for what was said before.
    live.sheds_for(Duration::from_secs(1), now);
    assert!(live.is_shedding(now + Duration::from_secs(4)));
    assert!(!live.is_shedding(now + Duration::from_secs(6)));
    live.sheds_for(Duration::from_hours(1), now);
    assert!(!live.is_shedding(now + Duration::from_secs(61)));
}

#[test]
fn a_limit_of_all_endpoints_bounds_each_and_gives_back_what_it_refuses() {
    let states = LiveStates::new();
    let live =
        |number: u8| states.get_or_create("api", &Address::Ip(([10, 0, 0, number], 80).into()));
    let (one, other) = (live(1), live(2));
    let elsewhere = states.get_or_create("site", &Address::Ip(([10, 0, 0, 1], 80).into()));
    let held = [one.try_begin(9, 2), other.try_begin(9, 2)].map(|begun| begun.expect("two may"));
    assert!(one.try_begin(9, 2).is_none() && other.try_begin(9, 2).is_none());
    assert_eq!(
        (one.in_flight(), other.in_flight(), one.together()),
        (1, 1, 2)
    );
    assert!(
        elsewhere.try_begin(9, 2).is_some(),
        "another upstream has its own"
    );
    let [first, second] = held;
    drop(first);
    drop(other.try_begin(9, 2).expect("one may again"));
    assert!(one.try_begin(0, 2).is_none(), "its own limit holds as well");
    drop(second);
    assert_eq!(
        (one.in_flight(), other.in_flight(), one.together()),
        (0, 0, 0)
    );
}
