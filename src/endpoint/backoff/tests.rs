//! How long an endpoint is left alone, and who may try it.

use super::Failed::{Connecting, Unanswered};
use super::*;

#[test]
fn the_rest_doubles_up_to_ten_seconds() {
    let backoff = ConnectBackoff::default();
    let mut now = 0;
    for rest in [
        1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000,
    ] {
        assert!(backoff.fail(now, Connecting));
        assert!(backoff.is_active(now + rest - 1));
        assert!(!backoff.is_active(now + rest));
        now += rest;
    }
}

#[test]
fn what_dies_together_is_one_failure() {
    let backoff = ConnectBackoff::default();
    assert!(backoff.fail(100, Connecting));
    for _ in 0..50 {
        assert!(!backoff.fail(101, Connecting));
    }
    assert!(!backoff.is_active(1_100));
}

#[test]
fn one_caller_tries_after_the_rest() {
    let backoff = ConnectBackoff::default();
    assert!(backoff.admit(0) && backoff.admit(0));
    backoff.fail(0, Connecting);
    assert!(!backoff.admit(999));
    assert!(backoff.admit(1_000));
    assert!(
        !backoff.admit(1_000),
        "a second caller waits for the first one's result"
    );
    backoff.succeed();
    assert!(backoff.admit(1_001) && backoff.admit(1_001));
}

#[test]
fn a_failed_trial_doubles_the_rest() {
    let backoff = ConnectBackoff::default();
    backoff.fail(0, Connecting);
    assert!(backoff.admit(1_000));
    assert!(backoff.fail(1_005, Connecting));
    assert!(backoff.is_active(3_004));
    assert!(!backoff.is_active(3_005));
}

#[test]
fn a_trial_without_a_result_does_not_shut_for_ever() {
    let backoff = ConnectBackoff::default();
    backoff.fail(0, Connecting);
    assert!(backoff.admit(1_000));
    assert!(backoff.admit(2_000));
}

#[test]
fn a_good_probe_lets_the_next_request_try() {
    let backoff = ConnectBackoff::default();
    backoff.cut_short(0);
    assert!(!backoff.is_active(0));
    for now in [0, 1_000, 3_000] {
        backoff.fail(now, Connecting);
    }
    backoff.cut_short(3_100);
    assert!(backoff.admit(3_100));
    assert!(backoff.fail(3_101, Connecting));
    assert!(
        backoff.is_active(3_101 + 7_999),
        "the row of failures was kept"
    );
}

#[test]
fn a_connection_that_stands_proves_nothing_after_one_that_died() {
    let backoff = ConnectBackoff::default();
    backoff.fail(0, Connecting);
    backoff.connected();
    assert!(!backoff.has_failed());
    for (now, rest) in [(0, 1_000), (1_000, 2_000), (3_000, 4_000)] {
        assert!(backoff.admit(now), "somebody may try at {now}");
        backoff.connected();
        backoff.fail(now, Unanswered);
        assert!(backoff.is_active(now + rest - 1));
    }
    assert!(backoff.admit(7_000));
    backoff.succeed();
    assert!(!backoff.has_failed());
}
