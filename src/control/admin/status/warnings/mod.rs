//! What of a status needs attention, in words.

use super::collect::UNVERIFIED;
use super::{Certificate, Endpoint, Listener, REJECTED, Route, Upstream, Warning, field, since};
use crate::control::ready::Readiness;
use crate::control::refusals::{Owner, Refusal};
use crate::telemetry::events::Recorded;
use crate::telemetry::rfc3339;
use crate::upstream::Standing;

/// What warnings are found in.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) listeners: &'a [Listener],
    pub(super) routes: &'a [Route],
    pub(super) upstreams: &'a [Upstream],
    pub(super) certificates: &'a [Certificate],
    pub(super) last_reload: Option<&'a Recorded>,
    /// Renewals of certificates that are refused.
    pub(super) refusals: &'a [(Owner, Refusal)],
    /// Changes of the configuration in force that only a start can carry out.
    pub(super) waiting: Vec<String>,
    /// Whether secrets of sessions are written down.
    pub(super) logs_tls_keys: bool,
    pub(super) readiness: &'a Readiness,
}

/// Everything that needs attention, the gravest first.
pub(super) fn find(seen: &Seen<'_>) -> Vec<Warning> {
    let mut found: Vec<(Gravity, Warning)> = Vec::new();
    found.extend(not_ready(seen.readiness).map(|warning| (Gravity::Outage, warning)));
    found.extend(seen.upstreams.iter().filter_map(upstream));
    found.extend(seen.upstreams.iter().filter_map(unverified));
    found.extend(
        seen.listeners
            .iter()
            .filter_map(full)
            .map(|warning| (Gravity::Outage, warning)),
    );
    found.extend(seen.routes.iter().filter_map(full_route));
    found.extend(seen.upstreams.iter().filter_map(full_upstream));
    found.extend(seen.upstreams.iter().filter_map(no_more_retries));
    found.extend(seen.certificates.iter().filter_map(certificate));
    found.extend(seen.certificates.iter().filter_map(staple));
    found.extend(
        seen.refusals
            .iter()
            .map(|refusal| (Gravity::Weakened, not_renewed(refusal))),
    );
    if seen.logs_tls_keys {
        let what = "has the secrets of TLS sessions written down (log.tls_keys)";
        let effect = "whoever has that file can read all traffic";
        found.push((Gravity::Weakened, warning("configuration", what, effect)));
    }
    found.extend(last_good(seen.readiness).map(|warning| (Gravity::Weakened, warning)));
    found.extend(
        seen.last_reload
            .and_then(rejected)
            .map(|warning| (Gravity::Weakened, warning)),
    );
    found.extend(
        seen.waiting
            .iter()
            .map(|change| (Gravity::Waiting, warning("configuration", change, ""))),
    );
    // Stable: within one gravity the order above stays.
    found.sort_by_key(|(gravity, _)| *gravity);
    found.into_iter().map(|(_, warning)| warning).collect()
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gravity {
    /// Requests fail.
    Outage,
    /// Requests are served, with less in reserve than there should be.
    Weakened,
    /// Nothing is wrong, and something is left to do.
    Waiting,
}

fn not_ready(readiness: &Readiness) -> Option<Warning> {
    if readiness.is_ready() {
        return None;
    }
    if readiness.is_draining() {
        let effect = "what is running finishes; new traffic should go elsewhere";
        return Some(warning("instance", "is about to end", effect));
    }
    let checks = readiness.checks();
    let failing = checks.iter().filter(|check| !check.holds);
    let why = failing
        .map(|check| format!("{} failed", check.name))
        .collect();
    let not_ready = warning("instance", "is not ready", "no traffic should be sent here");
    Some(Warning { why, ..not_ready })
}

fn full(listener: &Listener) -> Option<Warning> {
    let (connections, most) = (listener.connections, listener.max_connections);
    (connections >= most).then(|| {
        warning(
            &format!("listener {}", listener.name),
            &format!("has {connections} connections, as many as it takes"),
            "further connections are refused: see max_connections",
        )
    })
}

fn full_route(route: &Route) -> Option<(Gravity, Warning)> {
    let most = route.max_in_flight.filter(|_| route.is_full)?;
    let full = warning(
        &format!("route {} of listener {}", route.name, route.listener),
        &format!("has {most} requests under way, as many as it may"),
        "further ones are answered with 503: see max_in_flight",
    );
    Some((Gravity::Outage, full))
}

/// No room is no outage: the queue is there for that, and may be empty in a moment.
fn full_upstream(upstream: &Upstream) -> Option<(Gravity, Warning)> {
    let waiting = upstream.waiting;
    let limit = upstream
        .max_in_flight
        .filter(|most| upstream.in_flight >= *most);
    let what = match (waiting, limit) {
        (0, None) => return None,
        (waiting, _) if upstream.newest_first => {
            format!("has {waiting} waiting, the newest first: more come than can be served")
        }
        (0, Some(most)) => format!("has {most} requests in flight, as many as it may"),
        (waiting, None) => format!("has {waiting} waiting for an endpoint with room"),
        (waiting, Some(most)) => {
            format!("has {most} requests in flight, as many as it may, and {waiting} waiting")
        }
    };
    let about = format!("upstream {}", upstream.name);
    let effect = "who waits for too long is answered with 503: see queue";
    Some((Gravity::Weakened, warning(&about, &what, effect)))
}

fn certificate(certificate: &Certificate) -> Option<(Gravity, Warning)> {
    let until = &certificate.not_after;
    let refused = if certificate.listener.is_empty() {
        "endpoints refuse it"
    } else {
        "clients refuse it"
    };
    let (gravity, what, effect) = match certificate.state.as_str() {
        "expired" => (Gravity::Outage, format!("has expired at {until}"), refused),
        "early" => (
            Gravity::Outage,
            format!("is not valid before {}", certificate.not_before),
            refused,
        ),
        "expiring" => (
            Gravity::Weakened,
            format!("expires at {until}"),
            "it will be refused then: see whether it is renewed",
        ),
        _ => return None,
    };
    let file = &certificate.file;
    let about = if certificate.listener.is_empty() {
        format!("certificate {file} of upstream {}", certificate.upstream)
    } else {
        format!("certificate {file} of listener {}", certificate.listener)
    };
    Some((gravity, warning(&about, &what, effect)))
}

fn staple(certificate: &Certificate) -> Option<(Gravity, Warning)> {
    let ocsp = certificate.ocsp.as_ref().filter(|ocsp| !ocsp.is_shown)?;
    let about = format!(
        "OCSP response {} of listener {}",
        ocsp.file, certificate.listener
    );
    let what = if ocsp.why.is_empty() {
        format!("does not hold now: its time ends at {}", ocsp.next_update)
    } else {
        ocsp.why.clone()
    };
    let effect = "it is not shown: see whether a newer one is fetched";
    Some((Gravity::Weakened, warning(&about, &what, effect)))
}

fn not_renewed((owner, refusal): &(Owner, Refusal)) -> Warning {
    let (kind, name) = owner.kind_and_name();
    let refused = warning(
        &format!("{kind} {name}"),
        "has new files for TLS that are refused",
        "what was read before stays in force, until it expires",
    );
    Warning {
        why: vec![refusal.why.clone()],
        for_s: Some(since(refusal.since)),
        ..refused
    }
}

fn last_good(readiness: &Readiness) -> Option<Warning> {
    let instead = readiness.instead()?;
    let kept = instead.kept.map(rfc3339).unwrap_or_default();
    let what = format!(
        "is the last good one, of {kept}: {} cannot be put in force",
        instead.file
    );
    let effect = "traffic is served as it was then; mend the file, then `evenkeel reload`";
    Some(Warning {
        why: instead.why.clone(),
        for_s: Some(since(instead.since)),
        ..warning("configuration", &what, effect)
    })
}

fn rejected(last: &Recorded) -> Option<Warning> {
    (last.event.kind == REJECTED).then(|| {
        let by = field(last, "by");
        let refused = warning(
            "configuration",
            &format!("the last reload (by {by}) was refused"),
            "the configuration before it goes on unchanged",
        );
        Warning {
            why: vec![last.event.why.clone()],
            for_s: Some(since(last.at)),
            ..refused
        }
    })
}

fn upstream(upstream: &Upstream) -> Option<(Gravity, Warning)> {
    let is_out = |endpoint: &&Endpoint| OUT.contains(&endpoint.state.as_str());
    let out: Vec<&Endpoint> = upstream.endpoints.iter().filter(is_out).collect();
    let (all, bad) = (upstream.endpoints.len(), out.len());
    let is = |standing: Standing| upstream.standing == standing.as_str();
    let (gravity, what, effect) = if is(Standing::Empty) {
        (Gravity::Outage, "has no endpoints".to_owned(), REFUSED)
    } else if is(Standing::Down) {
        (
            Gravity::Outage,
            "has no healthy endpoint".to_owned(),
            REFUSED,
        )
    } else if is(Standing::Panic) {
        let what = format!(
            "ignores health: only {} of {all} endpoints are healthy",
            upstream.healthy
        );
        (
            Gravity::Outage,
            what,
            "all of them get traffic, healthy or not",
        )
    } else if is(Standing::Backup) {
        let what = "lives on its backups: no other endpoint is healthy".to_owned();
        (Gravity::Weakened, what, "the backups get all traffic")
    } else if is(Standing::Unproven) {
        let what = "has no endpoint that a check has passed yet".to_owned();
        (
            Gravity::Weakened,
            what,
            "endpoints that were not checked yet get the traffic",
        )
    } else if upstream.ejections_suspended {
        let what = "has many endpoints whose requests fail".to_owned();
        (
            Gravity::Outage,
            what,
            "none is ejected: see what they share",
        )
    } else if bad > 0 {
        let what = format!("{bad} of {all} endpoints {} {}", are(bad), states(&out));
        (Gravity::Weakened, what, OTHERS)
    } else {
        return backing_off(upstream).map(|warning| (Gravity::Weakened, warning));
    };
    let warning = Warning {
        why: reasons(&out),
        for_s: out.iter().filter_map(|endpoint| endpoint.for_s).max(),
        ..warning(&format!("upstream {}", upstream.name), &what, effect)
    };
    Some((gravity, warning))
}

/// What a budget is there for: retries would be more than the upstream should bear.
fn no_more_retries(upstream: &Upstream) -> Option<(Gravity, Warning)> {
    let (made, allowed) = (upstream.retries, upstream.retries_allowed);
    (allowed > 0 && made >= allowed).then(|| {
        let about = format!("upstream {}", upstream.name);
        let what = format!("has had {made} retries in ten seconds, as many as it may");
        let effect = "what fails is not tried again: see what fails, and retry_budget";
        (Gravity::Weakened, warning(&about, &what, effect))
    })
}

fn unverified(upstream: &Upstream) -> Option<(Gravity, Warning)> {
    if upstream.tls != UNVERIFIED {
        return None;
    }
    let about = format!("upstream {}", upstream.name);
    let what = "takes any certificate of its endpoints: insecure_skip_verify is set";
    let effect = "who sits between reads and changes everything";
    Some((Gravity::Weakened, warning(&about, what, effect)))
}

/// Endpoints that no check has found unhealthy, while connections to them fail. One line: it may be
/// over in a second, and the table says for which upstream.
fn backing_off(upstream: &Upstream) -> Option<Warning> {
    let is_backing_off = |endpoint: &&Endpoint| endpoint.backing_off;
    let number = upstream.endpoints.iter().filter(is_backing_off).count();
    let all = upstream.endpoints.len();
    if number == 0 {
        return None;
    }
    let are = are(number);
    let what = format!("{number} of {all} endpoints {are} backing off after failed connections");
    Some(warning(&format!("upstream {}", upstream.name), &what, ""))
}

/// In which ways endpoints are out: `unhealthy`, or `unhealthy or ejected`.
fn states(out: &[&Endpoint]) -> String {
    let is_there = |state: &&str| out.iter().any(|endpoint| endpoint.state == **state);
    let states: Vec<&str> = OUT.into_iter().filter(is_there).collect();
    states.join(" or ")
}

fn reasons(out: &[&Endpoint]) -> Vec<String> {
    let mut reasons: Vec<String> = out.iter().take(REASONS).map(|one| reason(one)).collect();
    if out.len() > REASONS {
        reasons.push(format!("and {} more", out.len() - REASONS));
    }
    reasons
}

fn reason(endpoint: &Endpoint) -> String {
    let Endpoint { name, why, .. } = endpoint;
    match (endpoint.ejected_for_s, endpoint.ejections_in_a_row) {
        (None, _) => format!("{name}: {why}"),
        (Some(left), 0 | 1) => format!("{name}: {why}; ejected for {left}s more"),
        (Some(left), row) => {
            format!("{name}: {why}; ejected for {left}s more, {row} times in a row")
        }
    }
}

fn warning(about: &str, what: &str, effect: &str) -> Warning {
    Warning {
        about: about.to_owned(),
        what: what.to_owned(),
        why: Vec::new(),
        effect: effect.to_owned(),
        for_s: None,
    }
}

fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

const REFUSED: &str = "its requests are answered with 503";

/// The states of an endpoint that gets no traffic, or next to none.
const OUT: [&str; 3] = ["unhealthy", "ejected", "half_open"];

const OTHERS: &str = "the others get its traffic";

/// Enough to see the pattern; `/v1/upstreams` has all.
const REASONS: usize = 5;

#[cfg(test)]
mod tests;
