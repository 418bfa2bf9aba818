use super::*;

const SECOND: u64 = 1_000;

fn at(penalty: &Penalty, now: u64) -> f64 {
    f64::from(penalty.at(|| now)) / 256.0
}

#[test]
fn a_failure_is_a_request_that_fades() {
    let penalty = Penalty::default();
    assert_eq!(penalty.at(|| unreachable!("nothing failed")), 0);
    penalty.failed(0, None);
    assert!((at(&penalty, 0) - 1.0).abs() < 0.01);
    assert!((at(&penalty, 5 * SECOND) - 0.367).abs() < 0.01);
    penalty.thaw(0);
    assert_eq!(penalty.at(|| 30 * SECOND), 0);
    assert_eq!(penalty.at(|| unreachable!("it is forgotten")), 0);
}

#[test]
fn what_only_fails_comes_after_those_that_do_not_for_a_minute() {
    let penalty = Penalty::default();
    let mut now = 0;
    for _ in 0..3 {
        penalty.failed(now, None);
        assert_eq!(penalty.at(|| now + 60 * SECOND - 1), 1);
        assert_eq!(penalty.at(|| now + 60 * SECOND), 0);
        now += 60 * SECOND;
    }
    assert!(penalty.only_fails(), "nothing else has been heard of it");
    assert_eq!(penalty.at(|| now + 61 * SECOND), 0);
    assert_eq!(penalty.at(|| unreachable!("it is forgotten")), 0);
    // One success, and what is left fades as ever.
    penalty.failed(now, None);
    penalty.thaw(now);
    assert_eq!(penalty.at(|| now + 30 * SECOND), 0);
}

#[test]
fn what_only_fails_is_tried_ever_more_seldom() {
    let penalty = Penalty::default();
    let mut trials = Vec::new();
    for now in (0..120 * SECOND).step_by(10) {
        // As where the others carry one request each.
        if penalty.at(|| now) < 256 {
            penalty.failed(now, None);
            trials.push(now);
        }
    }
    let waits: Vec<u64> = trials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(trials.len() < 20, "{} trials in two minutes", trials.len());
    // One success, and the next failure counts as the first.
    let last = 121 * SECOND;
    penalty.thaw(last);
    let before = at(&penalty, last);
    penalty.failed(last, None);
    assert!((at(&penalty, last) - before - 1.0).abs() < 0.02);
}

#[test]
fn one_failure_among_others_is_not_all_that_is_heard() {
    let penalty = Penalty::default();
    for (event, only_fails) in "fffsfsff".chars().zip([0, 1, 1, 0, 0, 0, 0, 1]) {
        match event {
            'f' => penalty.failed(SECOND, None),
            _ => penalty.thaw(SECOND),
        }
        assert_eq!(penalty.only_fails(), only_fails == 1);
    }
    penalty.forget();
    assert!(!penalty.only_fails());
}

#[test]
fn a_time_to_stay_away_is_waited_for_first() {
    let penalty = Penalty::default();
    penalty.failed(0, Some(Duration::from_secs(20)));
    assert!((at(&penalty, 0) - 4.0).abs() < 0.01, "20 s of 5");
    assert_eq!(penalty.at(|| 0), penalty.at(|| 20 * SECOND));
    assert!(at(&penalty, 25 * SECOND) < 2.0);
    // A failure that names no time does not shorten it, and nobody is believed beyond a minute.
    penalty.failed(SECOND, Some(Duration::from_hours(9)));
    penalty.failed(2 * SECOND, None);
    assert_eq!(penalty.at(|| 2 * SECOND), penalty.at(|| 61 * SECOND));
    assert!(penalty.at(|| 62 * SECOND) < penalty.at(|| 61 * SECOND));
    assert!(at(&penalty, 0) < 18.0);
}

#[test]
fn whoever_serves_some_fades_although_he_asks_to_be_left_alone() {
    // A hundred requests a second, of which one is beyond the quota of who sent it.
    let penalty = Penalty::default();
    let mut most = 0.0_f64;
    for second in 0..600 {
        let now = second * SECOND;
        penalty.failed(now, Some(Duration::from_mins(1)));
        penalty.thaw(now + 10);
        most = most.max(at(&penalty, now + 10));
    }
    // Twelve requests each, of those of the last five seconds.
    assert!((50.0..80.0).contains(&most), "{most}");
    let last = 599 * SECOND;
    assert!(at(&penalty, last + 10 * SECOND) < most / 5.0);
    assert!(!penalty.is_frozen(), "it is known");
}

#[test]
fn a_penalty_has_a_bound_and_a_late_hour_is_none() {
    let penalty = Penalty::default();
    for now in 0..50_000 {
        penalty.failed(now, None);
    }
    assert!((at(&penalty, 50_000) - 16_384.0).abs() < 10.0);
    let late = LATEST - 5;
    penalty.failed(late, Some(LONGEST_AWAY));
    assert!(at(&penalty, late) > 1.0);
}

#[test]
fn a_peak_counts_at_once_and_sinks_slowly() {
    let latency = Latency::default();
    let ms = Duration::from_millis;
    assert_eq!(latency.at(5, true), None);
    latency.learn(0, ms(10));
    latency.learn(1, ms(500));
    assert_eq!(latency.at(1, false), Some(500_000.0));
    latency.learn(1, ms(10));
    assert_eq!(
        latency.at(1, false),
        Some(500_000.0),
        "within a millisecond"
    );
    latency.learn(10_001, ms(10));
    let after = latency.at(10_001, false).unwrap();
    assert!((after - 190_000.0).abs() < 2_000.0, "{after}");
    // Without news it is forgotten, unless somebody waits there for an answer.
    assert!(latency.at(60_000, true).unwrap() < after / 100.0);
    assert_eq!(latency.at(60_000, false), Some(after));
    // What fails does not become better by it.
    latency.failed(60_000);
    assert_eq!(latency.at(60_000, true), Some(after));
}

#[test]
fn the_clock_of_latencies_may_wrap() {
    let latency = Latency::default();
    let wraps = u64::from(u32::MAX);
    latency.learn(wraps - 5_000, Duration::from_millis(100));
    let before = latency.at(wraps - 5_000, true).unwrap();
    let after = latency.at(wraps + 5_000, true).unwrap();
    assert!((after / before - 0.367).abs() < 0.01, "ten seconds on");
    assert_eq!(
        latency.at(wraps - 6_000, true),
        Some(before),
        "a clock behind"
    );
    let month = 31 * 24 * 3_600 * SECOND;
    let late = latency.at(wraps + month, true);
    assert!(late.unwrap() < before / 1_000.0, "{late:?}");
}
