//! Upstreams: that they have endpoints, and that their settings do something.

use super::udp::users;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Balance, OnRemoved, Upstream};
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        name(world, upstream, findings);
        endpoints(upstream, findings);
        weights(upstream, findings);
        panic_threshold(upstream, findings);
        removal(upstream, findings);
    }
    removal_of_datagrams(world, findings);
}

/// The unnamed upstream of a listener has a name after all, in metrics and logs.
fn name(world: &World<'_>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let name = upstream.name;
    let of_listener = name.strip_prefix("listener.");
    let Some(listener) = of_listener.and_then(|listener| world.listeners.get(listener)) else {
        return;
    };
    if listener.has(&["to"]) {
        let title = format!("two upstreams are called `{name}`");
        findings.push(
            Diagnostic::new(Code::DefinedTwice, title)
                .at(upstream.key, "another name is needed")
                .also(
                    listener.key_place(&["to"]),
                    "the unnamed upstream of a listener goes by that name",
                ),
        );
    }
}

fn endpoints(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(written) = upstream.whole() else {
        return;
    };
    for (zone, contents) in &written.zone {
        if contents.endpoints.is_empty() {
            let title = format!(
                "zone `{zone}` of upstream `{}` has no endpoints",
                upstream.name
            );
            let place = upstream.place(&["zone", zone, "endpoints"]);
            findings.push(Diagnostic::new(Code::NoEndpoints, title).at(place, "nothing in it"));
        }
    }
    if written.endpoints.are_destinations() {
        return;
    }
    if written.endpoints.listed().is_empty() && written.zone.is_empty() {
        let title = format!("upstream `{}` has no endpoints", upstream.name);
        let finding = Diagnostic::new(Code::NoEndpoints, title);
        let help = "`endpoints = [\"10.0.0.11:8080\"]`, here or in a [upstream.<name>.zone.<zone>]";
        let label = "`endpoints` or a `zone` is missing from this table";
        findings.push(match upstream.node.at(&["endpoints"]) {
            Some(empty) => finding.at(empty.place, "nothing in it"),
            None => finding.at(upstream.key, label).help(help),
        });
    }
}

/// The first healthy endpoint gets everything, whatever it weighs.
fn weights(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let balance = upstream
        .written
        .as_ref()
        .and_then(|written| written.balance);
    if balance != Some(Balance::FirstHealthy) {
        return;
    }
    let weighed = super::endpoints::nodes(upstream.node)
        .into_iter()
        .find_map(|(_, node)| node.at(&["weight"]));
    if let Some(weight) = weighed {
        let title = format!("weights in upstream `{}` do nothing", upstream.name);
        findings.push(
            Diagnostic::new(Code::NoEffect, title)
                .at(weight.place, "a share of the traffic")
                .also(upstream.place(&["balance"]), "one endpoint gets all of it"),
        );
    }
}

/// What ends at once cannot go on for a while.
fn removal(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let closes = upstream
        .written
        .as_ref()
        .is_some_and(|written| written.on_removed == Some(OnRemoved::Close));
    if closes && upstream.has(&["drain"]) {
        let title = format!(
            "upstream `{}` both closes connections at once and lets them go on",
            upstream.name
        );
        findings.push(
            Diagnostic::new(Code::DrainOfClosed, title)
                .at(upstream.key_place(&["drain"]), "they may go on for so long")
                .also(upstream.place(&["on_removed"]), "they end at once")
                .help("`on_removed = \"drain\"` lets them go on; else take `drain` out"),
        );
    }
}

/// Datagrams have no connections that could end.
fn removal_of_datagrams(world: &World<'_>, findings: &mut Findings) {
    let (of_udp, of_others) = users(world);
    for upstream in world.upstreams.values() {
        let is_of_udp = of_udp.contains(upstream.name) && !of_others.contains(upstream.name);
        for key in ["on_removed", "drain"] {
            let written = upstream.node.at(&[key]).and_then(Node::str);
            if world.is_whole() && is_of_udp && written.is_some_and(|text| text != "drain") {
                let title = format!("`upstream.{}.{key}` does nothing", upstream.name);
                findings.push(
                    Diagnostic::new(Code::NoEffect, title)
                        .at(upstream.key_place(&[key]), "it is about connections")
                        .help("only UDP listeners use this upstream: their sessions end by themselves"),
                );
            }
        }
    }
}

/// Without checks and outlier detection every endpoint counts as healthy.
fn panic_threshold(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let written = upstream.written.as_ref();
    let ejects = written.is_none_or(|written| written.outlier.enabled.unwrap_or(true));
    let is_judged = ejects || upstream.has(&["health"]);
    if upstream.sound && upstream.has(&["panic_threshold"]) && !is_judged {
        let title = format!("`upstream.{}.panic_threshold` does nothing", upstream.name);
        findings.push(
            Diagnostic::new(Code::NoEffect, title)
                .at(
                    upstream.key_place(&["panic_threshold"]),
                    "a share of healthy endpoints",
                )
                .help(
                    "without [upstream.<name>.health] and outlier detection all count as healthy",
                ),
        );
    }
}
