//! What `min_healthy` promises, against the loss of each zone.

use std::collections::BTreeMap;

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Upstream;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        let needed = upstream
            .written
            .as_ref()
            .and_then(|written| written.min_healthy);
        let Some(needed) = needed.and_then(|needed| usize::try_from(needed).ok()) else {
            continue;
        };
        let endpoints = super::endpoints::nodes(upstream.node);
        let total = endpoints.len();
        if total < needed {
            findings.push(never(upstream, needed, total));
            continue;
        }
        let mut zones: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (zone, _) in endpoints {
            *zones.entry(zone).or_default() += 1;
        }
        // With all in one zone, or in none, nobody has planned for the loss of one.
        if zones.len() < 2 {
            continue;
        }
        for (zone, held) in zones {
            let Some(zone) = zone else { continue };
            if total - held < needed {
                findings.push(lost(upstream, zone, held, total, needed));
            }
        }
    }
}

fn never(upstream: &Item<'_, Upstream>, needed: usize, total: usize) -> Diagnostic {
    let title = format!(
        "upstream `{}` can never have {needed} healthy endpoints",
        upstream.name
    );
    let label = match total {
        1 => "there is 1 endpoint".to_owned(),
        _ => format!("there are {total} endpoints"),
    };
    Diagnostic::new(Code::NeverEnough, title).at(upstream.place(&["min_healthy"]), label)
}

fn lost(
    upstream: &Item<'_, Upstream>,
    zone: &str,
    held: usize,
    total: usize,
    needed: usize,
) -> Diagnostic {
    let left = total - held;
    let title = format!(
        "upstream `{}` does not survive the loss of zone `{zone}`",
        upstream.name
    );
    let are_needed = if needed == 1 {
        "1 is needed"
    } else {
        "are needed"
    };
    let needs = if needed == 1 {
        are_needed.to_owned()
    } else {
        format!("{needed} {are_needed}")
    };
    let more = needed - left;
    let plural = if more == 1 { "endpoint" } else { "endpoints" };
    Diagnostic::new(Code::ZoneLoss, title)
        .at(
            upstream.key_place(&["zone", zone]),
            format!("holds {held} of the {total} endpoints"),
        )
        .also(
            upstream.place(&["min_healthy"]),
            format!("{needs}, {left} would be left"),
        )
        .help(format!("add {more} {plural} outside `{zone}`"))
}
