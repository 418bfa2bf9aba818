//! What datagrams cannot have, and what is asked of their endpoints by other means.

use std::collections::BTreeSet;

use super::endpoints::{address_of, nodes};
use super::listeners::is_udp;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Listener, Upstream};
use crate::config::node::Node;
use crate::config::syntax::address::Endpoint;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values().filter(|one| is_udp(one)) {
        let tls = listener.node.key_at(&["tls"]);
        if let Some(place) = tls {
            let title = format!("UDP listener `{}` cannot terminate TLS", listener.name);
            findings.push(
                Diagnostic::new(Code::NotOverUdp, title)
                    .at(place, "TLS is spoken on connections")
                    .also(listener.place(&["protocols"]), "there are none"),
            );
        }
        let bind = listener.node.at(&["bind"]);
        if let Some(node) = bind.filter(|node| node.str().is_some_and(|it| it.starts_with("unix:")))
        {
            let title = format!(
                "UDP listener `{}` cannot be at a Unix socket",
                listener.name
            );
            findings.push(
                Diagnostic::new(Code::NotOverUdp, title)
                    .at(node.place, "no address that datagrams can be sent to")
                    .also(listener.place(&["protocols"]), "datagrams are relayed"),
            );
        }
        names(world, listener, findings);
        let to = listener.node.at(&["to"]).map_or(&[][..], Node::items);
        let to: Vec<&Node> = to.iter().collect();
        paths(listener, &to, findings);
        let upstream = listener.node.at(&["upstream"]).and_then(Node::str);
        if let Some(upstream) = upstream.and_then(|name| world.upstreams.get(name)) {
            let endpoints: Vec<&Node> = nodes(upstream.node)
                .into_iter()
                .map(|(_, node)| node)
                .collect();
            paths(listener, &endpoints, findings);
            tls_of(listener, upstream, findings);
        }
    }
    for listener in world.listeners.values().filter(|one| !is_udp(one)) {
        if listener.sound && listener.has(&["responses"]) {
            let title = format!("listener `{}` has no use for `responses`", listener.name);
            findings.push(
                Diagnostic::new(Code::OnlyOverUdp, title)
                    .at(listener.key_place(&["responses"]), "a setting of UDP")
                    .help("`protocols = [\"udp\"]` relays datagrams"),
            );
        }
    }
    let (of_udp, of_others) = users(world);
    for upstream in world.upstreams.values() {
        let is_of_udp = of_udp.contains(upstream.name);
        if !world.is_whole() || of_others.contains(upstream.name) == is_of_udp {
            continue; // both, or none, or one that is not known yet
        }
        probes(upstream, is_of_udp, findings);
    }
}

/// The upstreams that UDP listeners name, and those that anybody else does.
pub(super) fn users<'a>(world: &World<'a>) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let (mut of_udp, mut of_others) = (BTreeSet::new(), BTreeSet::new());
    for listener in world.listeners.values() {
        let users = if is_udp(listener) {
            &mut of_udp
        } else {
            &mut of_others
        };
        users.extend(listener.node.at(&["upstream"]).and_then(Node::str));
    }
    for route in world.routes.values() {
        of_others.extend(route.node.at(&["upstream"]).and_then(Node::str));
        let shares = route.node.at(&["split"]).and_then(Node::table);
        of_others.extend(shares.into_iter().flatten().map(|(name, _)| name.as_str()));
    }
    (of_udp, of_others)
}

/// Routes by the name that TLS begins with.
fn names(world: &World<'_>, listener: &Item<'_, Listener>, findings: &mut Findings) {
    for route in world.routes.values() {
        let at = route.node.at(&["listener"]).and_then(Node::str);
        if at != Some(listener.name) || !route.has(&["server_name"]) {
            continue;
        }
        let title = format!("route `{}` is for connections that begin TLS", route.name);
        findings.push(
            Diagnostic::new(Code::NotOverUdp, title)
                .at(route.place(&["listener"]), "datagrams come here")
                .also(listener.place(&["protocols"]), "there are no connections")
                .help("give the listener an `upstream` instead of a route"),
        );
    }
}

/// Unix sockets among the endpoints.
fn paths(listener: &Item<'_, Listener>, endpoints: &[&Node], findings: &mut Findings) {
    let written = endpoints.iter().filter_map(|node| address_of(node));
    for (node, endpoint) in written {
        if matches!(endpoint, Endpoint::Unix(_)) {
            let title = format!(
                "UDP listener `{}` cannot send to the path of a socket",
                listener.name
            );
            findings.push(
                Diagnostic::new(Code::NotOverUdp, title)
                    .at(node.place, "no address that datagrams can be sent to")
                    .also(listener.place(&["protocols"]), "datagrams are relayed"),
            );
        }
    }
}

fn tls_of(listener: &Item<'_, Listener>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    if let Some(place) = upstream.node.key_at(&["tls"]) {
        let title = format!(
            "datagrams of listener `{}` would not be encrypted",
            listener.name
        );
        findings.push(
            Diagnostic::new(Code::NotOverUdp, title)
                .at(place, "TLS is spoken on connections")
                .also(listener.place(&["upstream"]), "datagrams go there"),
        );
    }
}

/// A probe that asks about something else than what is used.
fn probes(upstream: &Item<'_, Upstream>, is_of_udp: bool, findings: &mut Findings) {
    let name = upstream.name;
    if !is_of_udp {
        if let Some(place) = upstream.node.key_at(&["health", "udp"]) {
            let title = format!("the health check of upstream `{name}` asks over UDP");
            findings.push(
                Diagnostic::new(Code::OtherTransport, title)
                    .at(place, "nobody else sends datagrams there")
                    .help("`http = {}` and `tcp = {}` ask over TCP, as what is served does"),
            );
        }
        return;
    }
    // With a port of its own it asks something that was made to be asked.
    if upstream.has(&["health", "port"]) {
        return;
    }
    for kind in ["http", "grpc", "tcp"] {
        if let Some(place) = upstream.node.key_at(&["health", kind]) {
            let title = format!("the health check of upstream `{name}` asks over TCP");
            findings.push(
                Diagnostic::new(Code::OtherTransport, title)
                    .at(place, "what is served there is UDP")
                    .help(
                        "`udp = { send = \"…\" }` asks over UDP; `port` says that this is asked \
                         elsewhere",
                    ),
            );
        }
    }
}
