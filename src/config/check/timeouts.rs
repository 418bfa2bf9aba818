//! Time limits where they do something.

use super::listeners::is_tcp;
use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        let (who, applicable) = if is_tcp(listener) {
            ("a TCP listener", &TCP_LISTENER[..])
        } else {
            ("a listener", &LISTENER[..])
        };
        let place = format!("listener.{}", listener.name);
        table(who, &place, listener.node, applicable, findings);
    }
    for route in world.routes.values() {
        let place = format!("route.{}", route.name);
        table("a route", &place, route.node, &ROUTE, findings);
    }
    for upstream in world.upstreams.values() {
        let place = format!("upstream.{}", upstream.name);
        table("an upstream", &place, upstream.node, &UPSTREAM, findings);
    }
}

fn table(who: &str, place: &str, node: &Node, applicable: &[&str], findings: &mut Findings) {
    let written = node.at(&["timeouts"]).and_then(Node::table);
    for (name, entry) in written.into_iter().flatten() {
        if !ALL.contains(&name.as_str()) || applicable.contains(&name.as_str()) {
            continue;
        }
        let title = format!("`{place}.timeouts.{name}` does nothing");
        let applicable: Vec<String> = applicable.iter().map(|name| format!("`{name}`")).collect();
        findings.push(
            Diagnostic::new(Code::TimeoutWithoutEffect, title)
                .at(entry.key, format!("{who} has no use for it"))
                .help(format!("time limits of {who}: {}", applicable.join(", "))),
        );
    }
}

/// From the client's side.
pub(in crate::config) const LISTENER: [&str; 4] =
    ["request_head", "client_idle", "body_idle", "tunnel_idle"];

/// From the client's side, where nothing is read.
pub(in crate::config) const TCP_LISTENER: [&str; 1] = ["tunnel_idle"];

/// What a request may take.
const ROUTE: [&str; 5] = [
    "request",
    "connect",
    "response_head",
    "body_idle",
    "tunnel_idle",
];

/// From the endpoint's side.
pub(in crate::config) const UPSTREAM: [&str; 5] = [
    "connect",
    "response_head",
    "upstream_idle",
    "body_idle",
    "tunnel_idle",
];

/// Unknown ones have been reported already.
const ALL: [&str; 8] = [
    "request_head",
    "client_idle",
    "body_idle",
    "connect",
    "response_head",
    "request",
    "upstream_idle",
    "tunnel_idle",
];
