//! What is told of endpoints, routes and upstreams that are not as they should be.

use super::super::tests;
use super::*;

fn endpoint(state: &str, backing_off: bool) -> Endpoint {
    Endpoint {
        why: "refused".into(),
        backing_off,
        ..tests::endpoint("10.0.0.1:80", "", state)
    }
}

fn upstream_of(endpoints: Vec<Endpoint>) -> Upstream {
    Upstream {
        healthy: 1,
        ..tests::upstream("api", endpoints)
    }
}

fn found(endpoints: Vec<Endpoint>) -> Option<String> {
    let (_, warning) = upstream(&upstream_of(endpoints))?;
    Some(format!("{}: {}", warning.about, warning.what))
}

#[test]
fn a_reason_has_the_numbers_of_an_ejection() {
    let mut ejected = endpoint("ejected", false);
    ejected.ejected_for_s = Some(12);
    ejected.ejections_in_a_row = 1;
    assert_eq!(
        reason(&ejected),
        "10.0.0.1:80: refused; ejected for 12s more"
    );
    ejected.ejections_in_a_row = 3;
    assert_eq!(
        reason(&ejected),
        "10.0.0.1:80: refused; ejected for 12s more, 3 times in a row"
    );
}

#[test]
fn who_has_no_room_is_told_of() {
    let mut route = Route {
        name: "api".into(),
        listener: "web".into(),
        action: "forward".into(),
        upstreams: Vec::new(),
        in_flight: 3,
        max_in_flight: Some(4),
        is_full: false,
        requests: 9,
        retries: 0,
        retries_refused: 0,
        hedges: 0,
        mean_s: None,
    };
    assert_eq!(full_route(&route), None);
    route.is_full = true;
    let (gravity, warning) = full_route(&route).expect("it is full");
    assert_eq!(gravity, Gravity::Outage);
    assert_eq!(warning.what, "has 4 requests under way, as many as it may");
    let mut upstream = upstream_of(Vec::new());
    assert_eq!(full_upstream(&upstream), None);
    upstream.waiting = 7;
    let what = |upstream: &Upstream| full_upstream(upstream).map(|(_, warning)| warning.what);
    assert_eq!(
        what(&upstream).as_deref(),
        Some("has 7 waiting for an endpoint with room")
    );
    (upstream.in_flight, upstream.max_in_flight) = (5, Some(5));
    assert_eq!(
        what(&upstream).as_deref(),
        Some("has 5 requests in flight, as many as it may, and 7 waiting")
    );
}

#[test]
fn an_endpoint_that_backs_off_is_not_as_it_should_be() {
    let well = || endpoint("healthy", false);
    assert_eq!(found(vec![well(), well()]), None);
    assert_eq!(
        found(vec![well(), endpoint("healthy", true)]).as_deref(),
        Some("upstream api: 1 of 2 endpoints is backing off after failed connections")
    );
    // The graver one is told; the table has the other.
    assert_eq!(
        found(vec![well(), endpoint("unhealthy", true)]).as_deref(),
        Some("upstream api: 1 of 2 endpoints is unhealthy")
    );
    let out = vec![
        well(),
        endpoint("unhealthy", false),
        endpoint("ejected", false),
    ];
    assert_eq!(
        found(out).as_deref(),
        Some("upstream api: 2 of 3 endpoints are unhealthy or ejected")
    );
}
