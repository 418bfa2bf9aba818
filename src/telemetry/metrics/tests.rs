use std::time::Duration;

use super::*;

static REQUESTS: Family = Family {
    name: "test_requests_total",
    help: "Requests\nwith a \"quote\" and a \\.",
    kind: Kind::Counter,
    buckets: None,
};
static IN_FLIGHT: Family = Family {
    name: "test_in_flight",
    help: "Requests in flight.",
    kind: Kind::Gauge,
    buckets: None,
};
static DURATION: Family = Family {
    name: "test_duration_seconds",
    help: "Durations.",
    kind: Kind::Histogram,
    buckets: Some(&[0.01, 0.1, 1.0]),
};
static ENDPOINT: Family = Family {
    name: "test_endpoint_requests_total",
    help: "By endpoint.",
    kind: Kind::Counter,
    buckets: None,
};

fn text(registry: &Registry, format: Format) -> String {
    let mut out = String::new();
    registry.encode(format, &mut out);
    out
}

fn lines_of(registry: &Registry, family: &Family) -> Vec<String> {
    let text = text(registry, Format::Text);
    let lines = text.lines().filter(|line| line.starts_with(family.name));
    lines.map(str::to_owned).collect()
}

#[test]
fn every_thread_counts_and_none_is_lost() {
    let registry = Registry::new(3);
    let counter = registry.counter(&REQUESTS, &[("route", "api")]);
    let gauge = registry.gauge(&IN_FLIGHT, &[]);
    let histogram = registry.histogram(&DURATION, &[]);
    std::thread::scope(|scope| {
        // Three workers, one worker more than the registry was made for, and two of the control.
        for worker in [Some(0), Some(1), Some(2), Some(3), None, None] {
            let (counter, gauge, histogram) = (&counter, &gauge, &histogram);
            scope.spawn(move || {
                if let Some(worker) = worker {
                    set_worker_shard(worker);
                }
                for _ in 0..10_000 {
                    counter.inc();
                    gauge.add(3);
                    gauge.sub(2);
                    histogram.observe(Duration::from_millis(50));
                }
            });
        }
    });
    assert_eq!(counter.value(), 60_000);
    assert_eq!(gauge.value(), 60_000);
    assert_eq!(histogram.count(), 60_000);
    assert!((histogram.sum_seconds() - 3_000.0).abs() < 1e-6);
}

#[test]
fn workers_do_not_share_cache_lines() {
    let mut slots = Slots::new(2);
    let first = slots.take(1);
    let address = |worker: Option<usize>| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Some(worker) = worker {
                    set_worker_shard(worker);
                }
                first.address()
            });
            thread.join().unwrap()
        })
    };
    let addresses = [address(None), address(Some(0)), address(Some(1))];
    assert!(addresses[0].abs_diff(addresses[1]) >= 128);
    assert!(addresses[1].abs_diff(addresses[2]) >= 128);
    // While two series of one worker are neighbours.
    let second = slots.take(1);
    assert_eq!(first.address().abs_diff(second.address()), 8);
}

#[test]
fn text_format() {
    let registry = Registry::new(1);
    let api = [("route", "a\"p\\i\n"), ("code", "200")];
    let counter = registry.counter(&REQUESTS, &api);
    counter.add(7);
    let gauge = registry.gauge(&IN_FLIGHT, &[]);
    gauge.set_f64(1.5);
    let histogram = registry.histogram(&DURATION, &[("route", "api")]);
    for millis in [5, 10, 11, 100, 5_000] {
        histogram.observe(Duration::from_millis(millis));
    }
    assert_eq!(
        text(&registry, Format::Text),
        r#"# HELP evenkeel_metrics_series_dropped_total Series that were asked for and left out because of the limit.
# TYPE evenkeel_metrics_series_dropped_total counter
evenkeel_metrics_series_dropped_total 0
# HELP test_duration_seconds Durations.
# TYPE test_duration_seconds histogram
test_duration_seconds_bucket{route="api",le="0.01"} 2
test_duration_seconds_bucket{route="api",le="0.1"} 4
test_duration_seconds_bucket{route="api",le="1"} 4
test_duration_seconds_bucket{route="api",le="+Inf"} 5
test_duration_seconds_sum{route="api"} 5.126
test_duration_seconds_count{route="api"} 5
# HELP test_in_flight Requests in flight.
# TYPE test_in_flight gauge
test_in_flight 1.5
# HELP test_requests_total Requests\nwith a "quote" and a \\.
# TYPE test_requests_total counter
test_requests_total{route="a\"p\\i\n",code="200"} 7
"#
    );
}

#[test]
fn open_metrics_differs_where_it_must() {
    let registry = Registry::new(1);
    let _counter = registry.counter(&REQUESTS, &[]);
    let _histogram = registry.histogram(&DURATION, &[]);
    let text = text(&registry, Format::OpenMetrics);
    assert!(text.contains("# TYPE test_requests counter\ntest_requests_total 0\n"));
    assert!(text.contains(r#"# HELP test_requests Requests\nwith a \"quote\""#));
    assert!(text.contains("test_duration_seconds_bucket{le=\"1.0\"} 0\n"));
    assert!(text.ends_with("\n# EOF\n"));
}

/// Two families of one name are refused by strict readers.
#[test]
fn a_counter_beside_a_gauge_of_its_name_keeps_its_own() {
    static ACTIVE: Family = Family {
        name: "test_requests",
        help: "Requests now.",
        kind: Kind::Gauge,
        buckets: None,
    };
    let registry = Registry::new(1);
    let _counter = registry.counter(&REQUESTS, &[]);
    let _gauge = registry.gauge(&ACTIVE, &[]);
    let open = text(&registry, Format::OpenMetrics);
    assert!(open.contains("# TYPE test_requests gauge\ntest_requests 0\n"));
    assert!(open.contains("# TYPE test_requests_total unknown\ntest_requests_total 0\n"));
    let plain = text(&registry, Format::Text);
    assert!(plain.contains("# TYPE test_requests_total counter\ntest_requests_total 0\n"));
}

#[test]
fn the_preferred_format_is_taken() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    assert_eq!(Format::from_accept(prometheus), Format::OpenMetrics);
    for accept in [
        "",
        "*/*",
        "text/plain",
        "text/html,*/*;q=0.8",
        "application/openmetrics-text;q=0.2, text/plain;q=0.3",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=x",
    ] {
        assert_eq!(Format::from_accept(accept), Format::Text, "{accept}");
    }
}

#[test]
fn labels_that_live_keep_their_count() {
    let registry = Registry::new(1);
    let old = registry.counter(&REQUESTS, &[("route", "api")]);
    old.add(5);
    let new = registry.counter(&REQUESTS, &[("route", "api")]);
    drop(old);
    new.inc();
    assert_eq!(new.value(), 6);
}

#[test]
fn a_series_goes_with_its_last_handle() {
    let registry = Registry::new(1);
    let kept = registry.counter(&REQUESTS, &[("route", "kept")]);
    let gone = registry.counter(&REQUESTS, &[("route", "gone")]);
    gone.add(9);
    assert_eq!(lines_of(&registry, &REQUESTS).len(), 2);
    drop(gone);
    assert_eq!(
        lines_of(&registry, &REQUESTS),
        ["test_requests_total{route=\"kept\"} 0"]
    );
    // Its cells are used again, from zero.
    let next = registry.counter(&REQUESTS, &[("route", "next")]);
    assert_eq!(next.value(), 0);
    drop((kept, next));
    assert!(!text(&registry, Format::Text).contains("test_requests"));
}

#[test]
fn the_limit_holds_and_is_told() {
    let registry = Registry::with_limit(1, 3);
    let routes = ["a", "b", "c", "d"];
    let counters = routes.map(|route| registry.counter(&REQUESTS, &[("route", route)]));
    for counter in &counters {
        counter.inc();
    }
    assert_eq!(lines_of(&registry, &REQUESTS).len(), 2);
    assert_eq!(
        lines_of(&registry, &REFUSED),
        ["evenkeel_metrics_series_dropped_total 2"]
    );
    drop(counters);
    let _again = registry.counter(&REQUESTS, &[("route", "d")]);
    assert_eq!(lines_of(&registry, &REQUESTS).len(), 1);
}

#[test]
fn endpoints_cannot_displace_what_alerts_are_built_on() {
    let registry = Registry::with_limit(1, 10);
    let names: Vec<String> = (0..20).map(|index| format!("10.0.0.{index}:80")).collect();
    let endpoints: Vec<Counter> = names
        .iter()
        .map(|name| registry.counter(&ENDPOINT, &[("endpoint", name)]))
        .collect();
    let _route = registry.counter(&REQUESTS, &[("route", "api")]);
    assert_eq!(lines_of(&registry, &ENDPOINT).len(), 5);
    assert_eq!(lines_of(&registry, &REQUESTS).len(), 1);
    drop(endpoints);
    let _one = registry.counter(&ENDPOINT, &[("endpoint", "10.0.0.99:80")]);
    assert_eq!(lines_of(&registry, &ENDPOINT).len(), 1);
}

#[test]
fn one_name_has_one_meaning() {
    static IMPOSTOR: Family = Family {
        name: "test_requests_total",
        help: "Something else.",
        kind: Kind::Gauge,
        buckets: None,
    };
    let registry = Registry::new(1);
    let counter = registry.counter(&REQUESTS, &[]);
    registry.gauge(&IMPOSTOR, &[]).set(77);
    assert_eq!(counter.value(), 0);
    assert_eq!(lines_of(&registry, &REQUESTS), ["test_requests_total 0"]);
}

#[test]
fn a_scrape_refreshes_first() {
    let registry = Registry::new(1);
    let gauge = registry.gauge(&IN_FLIGHT, &[]);
    registry.on_scrape(move || gauge.add(1));
    text(&registry, Format::Text);
    assert_eq!(lines_of(&registry, &IN_FLIGHT), ["test_in_flight 2"]);
}

#[test]
fn a_gauge_that_workers_moved_can_be_set() {
    let registry = Registry::new(1);
    let gauge = registry.gauge(&IN_FLIGHT, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            set_worker_shard(0);
            gauge.add(5);
        });
    });
    gauge.set(-2);
    assert_eq!(gauge.value(), -2);
    gauge.dec();
    gauge.inc();
    assert_eq!(lines_of(&registry, &IN_FLIGHT), ["test_in_flight -2"]);
}

#[test]
fn asking_and_dropping_at_once_from_many_threads_keeps_the_books() {
    let registry = Registry::new(1);
    let ask_and_drop = || {
        for round in 0..2_000 {
            let name = ["even", "odd"][round % 2];
            registry.counter(&REQUESTS, &[("route", name)]).inc();
            if round % 50 == 0 {
                text(&registry, Format::Text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(ask_and_drop);
        }
    });
    // Only the counter of refused series is left.
    assert_eq!(registry.shared.state().count, 1);
    assert!(lines_of(&registry, &REQUESTS).is_empty());
}
