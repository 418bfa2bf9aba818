//! Fields that belong to the connection, which no route may edit or match.

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Route;
use crate::config::node::Node;
use crate::config::source::Place;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        for edits in ["request_headers", "response_headers"] {
            for edit in ["set", "add"] {
                let table = route.node.at(&[edits, edit]).and_then(Node::table);
                for (field, entry) in table.into_iter().flatten() {
                    edited(route, field, entry.key, findings);
                }
            }
            let removed = route.node.at(&[edits, "remove"]);
            for item in removed.map_or(&[][..], Node::items) {
                if let Some(field) = item.str().filter(|_| !item.faulty) {
                    edited(route, field, item.place, findings);
                }
            }
        }
        let conditions = route.node.at(&["headers"]).and_then(Node::table);
        for (field, entry) in conditions.into_iter().flatten() {
            matched(route, field, entry.key, findings);
        }
    }
    for upstream in world.upstreams.values() {
        let fields = upstream
            .node
            .at(&["health", "http", "headers"])
            .and_then(Node::table);
        for (field, entry) in fields.into_iter().flatten() {
            probed(upstream.name, field, entry.key, findings);
        }
    }
}

fn edited(route: &Item<'_, Route>, field: &str, place: Place, findings: &mut Findings) {
    let finding = |label: &str| {
        let title = format!("route `{}` cannot edit the field `{field}`", route.name);
        Diagnostic::new(Code::ReservedField, title).at(place, label)
    };
    if is(field, &["host"]) {
        let found = finding("the host belongs to the target of the request");
        findings.push(found.help("`rewrite = { host = \"…\" }` changes it"));
    } else if is(field, &FRAMING) {
        findings.push(finding(
            "it frames the body, and is made from the body itself",
        ));
    } else if is(field, &HOP_BY_HOP) {
        findings.push(finding(
            "it is about one connection, and not forwarded at all",
        ));
    }
}

fn matched(route: &Item<'_, Route>, field: &str, place: Place, findings: &mut Findings) {
    let finding = |label: &str| {
        let title = format!("route `{}` cannot match the field `{field}`", route.name);
        Diagnostic::new(Code::ReservedField, title).at(place, label)
    };
    if is(field, &["host"]) {
        let found = finding("the host belongs to the target of the request");
        findings.push(found.help("`hosts = [\"…\"]` matches it"));
    } else if is(field, &HOP_BY_HOP) || is(field, &["transfer-encoding"]) {
        findings.push(finding(
            "it is about one connection, and routes do not see it",
        ));
    }
}

fn probed(upstream: &str, field: &str, place: Place, findings: &mut Findings) {
    let title = format!("the health check of upstream `{upstream}` cannot send `{field}`");
    let finding = Diagnostic::new(Code::ReservedField, title);
    if is(field, &["host"]) {
        let found = finding.at(place, "the host belongs to the target of the request");
        findings.push(found.help("`http = { host = \"…\" }` sets it"));
    } else if is(field, &FRAMING) || is(field, &HOP_BY_HOP) {
        findings.push(finding.at(place, "it belongs to the connection"));
    }
}

fn is(field: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(field))
}

/// RFC 9112 §6.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// RFC 9110 §7.6.1, and RFC 7540 §3.2.1 for what upgrades to HTTP/2 used.
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
];
