//! What was learned is known to the next process, and fades as it would have.

use super::*;
use crate::endpoint::{LiveStates, Terms};
use crate::net::Address;

const TERMS: Terms = Terms {
    eject_for: Duration::from_secs(30),
    at_most: Duration::from_mins(5),
};

fn live() -> std::sync::Arc<Live> {
    LiveStates::new().get_or_create("api", &Address::Ip(([10, 0, 0, 1], 80).into()))
}

/// Another process, which has it from a file.
fn again(live: &Live, condition: &Condition, age: Duration) -> std::sync::Arc<Live> {
    let now = Instant::now();
    let kept = live.kept(now);
    let text = serde_json::to_string(&kept).unwrap();
    let kept: Kept = serde_json::from_str(&text).unwrap();
    assert_eq!(kept, live.kept(now));
    let next = self::live();
    let condition = Condition::resume(&condition.kept(now), TERMS, age, now);
    next.resume(&kept, &condition, age, now);
    next
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_is_known_to_the_next_process() {
    let first = live();
    let start = Instant::now();
    first.set_in_service(start);
    first.connect_failed(start);
    first.connect_failed(start + Duration::from_secs(1));
    first.penalize(start, None);
    first.took(start, Duration::from_millis(80));
    first.learn_idle_close(Duration::from_secs(5));
    tokio::time::advance(Duration::from_secs(2)).await;
    first.learn_idle_close(Duration::from_secs(5));
    let healthy = Condition::new(Health::Healthy, Instant::now());
    let next = again(&first, &healthy, Duration::ZERO);
    let now = Instant::now();
    assert_eq!(next.health(), Health::Healthy);
    assert!(
        next.is_backing_off(now),
        "the second failure is for two seconds"
    );
    assert!(next.penalty(now) > 0);
    let latency = next.latency(now).unwrap();
    assert!((60_000.0..80_000.0).contains(&latency), "{latency}");
    assert_eq!(next.idle_limit(), first.idle_limit());
    assert!(next.idle_limit().is_some());
    let in_service = now - next.in_service_since().unwrap();
    assert_eq!(in_service.as_secs(), 2);
    assert!(!next.only_fails());
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_fades_while_nothing_runs() {
    let first = live();
    let now = Instant::now();
    first.connect_failed(now);
    first.penalize(now, None);
    first.penalize(now, None);
    first.sheds_for(Duration::from_secs(10), now);
    first.took(now, Duration::from_millis(80));
    first.learn_idle_close(Duration::from_secs(5));
    let healthy = Condition::new(Health::Healthy, now);
    let soon = again(&first, &healthy, Duration::from_secs(9));
    assert!(soon.is_shedding(now) && !soon.is_backing_off(now));
    assert!(soon.only_fails());
    assert!(soon.idle_limit().is_some());
    let late = again(&first, &healthy, Duration::from_mins(1));
    assert!(!late.is_shedding(now));
    assert_eq!(
        late.idle_limit(),
        None,
        "one report is believed for half a minute"
    );
    assert!(late.latency(now).unwrap() < 1_000.0);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_stays_one_and_half_open_has_its_gate() {
    let first = live();
    let now = Instant::now();
    let mut condition = Condition::new(Health::Healthy, now);
    condition.eject(false, TERMS, now, 0.0);
    let next = again(&first, &condition, Duration::from_secs(10));
    assert_eq!(next.health(), Health::Ejected);
    let ejection = next.verdict().unwrap().ejection.unwrap();
    assert_eq!(ejection.until - now, Duration::from_secs(20));
    condition.release(now);
    let next = again(&first, &condition, Duration::ZERO);
    assert_eq!(next.health(), Health::HalfOpen);
    assert!(next.admit(now) && !next.admit(now), "one at a time");
}
