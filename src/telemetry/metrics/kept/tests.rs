//! Counts go on, whoever asks for them and when.

use std::time::Duration;

use super::super::{Family, Format};
use super::*;

static REQUESTS: Family = Family {
    name: "requests_total",
    help: "Requests.",
    kind: Kind::Counter,
    buckets: None,
};
static TIMES: Family = Family {
    name: "times_seconds",
    help: "Times.",
    kind: Kind::Histogram,
    buckets: Some(&[0.1, 1.0]),
};
static OTHER_TIMES: Family = Family {
    buckets: Some(&[0.2, 1.0]),
    ..TIMES
};
static OPEN: Family = Family {
    name: "open",
    help: "Open.",
    kind: Kind::Gauge,
    buckets: None,
};

/// What another process reads of it.
fn written(registry: &Registry) -> Counts {
    let text = serde_json::to_string(&registry.counts()).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn scraped(registry: &Registry) -> String {
    let mut text = String::new();
    registry.encode(Format::Text, &mut text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| !line.starts_with("evenkeel_metrics_"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn counters_and_histograms_go_on_whether_asked_for_before_or_after() {
    let first = Registry::new(2);
    let ok = first.counter(&REQUESTS, &[("code", "200")]);
    let failed = first.counter(&REQUESTS, &[("code", "500")]);
    let times = first.histogram(&TIMES, &[]);
    let open = first.gauge(&OPEN, &[]);
    ok.add(5);
    failed.add(2);
    times.observe(Duration::from_millis(500));
    open.set(3);
    let counts = written(&first);
    let next = Registry::new(4);
    let asked_before = next.counter(&REQUESTS, &[("code", "200")]);
    asked_before.inc();
    next.resume(&counts);
    assert_eq!(asked_before.value(), 6);
    let later = next.counter(&REQUESTS, &[("code", "500")]);
    assert_eq!(later.value(), 2);
    let later = next.histogram(&TIMES, &[]);
    assert_eq!(later.count(), 1);
    assert!((later.sum_seconds() - 0.5).abs() < 1e-9);
    assert_eq!(next.gauge(&OPEN, &[]).value(), 0);
    assert!(scraped(&next).contains(r#"requests_total{code="200"} 6"#));
}

#[test]
fn what_nobody_asks_for_is_kept_on_and_shown_to_nobody() {
    let first = Registry::new(1);
    let failed = first.counter(&REQUESTS, &[("code", "500")]);
    failed.add(2);
    let second = Registry::new(1);
    second.resume(&written(&first));
    assert_eq!(scraped(&second), "");
    let third = Registry::new(1);
    third.resume(&written(&second));
    assert_eq!(third.counter(&REQUESTS, &[("code", "500")]).value(), 2);
    // It was claimed: nothing is counted twice.
    assert_eq!(third.counter(&REQUESTS, &[("code", "500")]).value(), 0);
}

#[test]
fn what_comes_later_is_added() {
    let first = Registry::new(1);
    let failed = first.counter(&REQUESTS, &[("code", "500")]);
    let times = first.histogram(&TIMES, &[]);
    failed.add(2);
    times.observe(Duration::from_millis(500));
    let next = Registry::new(1);
    next.resume(&written(&first));
    next.resume(&written(&first));
    assert_eq!(next.counter(&REQUESTS, &[("code", "500")]).value(), 4);
    let times = next.histogram(&TIMES, &[]);
    assert_eq!(times.count(), 2);
    assert!((times.sum_seconds() - 1.0).abs() < 1e-9);
}

#[test]
fn counts_that_do_not_fit_are_left_out() {
    let first = Registry::new(1);
    let times = first.histogram(&TIMES, &[]);
    times.observe(Duration::from_millis(500));
    let next = Registry::new(1);
    next.resume(&written(&first));
    assert_eq!(next.histogram(&OTHER_TIMES, &[]).count(), 0);
}

#[test]
fn what_another_process_counts_meanwhile_is_added() {
    let (old, new) = (Registry::new(1), Registry::new(1));
    let asked = |registry: &Registry, code| registry.counter(&REQUESTS, &[("code", code)]);
    let (ok, times) = (asked(&old, "200"), old.histogram(&TIMES, &[]));
    ok.add(5);
    times.observe(Duration::from_millis(500));
    let handed = written(&old);
    let own = asked(&new, "200");
    new.resume(&handed);
    own.inc();
    ok.add(2);
    let failed = asked(&old, "500");
    failed.add(3);
    times.observe(Duration::from_millis(250));
    let since = written(&old).since(&handed);
    assert_eq!(since.len(), 3);
    new.resume(&since);
    new.resume(&since);
    assert_eq!((own.value(), asked(&new, "500").value()), (10, 6));
    let times = new.histogram(&TIMES, &[]);
    assert_eq!(times.count(), 3);
    assert!((times.sum_seconds() - 1.0).abs() < 1e-9);
    assert!(written(&old).since(&written(&old)).is_empty());
}
