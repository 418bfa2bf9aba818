//! From the snapshot in force to what the admin API shows of it.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{Endpoint, Fullest, Listener, Route, Upstream};
use crate::endpoint::Health;
use crate::snapshot::{self, Action, HttpListener, Kind, Snapshot};
use crate::{endpoint, upstream};

/// All listeners.
pub(crate) fn listeners(snapshot: &Snapshot) -> Vec<Listener> {
    let view = |listener: &std::sync::Arc<snapshot::Listener>| Listener {
        name: listener.name.to_string(),
        bind: listener.bind.to_string(),
        address: match &listener.sockets.path {
            Some(_) => listener.bind.to_string(),
            None => listener.sockets.local.to_string(),
        },
        protocol: match &listener.kind {
            Kind::Http(http) => versions(http, listener.tls.is_some()),
            Kind::Tcp(_) => "tcp".into(),
            Kind::Udp(_) => "udp".into(),
        },
        connections: listener.connections.load(Ordering::Relaxed),
        max_connections: listener.max_connections,
        waiting: u32::try_from(listener.queue.waiting()).unwrap_or(u32::MAX),
        per_client: limits(listener)
            .and_then(snapshot::Limits::clients)
            .map(view_fullest),
        per_subnet: limits(listener)
            .and_then(snapshot::Limits::networks)
            .map(view_fullest),
    };
    snapshot.listeners.iter().map(view).collect()
}

fn limits(listener: &snapshot::Listener) -> Option<&snapshot::Limits> {
    listener.limits.as_deref()
}

fn view_fullest(fullest: snapshot::Fullest) -> Fullest {
    let snapshot::Fullest {
        limit,
        connections,
        who,
        full,
    } = fullest;
    Fullest {
        limit,
        connections,
        who,
        full,
    }
}

/// The versions of HTTP that a listener speaks, as the configuration names them, the best first.
fn versions(http: &HttpListener, has_tls: bool) -> String {
    let http2 = if has_tls { "h2" } else { "h2c" };
    match (http.http2.is_some(), http.http1) {
        (true, true) => format!("{http2}, http/1.1"),
        (true, false) => http2.to_owned(),
        (false, _) => "http/1.1".to_owned(),
    }
}

/// All routes at all listeners; what no route takes comes last.
pub(crate) fn routes(snapshot: &Snapshot) -> Vec<Route> {
    let mut views = Vec::new();
    let mut rest = Vec::new();
    for listener in &snapshot.listeners {
        if let Kind::Http(http) = &listener.kind {
            let written = http.routes.targets();
            let all = written.chain(&http.fallback);
            views.extend(all.map(|route| view_route(&listener.name, route)));
            rest.push(view_route(&listener.name, &http.unrouted));
        }
    }
    for listener in &snapshot.listeners {
        let by_name = listener.by_name.iter();
        let routes = by_name.flat_map(|by_name| by_name.routes.targets());
        views.extend(routes.map(|route| view_by_name(&listener.name, route)));
    }
    views.sort_by(|one, other| {
        let key = |view: &Route| (view.name.clone(), view.listener.clone());
        key(one).cmp(&key(other))
    });
    views.append(&mut rest);
    views
}

/// A route that takes connections: what is under way there are sessions.
fn view_by_name(listener: &str, route: &snapshot::SessionRoute) -> Route {
    let names = route.choices().iter();
    let names = names.map(|choice| choice.upstream.name.to_string());
    Route {
        name: route.name.to_string(),
        listener: listener.to_owned(),
        action: "pass_through".to_owned(),
        upstreams: names.collect(),
        in_flight: route.active(),
        max_in_flight: None,
        is_full: false,
        requests: 0,
        retries: 0,
        retries_refused: 0,
        hedges: 0,
        mean_s: None,
    }
}

fn view_route(listener: &str, route: &snapshot::Route) -> Route {
    let (action, upstreams) = match &route.action {
        Action::Forward(split) => {
            let names = split.choices().iter();
            let names = names.map(|choice| choice.upstream.name.to_string());
            ("forward", names.collect())
        }
        Action::Redirect(_) => ("redirect", Vec::new()),
        Action::Respond(_) => ("respond", Vec::new()),
        Action::NotFound => ("not_found", Vec::new()),
    };
    let metrics = &route.metrics;
    let retries = &metrics.retries;
    Route {
        name: route.name.to_string(),
        listener: listener.to_owned(),
        action: action.to_owned(),
        upstreams,
        in_flight: metrics.in_flight(),
        max_in_flight: route.bulkhead.as_ref().map(snapshot::Bulkhead::most),
        is_full: route
            .bulkhead
            .as_ref()
            .is_some_and(snapshot::Bulkhead::is_full),
        requests: metrics.requests(),
        retries: retries.success.value() + retries.failure.value(),
        retries_refused: retries.refused(),
        hedges: metrics.hedges.won.value() + metrics.hedges.lost.value(),
        mean_s: metrics.duration.mean_seconds(),
    }
}

/// All upstreams.
pub(crate) fn upstreams(snapshot: &Snapshot) -> Vec<Upstream> {
    let upstreams = snapshot.upstreams.values();
    upstreams.map(|one| upstream(one)).collect()
}

/// One upstream.
pub(crate) fn upstream(upstream: &upstream::Upstream) -> Upstream {
    let now = Instant::now();
    let endpoints = upstream.endpoints();
    let (spent, allowed) = upstream.retry_budget().spent(now);
    let hedge_after = upstream.usual_wait().usual(now);
    let healths = endpoints
        .iter()
        .map(|endpoint| upstream.health_of(endpoint));
    Upstream {
        name: upstream.name.to_string(),
        standing: if upstream.leads_to_destinations() {
            DESTINATIONS.to_owned()
        } else {
            upstream.standing().as_str().to_owned()
        },
        is_checked: upstream.health_check().is_some(),
        tls: match upstream.tls() {
            None => String::new(),
            Some(tls) if tls.verifies() => VERIFIED.to_owned(),
            Some(_) => UNVERIFIED.to_owned(),
        },
        ejections_suspended: upstream.is_suspended(),
        balance: upstream.balance().to_owned(),
        in_flight: upstream.in_flight(),
        max_in_flight: upstream.max_in_flight(),
        waiting: upstream.waiting(),
        newest_first: upstream.is_newest_first(),
        retries: spent,
        retries_allowed: allowed,
        hedge_after_ms: hedge_after.and_then(|after| u64::try_from(after.as_millis()).ok()),
        healthy: healths.filter(|health| *health == Health::Healthy).count(),
        endpoints: endpoints
            .iter()
            .enumerate()
            .map(|(place, endpoint)| Endpoint {
                weight_percent: upstream.warmth(place, now),
                ..view_endpoint(endpoint, upstream.health_of(endpoint), now)
            })
            .collect(),
    }
}

fn view_endpoint(endpoint: &endpoint::Endpoint, health: Health, now: Instant) -> Endpoint {
    let live = &endpoint.live;
    let verdict = live.verdict();
    let since = verdict.as_ref().map(|verdict| verdict.since);
    let ejection = verdict.as_ref().and_then(|verdict| verdict.ejection);
    let ejection = ejection.filter(|_| health == Health::Ejected);
    Endpoint {
        name: endpoint.name.to_string(),
        address: endpoint.address.to_string(),
        zone: endpoint.zone.to_string(),
        state: health.as_str().to_owned(),
        for_s: since.map(|since| now.saturating_duration_since(since).as_secs()),
        why: verdict
            .map(|verdict| verdict.why.to_string())
            .unwrap_or_default(),
        ejected_for_s: ejection.map(|ejection| {
            let left = ejection.until.saturating_duration_since(now);
            left.as_secs()
        }),
        ejections_in_a_row: ejection.map_or(0, |ejection| ejection.count),
        backing_off: live.is_backing_off(now),
        backup: endpoint.backup,
        weight: endpoint.weight,
        weight_percent: 100,
        penalty: live.penalty_in_requests(now),
        late_in_a_row: live.read().late,
        sheds: live.is_shedding(now),
        in_flight: live.in_flight(),
        connections: live.connections(),
    }
}

/// The word for an upstream that leads to wherever connections were going.
pub(super) const DESTINATIONS: &str = "original_dst";

/// The word for an upstream whose endpoints have to prove who they are.
const VERIFIED: &str = "verified";

/// And for one whose endpoints need not.
pub(super) const UNVERIFIED: &str = "unverified";
