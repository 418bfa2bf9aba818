//! Retries that the time limit of the request cuts off, or that nothing leads to; and hedges that
//! would do harm, or are never made.

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Retry, RetryCause, Route, StatusPattern};
use crate::config::source::Place;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        hedged(route, findings);
        if let Some(written) = &route.written {
            statuses(route, &written.retry, findings);
            without_effect(route, &written.retry, findings);
        }
        let limit = request_limit(world, route);
        never_hedged(route, limit, findings);
        let Some(limit) = limit else {
            continue;
        };
        let found = per_try(route, limit).or_else(|| connects(world, route, limit));
        findings.list.extend(found);
    }
}

/// A time and where it is written.
#[derive(Clone, Copy)]
struct Written {
    time: Time,
    place: Place,
}

fn request_limit(world: &World<'_>, route: &Item<'_, Route>) -> Option<Written> {
    let keys = &["timeouts", "request"];
    let own = route.written.as_ref()?.timeouts.request;
    own.map(|time| Written {
        time,
        place: route.place(keys),
    })
    .or_else(|| inherited(world, "request", world.defaults.timeouts.request))
}

fn inherited(world: &World<'_>, key: &str, time: Option<Time>) -> Option<Written> {
    let place = world.root.at(&["defaults", "timeouts", key])?.place;
    time.map(|time| Written { time, place })
}

fn attempts(route: &Item<'_, Route>) -> u32 {
    let written = route
        .written
        .as_ref()
        .and_then(|route| route.retry.attempts);
    written.map_or(DEFAULT_ATTEMPTS, u32::from)
}

fn per_try(route: &Item<'_, Route>, limit: Written) -> Option<Diagnostic> {
    let time = route.written.as_ref()?.retry.per_try_timeout?;
    let each = Written {
        time,
        place: route.place(&["retry", "per_try_timeout"]),
    };
    let help = "lower `per_try_timeout` or `attempts`";
    cut_off(route, limit, each, "", help)
}

/// Attempts to connect alone. The defaults are not held against a short limit: whoever wrote
/// neither has chosen neither.
fn connects(world: &World<'_>, route: &Item<'_, Route>, limit: Written) -> Option<Diagnostic> {
    let written = route.written.as_ref()?;
    let keys = &["timeouts", "connect"];
    let own = written.timeouts.connect.map(|time| Written {
        time,
        place: route.place(keys),
    });
    let of_upstream = || {
        let upstream = world.upstreams.get(written.upstream.as_deref()?)?;
        let time = upstream.written.as_ref()?.timeouts.connect?;
        Some(Written {
            time,
            place: upstream.place(keys),
        })
    };
    let each = own
        .or_else(of_upstream)
        .or_else(|| inherited(world, "connect", world.defaults.timeouts.connect))?;
    let help = "lower the `connect` timeout or `attempts`";
    cut_off(route, limit, each, " to connect", help)
}

fn cut_off(
    route: &Item<'_, Route>,
    limit: Written,
    each: Written,
    doing: &str,
    help: &str,
) -> Option<Diagnostic> {
    let attempts = attempts(route);
    let needed = Time(each.time.0.checked_mul(attempts)?);
    if needed <= limit.time || limit.place == each.place {
        return None;
    }
    let name = route.name;
    let title = match attempts {
        1 => format!("route `{name}`: the attempt can never use its time"),
        _ => format!("route `{name}`: the last of {attempts} attempts can never finish"),
    };
    let label = format!("the whole request ends after {}", limit.time);
    let plural = if attempts == 1 { "attempt" } else { "attempts" };
    let each_label = format!("{attempts} {plural}{doing} of {} need {needed}", each.time);
    Some(
        Diagnostic::new(Code::RetriesCannotFinish, title)
            .at(limit.place, label)
            .also(each.place, each_label)
            .help(format!(
                "raise `timeouts.request` to at least {needed}, or {help}"
            )),
    )
}

fn hedged(route: &Item<'_, Route>, findings: &mut Findings) {
    let hedge = route.written.as_ref().and_then(|it| it.hedge.as_ref());
    let Some(methods) = hedge.and_then(|hedge| hedge.methods.as_ref()) else {
        return;
    };
    let Some(method) = methods.iter().find(|it| !IDEMPOTENT.contains(&it.as_str())) else {
        return;
    };
    let title = format!("route `{}` hedges {method}", route.name);
    findings.push(
        Diagnostic::new(Code::HedgedMethod, title)
            .at(
                route.place(&["hedge", "methods"]),
                format!("two endpoints may carry out one {method}"),
            )
            .help(format!("only {} may be here", IDEMPOTENT.join(", "))),
    );
}

/// A hedge that would be asked when there is nothing to wait for any more.
fn never_hedged(route: &Item<'_, Route>, limit: Option<Written>, findings: &mut Findings) {
    let Some(written) = &route.written else {
        return;
    };
    let Some(after) = written.hedge.as_ref().and_then(|hedge| hedge.after) else {
        return;
    };
    let per_try = written.retry.per_try_timeout.map(|time| Written {
        time,
        place: route.place(&["retry", "per_try_timeout"]),
    });
    let limits = [("the request", limit), ("the attempt", per_try)];
    let passed = limits.into_iter().find_map(|(what, limit)| {
        let limit = limit.filter(|limit| limit.time <= after)?;
        Some((what, limit))
    });
    let Some((what, limit)) = passed else {
        return;
    };
    let title = format!("route `{}` is never hedged", route.name);
    let label = format!("a second endpoint is asked after {after}");
    findings.push(
        Diagnostic::new(Code::RetryWithoutEffect, title)
            .at(route.place(&["hedge", "after"]), label)
            .also(limit.place, format!("{what} ends after {}", limit.time)),
    );
}

fn statuses(route: &Item<'_, Route>, retry: &Retry, findings: &mut Findings) {
    let begins_low = |pattern: &&StatusPattern| match pattern {
        StatusPattern::Code(code) => *code < 400,
        StatusPattern::Range(text) => text.starts_with(['1', '2', '3']),
    };
    if retry.statuses.iter().any(|it| begins_low(&it)) {
        let title = format!("route `{}` repeats what has not failed", route.name);
        findings.push(Diagnostic::new(Code::RetriedStatus, title).at(
            route.place(&["retry", "statuses"]),
            "400 to 599 are failures",
        ));
    }
}

fn without_effect(route: &Item<'_, Route>, retry: &Retry, findings: &mut Findings) {
    if let (Some(first), Some(most)) = (retry.backoff, retry.backoff_at_most)
        && first > most
    {
        let title = format!("route `{}` never pauses for its `backoff`", route.name);
        findings.push(
            Diagnostic::new(Code::RetryWithoutEffect, title)
                .at(
                    route.place(&["retry", "backoff"]),
                    "the longest first pause",
                )
                .also(
                    route.place(&["retry", "backoff_at_most"]),
                    format!("every pause ends after {most}"),
                ),
        );
    }
    if retry.on.as_deref() == Some(&[RetryCause::Timeout]) && retry.per_try_timeout.is_none() {
        let title = format!("`route.{}.retry.on` names what never happens", route.name);
        findings.push(
            Diagnostic::new(Code::RetryWithoutEffect, title)
                .at(
                    route.place(&["retry", "on"]),
                    "`timeout` is the limit of one attempt",
                )
                .help("write `per_try_timeout`, or other causes"),
        );
    }
    if retry.attempts != Some(1) {
        return;
    }
    for key in OF_FURTHER_ATTEMPTS {
        if route.has(&["retry", key]) {
            let title = format!("`route.{}.retry.{key}` does nothing", route.name);
            findings.push(
                Diagnostic::new(Code::RetryWithoutEffect, title)
                    .at(
                        route.key_place(&["retry", key]),
                        "it is about further attempts",
                    )
                    .also(route.place(&["retry", "attempts"]), "there are none"),
            );
        }
    }
}

/// RFC 9110 §9.2.2, without those that are not passed on.
const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

/// What says when and how an attempt is repeated. A body is kept all the same, for kept connections
/// that turn out closed.
const OF_FURTHER_ATTEMPTS: [&str; 6] = [
    "on",
    "statuses",
    "grpc_codes",
    "methods",
    "backoff",
    "backoff_at_most",
];

/// As documented at `retry.attempts`.
const DEFAULT_ATTEMPTS: u32 = 2;
