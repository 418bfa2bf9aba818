//! Retries that the time limit of the request cuts off.

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Route;
use crate::config::source::Place;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        let Some(limit) = request_limit(world, route) else {
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

/// As documented at `retry.attempts`.
const DEFAULT_ATTEMPTS: u32 = 2;
