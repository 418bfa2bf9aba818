//! What is learned from which closes, and for how long.

use super::*;

fn limit(close: &IdleClose, now: u64) -> Option<u128> {
    close.limit(|| now).map(|limit| limit.as_millis())
}

fn learn(close: &IdleClose, idle: u64, now: u64) {
    close.learn(Duration::from_millis(idle), now);
}

#[test]
fn nothing_is_believed_at_first() {
    assert_eq!(limit(&IdleClose::default(), 0), None);
}

#[test]
fn the_limit_keeps_a_margin() {
    for (idle, kept) in [
        (75_000, 74_500),
        (5_000, 4_500),
        (1_000, 900),
        (40, 30),
        (0, 0),
    ] {
        let close = IdleClose::default();
        learn(&close, idle, 0);
        assert_eq!(limit(&close, 0), Some(kept), "closed after {idle} ms");
    }
}

#[test]
fn one_report_is_believed_for_half_a_minute() {
    let close = IdleClose::default();
    learn(&close, 200, 5_000);
    assert!(limit(&close, 34_000).is_some());
    assert_eq!(limit(&close, 36_000), None);
}

#[test]
fn a_restart_that_closes_all_confirms_nothing() {
    let close = IdleClose::default();
    for idle in [900, 850, 3_000, 870, 10] {
        learn(&close, idle, 7_000);
    }
    assert_eq!(limit(&close, 7_000), Some(0));
    assert_eq!(limit(&close, 40_000), None);
}

#[test]
fn agreeing_reports_are_believed_longer_each_time() {
    let close = IdleClose::default();
    learn(&close, 2_010, 0);
    learn(&close, 2_000, 10_000);
    assert_eq!(limit(&close, 300_000), Some(1_800));
    assert_eq!(
        limit(&close, 320_000),
        None,
        "belief runs out without a confirmation"
    );
    learn(&close, 2_005, 330_000);
    assert_eq!(limit(&close, 900_000), Some(1_800));
    assert_eq!(limit(&close, 1_000_000), None);
}

#[test]
fn a_restart_shadows_the_setting_only_for_a_while() {
    let close = IdleClose::default();
    learn(&close, 5_000, 0);
    learn(&close, 5_000, 6_000);
    learn(&close, 100, 10_000);
    assert_eq!(limit(&close, 10_000), Some(90));
    assert_eq!(limit(&close, 45_000), Some(4_500));
}

#[test]
fn a_longer_setting_replaces_a_shorter_one_once_it_is_seen_twice() {
    let close = IdleClose::default();
    for (idle, now) in [
        (2_000, 0),
        (2_000, 3_000),
        (60_000, 400_000),
        (60_000, 500_000),
    ] {
        learn(&close, idle, now);
    }
    assert_eq!(limit(&close, 500_000), Some(59_500));
}
