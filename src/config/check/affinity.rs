//! What ties clients to endpoints: that it does something, and that browsers take it.

use std::collections::BTreeSet;

use super::listeners::is_tcp;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Balance, SameSite, Upstream};
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let asked = asked_by_requests(world);
    for upstream in world.upstreams.values() {
        of_hashes(upstream, findings);
        same_site(upstream, findings);
        if world.is_whole() && !asked.contains(upstream.name) {
            of_requests(upstream, findings);
        }
    }
}

/// Where no hash decides, there is nothing to hash and nothing to bound.
fn of_hashes(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let balance = upstream
        .whole()
        .map(|written| written.balance.unwrap_or_default());
    if matches!(balance, None | Some(Balance::RingHash | Balance::Maglev)) {
        return;
    }
    for key in ["hash_by", "max_load"] {
        if upstream.has(&[key]) {
            let title = format!("`upstream.{}.{key}` does nothing", upstream.name);
            findings.push(
                Diagnostic::new(Code::NoEffect, title)
                    .at(
                        upstream.key_place(&[key]),
                        "it is for a balancer that hashes",
                    )
                    .help("`balance = \"ring_hash\"` and `balance = \"maglev\"` do"),
            );
        }
    }
}

/// What browsers refuse.
fn same_site(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let sticky = upstream.whole().and_then(|written| written.sticky.as_ref());
    let is_refused = sticky.is_some_and(|sticky| {
        sticky.same_site == Some(SameSite::None) && sticky.secure == Some(false)
    });
    if is_refused {
        let title = format!("browsers refuse the cookie of upstream `{}`", upstream.name);
        findings.push(
            Diagnostic::new(Code::InsecureSameSite, title)
                .at(
                    upstream.place(&["sticky", "same_site"]),
                    "only with `Secure`",
                )
                .also(upstream.place(&["sticky", "secure"]), "it goes without"),
        );
    }
}

/// Bytes and datagrams have an address, and nothing else that could tie them.
fn of_requests(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let hash_by = upstream.node.at(&["hash_by"]).and_then(Node::str);
    let mut idle = Vec::new();
    if hash_by.is_some_and(|by| by != "client_address") {
        idle.push("hash_by");
    }
    if upstream.has(&["sticky"]) {
        idle.push("sticky");
    }
    for key in idle {
        let title = format!("`upstream.{}.{key}` does nothing", upstream.name);
        findings.push(
            Diagnostic::new(Code::NoEffect, title)
                .at(upstream.key_place(&[key]), "it is about requests of HTTP")
                .help("no route and no listener for HTTP uses this upstream"),
        );
    }
}

/// The upstreams that get requests.
fn asked_by_requests<'a>(world: &World<'a>) -> BTreeSet<&'a str> {
    let mut asked = BTreeSet::new();
    for listener in world.listeners.values() {
        if !is_tcp(listener) {
            asked.extend(listener.node.at(&["upstream"]).and_then(Node::str));
        }
    }
    for route in world.routes.values() {
        if !route.has(&["server_name"]) {
            asked.extend(route.node.at(&["upstream"]).and_then(Node::str));
            let shares = route.node.at(&["split"]).and_then(Node::table);
            asked.extend(shares.into_iter().flatten().map(|(name, _)| name.as_str()));
        }
    }
    asked
}
