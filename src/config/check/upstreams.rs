//! Upstreams: that they have endpoints, are used, and that their settings do something.

use std::collections::BTreeSet;

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Balance, Upstream};
use crate::config::near::nearest;
use crate::config::node::{Node, Value};

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        name(world, upstream, findings);
        endpoints(upstream, findings);
        weights(upstream, findings);
        panic_threshold(upstream, findings);
    }
    if world.is_whole() {
        unused(world, findings);
    }
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
    if written.endpoints.is_empty() && written.zone.is_empty() {
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

/// Without checks every endpoint counts as healthy.
fn panic_threshold(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    if upstream.sound && upstream.has(&["panic_threshold"]) && !upstream.has(&["health"]) {
        let title = format!("`upstream.{}.panic_threshold` does nothing", upstream.name);
        findings.push(
            Diagnostic::new(Code::NoEffect, title)
                .at(
                    upstream.key_place(&["panic_threshold"]),
                    "a share of healthy endpoints",
                )
                .help("without [upstream.<name>.health] no endpoint is ever unhealthy"),
        );
    }
}

fn unused(world: &World<'_>, findings: &mut Findings) {
    let used = used(world);
    for upstream in world.upstreams.values() {
        if !used.contains(upstream.name) {
            let title = format!("nothing sends traffic to upstream `{}`", upstream.name);
            findings.push(
                Diagnostic::new(Code::UnusedUpstream, title)
                    .at(upstream.key, "no route and no listener names it"),
            );
        }
    }
}

/// Every upstream that is named, or was probably meant by a name that does not exist.
fn used<'a>(world: &World<'a>) -> BTreeSet<&'a str> {
    let routes = world.routes.values().map(|route| route.node);
    let listeners = world.listeners.values().map(|listener| listener.node);
    let mut wanted: Vec<&str> = Vec::new();
    for node in routes.chain(listeners) {
        wanted.extend(node.at(&["upstream"]).and_then(Node::str));
        if let Some(Value::Table(shares)) = node.at(&["split"]).map(|node| &node.value) {
            wanted.extend(shares.keys().map(String::as_str));
        }
    }
    let known = |name: &str| -> Option<&'a str> {
        let exact = world.upstreams.get_key_value(name).map(|(name, _)| *name);
        exact.or_else(|| nearest(name, world.upstreams.keys().copied()))
    };
    wanted.into_iter().filter_map(known).collect()
}
