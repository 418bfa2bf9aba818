//! What becomes of a route's series when there is no room, and when its upstream goes.

use std::sync::Arc;

use http::Method;

use crate::snapshot::RouteMetrics;
use crate::telemetry::metrics::{Format, Registry};

fn route(registry: &Registry, name: &str) -> RouteMetrics {
    RouteMetrics::new(registry, &Arc::from("web"), &Arc::from(name))
}

fn serve(metrics: &RouteMetrics) {
    let _under_way = metrics.begin();
    metrics.count(&Method::GET, 200);
    metrics
        .duration
        .observe(std::time::Duration::from_millis(1));
}

#[track_caller]
fn assert_lists(registry: &Registry, present: &[&str], absent: &[&str]) {
    let mut text = String::new();
    registry.encode(Format::Text, &mut text);
    for wanted in present {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    for gone in absent {
        assert!(!text.contains(gone), "{gone} is in {text}");
    }
}

#[test]
fn a_route_that_nobody_uses_has_no_series() {
    let registry = Registry::new(1);
    let _route = route(&registry, "idle");
    assert_lists(&registry, &[], &["idle"]);
}

#[test]
fn a_route_without_room_gets_it_when_others_go() {
    let registry = Registry::with_limit(1, 4);
    let old: Vec<RouteMetrics> = (0..4)
        .map(|number| route(&registry, &format!("old-{number}")))
        .collect();
    old.iter().for_each(serve);
    let stays = route(&registry, "stays");
    let requests = r#"evenkeel_http_requests_total{listener="web",route="#;
    serve(&stays);
    let begun_before = stays.begin();
    let other = format!(r#"{requests}"_other",method="GET",code="200"}} 1"#);
    assert_lists(&registry, &[&other], &["stays"]);
    assert_eq!((stays.requests(), stays.in_flight()), (0, 0));
    drop(old);
    stays.settle(|_| true);
    serve(&stays);
    let own = format!(r#"{requests}"stays",method="GET",code="200"}} 1"#);
    let span = r#"evenkeel_http_request_duration_seconds_count{listener="web",route="stays"} 1"#;
    let none = r#"evenkeel_http_requests_in_flight{listener="web",route="_other"} 0"#;
    // What was begun in the company of others ends there.
    drop(begun_before);
    assert_lists(&registry, &[&own, span, none], &[]);
    assert_eq!((stays.requests(), stays.in_flight()), (1, 0));
}

#[test]
fn the_series_of_an_upstream_go_with_it() {
    let registry = Registry::new(1);
    let route = route(&registry, "split");
    for upstream in ["stays", "gone", ""] {
        route.count_error(&Arc::from(upstream), "connection_refused", None);
    }
    route.settle(|upstream| upstream == "stays");
    let of = |upstream: &str| format!(r#"upstream="{upstream}""#);
    assert_lists(&registry, &[&of("stays"), &of("")], &[&of("gone")]);
}
