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
        r#"# HELP evenkeel_metrics_series_dropped_total Series that were left out because of the limit, or put together with others.
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

/// Handles of this many routes.
fn routes(registry: &Registry, count: usize) -> Vec<Counter> {
    (0..count)
        .map(|route| registry.counter(&REQUESTS, &[("route", &route.to_string())]))
        .collect()
}

fn dropped(registry: &Registry) -> String {
    lines_of(registry, &REFUSED).concat()
}

#[test]
fn beyond_the_limit_the_rest_is_added_up() {
    let registry = Registry::with_limit(1, 4);
    let counters = routes(&registry, 7);
    counters.iter().for_each(Counter::inc);
    assert_eq!(
        lines_of(&registry, &REQUESTS),
        [
            "test_requests_total{route=\"0\"} 1",
            "test_requests_total{route=\"1\"} 1",
            "test_requests_total{route=\"2\"} 1",
            "test_requests_total{route=\"3\"} 1",
            "test_requests_total{route=\"_other\"} 3",
        ]
    );
    let own = counters.iter().filter(|counter| counter.is_own());
    assert_eq!(own.count(), 4);
    assert_eq!(
        dropped(&registry),
        "evenkeel_metrics_series_dropped_total 3"
    );
    drop(counters);
    let _again = registry.counter(&REQUESTS, &[("route", "d")]);
    assert_eq!(lines_of(&registry, &REQUESTS).len(), 1);
}

#[test]
fn labels_of_closed_lists_stay_apart_when_routes_are_added_up() {
    let registry = Registry::with_limit(1, 8);
    let _full = routes(&registry, 8);
    let mut shared = Vec::new();
    for (route, code) in [("x", "200"), ("y", "200"), ("y", "500")] {
        let labels = [("listener", "web"), ("route", route), ("code", code)];
        let counter = registry.counter(&REQUESTS, &labels);
        counter.inc();
        shared.push(counter);
    }
    let lines = lines_of(&registry, &REQUESTS);
    let others = lines.iter().filter(|line| line.contains("_other"));
    assert_eq!(
        others.collect::<Vec<_>>(),
        [
            "test_requests_total{listener=\"web\",route=\"_other\",code=\"200\"} 2",
            "test_requests_total{listener=\"web\",route=\"_other\",code=\"500\"} 1",
        ]
    );
    // What is shared has a limit too.
    let hidden = registry.counter(&REQUESTS, &[("route", "z"), ("code", "404")]);
    assert!(!hidden.is_own());
    assert!(!text(&registry, Format::Text).contains("404"));
}

#[test]
fn what_is_set_is_not_added_up() {
    let registry = Registry::with_limit(1, 1);
    let gauge = |route| registry.gauge(&IN_FLIGHT, &[("route", route)]);
    let (first, second) = (gauge("first"), gauge("second"));
    first.set(1);
    second.set(2);
    assert_eq!(
        lines_of(&registry, &IN_FLIGHT),
        ["test_in_flight{route=\"first\"} 1"]
    );
}

#[test]
fn what_is_added_to_is() {
    let registry = Registry::with_limit(1, 4);
    let level = |route| registry.level(&IN_FLIGHT, &[("route", route)]);
    let levels = ["a", "b", "c", "d", "e", "f"].map(level);
    levels.iter().for_each(Gauge::inc);
    let lines = lines_of(&registry, &IN_FLIGHT);
    assert_eq!(lines[0], "test_in_flight{route=\"_other\"} 2");
}

/// A thousand routes once left no room for what alerts are built on.
#[test]
fn no_family_displaces_another() {
    let registry = Registry::with_limit(1, 4);
    let _routes = routes(&registry, 20);
    let _spans: Vec<Histogram> = ["a", "b", "c"]
        .map(|route| registry.histogram(&DURATION, &[("route", route)]))
        .into();
    let _instance = registry.gauge(&IN_FLIGHT, &[]);
    let _listeners: Vec<Gauge> = (0..9)
        .map(|name| registry.level(&IN_FLIGHT, &[("listener", &name.to_string())]))
        .collect();
    let endpoints: Vec<Counter> = (0..9)
        .map(|name| registry.counter(&ENDPOINT, &[("endpoint", &name.to_string())]))
        .collect();
    assert_eq!(lines_of(&registry, &IN_FLIGHT).len(), 10);
    // Histograms are wide, and endpoints are many: they get less, and each a line for the rest.
    let histograms = lines_of(&registry, &DURATION);
    let counts = histograms.iter().filter(|line| line.contains("_count"));
    assert_eq!(counts.count(), 2, "{histograms:?}");
    assert_eq!(lines_of(&registry, &ENDPOINT).len(), 3);
    drop(endpoints);
    let _one = registry.counter(&ENDPOINT, &[("endpoint", "10.0.0.99:80")]);
    assert_eq!(lines_of(&registry, &ENDPOINT).len(), 1);
}

#[test]
fn what_found_no_room_is_asked_for_again() {
    let registry = Registry::with_limit(1, 4);
    let before = routes(&registry, 4);
    let late = Late::default();
    let make = || registry.counter(&REQUESTS, &[("route", "late")]);
    let has_room = || registry.has_room(&REQUESTS, &["route"], 1);
    late.get(make).inc();
    late.settle(has_room, make);
    assert!(late.own().is_none());
    drop(before);
    late.settle(has_room, make);
    late.get(make).add(5);
    assert_eq!(late.own().map(Counter::value), Some(5));
    assert_eq!(
        lines_of(&registry, &REQUESTS),
        [
            "test_requests_total{route=\"_other\"} 1",
            "test_requests_total{route=\"late\"} 5",
        ]
    );
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
    assert_eq!(registry.shared.state().families.len(), 1);
    assert!(lines_of(&registry, &REQUESTS).is_empty());
}
