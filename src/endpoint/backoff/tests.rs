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
fn a_good_probe_proves_nothing_after_a_connection_that_died() {
    let backoff = ConnectBackoff::default();
    backoff.fail(0, Unanswered);
    backoff.cut_short(100);
    assert!(!backoff.admit(100) && backoff.admit(1_000));
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

#[test]
fn a_gate_lets_one_at_a_time_through_until_it_is_taken_away() {
    let backoff = ConnectBackoff::default();
    backoff.half_open(1_000);
    assert!(backoff.is_half_open() && !backoff.is_active(1_000));
    assert!(backoff.admit(1_000));
    assert!(!backoff.admit(1_000) && backoff.is_active(1_999));
    // Neither a connection nor an answer opens it: the answer may be a failure.
    backoff.connected();
    backoff.succeed();
    assert!(backoff.is_half_open() && !backoff.admit(1_500));
    assert!(backoff.admit(2_000), "the first one never began");
    assert!(backoff.fail(2_100, Connecting));
    assert!(backoff.is_half_open() && !backoff.admit(3_000));
    assert!(backoff.admit(3_200) && !backoff.admit(3_200));
    backoff.open();
    assert!(backoff.admit(3_200) && backoff.admit(3_200));
    assert!(!backoff.is_half_open());
}

#[test]
fn a_trial_keeps_others_away_until_it_ends_and_for_a_second_at_least() {
    let backoff = ConnectBackoff::default();
    assert_eq!(backoff.begin(), None, "there is no gate");
    backoff.half_open(0);
    assert!(backoff.admit(0));
    let trial = backoff.begin().expect("a trial");
    assert!(!backoff.admit(1_500), "it is under way");
    backoff.end(trial);
    assert!(backoff.admit(1_500) && !backoff.admit(1_500));
    let trial = backoff.begin().expect("a trial");
    backoff.end(trial);
    assert!(!backoff.admit(2_499) && backoff.admit(2_500));
    let _endless = backoff.begin().expect("a trial");
    assert!(!backoff.admit(12_499) && backoff.admit(12_500));
    backoff.cut_short(12_600);
    assert!(!backoff.admit(12_600), "a probe is no trial");
}

#[test]
fn only_who_keeps_others_away_lets_them_in_again() {
    let backoff = ConnectBackoff::default();
    backoff.half_open(0);
    assert!(backoff.admit(0));
    let trial = backoff.begin().expect("a trial");
    let beside = backoff.begin().expect("nothing else was left for it");
    backoff.end(beside);
    assert!(!backoff.admit(1_500), "the trial is under way");
    backoff.end(trial);
    assert!(backoff.admit(1_500));
    let endless = backoff.begin().expect("a trial");
    assert!(backoff.admit(11_500));
    let next = backoff.begin().expect("a trial");
    backoff.end(endless);
    backoff.end(trial);
    assert!(!backoff.admit(13_000), "that is under way");
    // Whoever has had a turn, there are others.
    backoff.end(next);
    for turn in 2..200 {
        let now = turn * 10_000;
        assert!(backoff.admit(now));
        let next = backoff.begin().expect("a trial");
        assert!(!backoff.admit(now + 5_000) && backoff.is_present(next));
        backoff.end(next);
        assert!(backoff.admit(now + 5_000));
    }
}

#[test]
fn gates_of_two_milliseconds_are_two() {
    let backoff = ConnectBackoff::default();
    let at = |now| {
        backoff.half_open(now);
        assert!(backoff.admit(now));
        backoff.begin().expect("a trial")
    };
    let (even, odd) = (at(2_000), at(2_001));
    assert!(!backoff.is_present(even) && backoff.is_present(odd));
    backoff.end(even);
    assert!(!backoff.admit(3_500), "another one's end is not its own");
    backoff.end(odd);
    assert!(backoff.admit(3_500));
}

#[test]
fn only_what_was_let_through_the_gate_tries() {
    let backoff = ConnectBackoff::default();
    backoff.half_open(1_000);
    assert!(!backoff.may_have_tried(1_000), "nobody has begun");
    assert!(backoff.admit(1_000));
    let trial = backoff.begin().expect("a trial");
    assert!(backoff.is_present(trial));
    assert!(backoff.may_have_tried(1_000) && !backoff.may_have_tried(999));
    // Ejected again, and half-open again.
    backoff.open();
    assert!(!backoff.is_present(trial) && !backoff.may_have_tried(2_000));
    backoff.half_open(5_000);
    assert!(!backoff.is_present(trial));
    assert!(backoff.admit(5_000));
    let next = backoff.begin().expect("a trial");
    backoff.end(trial);
    assert!(!backoff.admit(6_500), "another one's end is not its own");
    backoff.end(next);
    assert!(backoff.admit(6_500));
}
