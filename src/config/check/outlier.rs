//! Outlier detection: that its times fit together.

use std::time::Duration;

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Upstream;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        findings.list.extend(times(upstream));
        findings.list.extend(looks(upstream));
    }
}

/// The first ejection cannot be longer than the longest.
fn times(upstream: &Item<'_, Upstream>) -> Option<Diagnostic> {
    let written = &upstream.written.as_ref()?.outlier;
    let first = written.eject_for?;
    let longest = written.eject_at_most.unwrap_or(AT_MOST);
    if first <= longest {
        return None;
    }
    let title = format!(
        "an ejection from upstream `{}` is longer than one may be",
        upstream.name
    );
    let place = upstream.place(&["outlier", "eject_for"]);
    let finding = Diagnostic::new(Code::EjectionTimes, title)
        .at(place, format!("the first one lasts {first}"));
    Some(match upstream.node.at(&["outlier", "eject_at_most"]) {
        Some(most) => finding.also(most.place, format!("none lasts longer than {longest}")),
        None => finding.help(format!("`eject_at_most` is {longest} unless it is set")),
    })
}

/// Whoever is out comes back at a look, so that there has to be one within the time.
fn looks(upstream: &Item<'_, Upstream>) -> Option<Diagnostic> {
    let written = &upstream.written.as_ref()?.outlier;
    let interval = written.interval?;
    let most = written.eject_at_most.unwrap_or(AT_MOST).0;
    let first = Time(written.eject_for.unwrap_or(FIRST).0.min(most));
    if interval <= first {
        return None;
    }
    let title = format!(
        "endpoints of upstream `{}` stay out for longer than they are ejected",
        upstream.name
    );
    let place = upstream.place(&["outlier", "interval"]);
    let label = format!("it is looked once in {interval}, and ejected for {first}");
    let finding = Diagnostic::new(Code::EjectionTimes, title).at(place, label);
    Some(finding.help("make `interval` shorter than the first ejection, or that longer"))
}

/// As documented at `outlier.eject_for`.
const FIRST: Time = Time(Duration::from_secs(30));

/// As documented at `outlier.eject_at_most`.
const AT_MOST: Time = Time(Duration::from_mins(5));
