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
        learn(&close, idle, 1_000);
        assert_eq!(limit(&close, 1_000), Some(kept), "closed after {idle} ms");
    }
}

#[test]
fn one_report_is_believed_for_half_a_minute() {
    let close = IdleClose::default();
    learn(&close, 2_000, 5_000);
    assert!(limit(&close, 34_000).is_some());
    assert_eq!(limit(&close, 36_000), None);
}

#[test]
fn a_short_time_is_believed_once_it_is_seen_twice() {
    let close = IdleClose::default();
    learn(&close, 500, 0);
    assert_eq!(limit(&close, 0), None, "it may be a restart");
    learn(&close, 480, 900);
    assert_eq!(limit(&close, 900), None, "it may be the same one");
    learn(&close, 490, 3_000);
    assert_eq!(limit(&close, 3_000), Some(432));
}

#[test]
fn restarts_far_apart_do_not_confirm_each_other() {
    let close = IdleClose::default();
    for now in [0, 400_000, 800_000] {
        learn(&close, 500, now);
        assert_eq!(limit(&close, now), None);
    }
}

#[test]
fn a_restart_that_closes_all_confirms_nothing() {
    let close = IdleClose::default();
    for idle in [900, 850, 3_000, 870, 10] {
        learn(&close, idle, 7_000);
    }
    assert_eq!(limit(&close, 7_000), None);
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
    assert_eq!(limit(&close, 10_000), Some(4_500));
    learn(&close, 1_100, 12_000);
    assert_eq!(limit(&close, 12_000), Some(990));
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
