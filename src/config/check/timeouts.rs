//! Time limits where they do something.

use super::listeners::{is_tcp, is_udp};
use super::server_names::{has_names, takes_connections};
use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::Node;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        // In a table with a mistake, `tls` may be what was refused.
        let (tcp, tls) = (is_tcp(listener), listener.has(&["tls"]) || !listener.sound);
        let shakes_hands = tls || has_names(world, listener.name);
        let udp = is_udp(listener);
        let who = match (udp, tcp) {
            (true, _) => "a UDP listener",
            (false, true) => TCP,
            (false, false) => A_LISTENER,
        };
        let place = format!("listener.{}", listener.name);
        let headers = listener.has(&["proxy_protocol"]) || !listener.sound;
        let applicable = if udp {
            UDP_LISTENER.to_vec()
        } else {
            of_listener(tcp, shakes_hands, headers)
        };
        table(who, &place, listener.node, &applicable, findings);
    }
    for route in world.routes.values() {
        let place = format!("route.{}", route.name);
        if takes_connections(route) {
            let who = "a route by server name";
            table(who, &place, route.node, &NAMED_ROUTE, findings);
        } else {
            table("a route", &place, route.node, &ROUTE, findings);
        }
    }
    for upstream in world.upstreams.values() {
        let place = format!("upstream.{}", upstream.name);
        table("an upstream", &place, upstream.node, &UPSTREAM, findings);
    }
    if let Some(defaults) = world.root.at(&["defaults"]) {
        age("defaults", defaults, findings);
    }
}

fn table(who: &str, place: &str, node: &Node, applicable: &[&str], findings: &mut Findings) {
    age(place, node, findings);
    let written = node.at(&["timeouts"]).and_then(Node::table);
    for (name, entry) in written.into_iter().flatten() {
        if !ALL.contains(&name.as_str()) || applicable.contains(&name.as_str()) {
            continue;
        }
        let title = format!("`{place}.timeouts.{name}` does nothing");
        let applicable: Vec<String> = applicable.iter().map(|name| format!("`{name}`")).collect();
        let label = if who == A_LISTENER && name == HANDSHAKE {
            "there is no handshake without `tls`".to_owned()
        } else if [A_LISTENER, TCP].contains(&who) && name == HEADER {
            "no header is waited for without `proxy_protocol`".to_owned()
        } else {
            format!("{who} has no use for it")
        };
        findings.push(
            Diagnostic::new(Code::TimeoutWithoutEffect, title)
                .at(entry.key, label)
                .help(format!("time limits of {who}: {}", applicable.join(", "))),
        );
    }
}

/// A tunnel that has to end before it can be silent for so long.
fn age(place: &str, node: &Node, findings: &mut Findings) {
    let read = |key: &str| {
        let node = node.at(&["timeouts", key]).filter(|node| !node.faulty)?;
        Some((node.place, node.str()?.parse::<Time>().ok()?))
    };
    let (Some((age_at, age)), Some((idle_at, idle))) = (read(AGE), read("tunnel_idle")) else {
        return;
    };
    if age <= idle {
        let title = format!("`{place}.timeouts.tunnel_idle` is never reached");
        findings.push(
            Diagnostic::new(Code::AgeBelowIdle, title)
                .at(idle_at, "nothing can be silent for so long")
                .also(age_at, "everything has ended by then"),
        );
    }
}

/// Time limits of a listener that relays bytes or speaks HTTP, whose clients begin TLS or not, and
/// where a PROXY header may come before that.
pub(in crate::config) fn of_listener(tcp: bool, tls: bool, headers: bool) -> Vec<&'static str> {
    let limits: &[&str] = match (tcp, tls) {
        (true, true) => &NAMED_LISTENER,
        (true, false) => &TCP_LISTENER,
        (false, true) => &TLS_LISTENER,
        (false, false) => &LISTENER,
    };
    let header = headers.then_some(HEADER);
    header.into_iter().chain(limits.iter().copied()).collect()
}

/// One that speaks HTTP, whether with TLS or without.
const A_LISTENER: &str = "a listener";

/// One that relays bytes.
const TCP: &str = "a TCP listener";

/// The ones that depend on another setting.
const HANDSHAKE: &str = "tls_handshake";
const HEADER: &str = "proxy_header";

/// The one that ends what moves as well.
const AGE: &str = "tunnel_max_age";

/// From the client's side, with a handshake at its beginning.
const TLS_LISTENER: [&str; 4] = [HANDSHAKE, "request_head", "client_idle", "body_idle"];

/// From the client's side. What a tunnel may take is for its route to say.
const LISTENER: [&str; 3] = ["request_head", "client_idle", "body_idle"];

/// From the client's side, where nothing is read.
const TCP_LISTENER: [&str; 3] = ["first_byte", "tunnel_idle", AGE];

/// Where sessions are known by nothing but their use.
pub(in crate::config) const UDP_LISTENER: [&str; 1] = ["session_idle"];

/// From the client's side, where only the beginning is read.
const NAMED_LISTENER: [&str; 4] = [HANDSHAKE, "first_byte", "tunnel_idle", AGE];

/// What a connection may take that is passed through.
const NAMED_ROUTE: [&str; 3] = ["connect", "tunnel_idle", AGE];

/// What a request may take.
const ROUTE: [&str; 6] = [
    "request",
    "connect",
    "response_head",
    "body_idle",
    "tunnel_idle",
    AGE,
];

/// From the endpoint's side.
pub(in crate::config) const UPSTREAM: [&str; 6] = [
    "connect",
    "response_head",
    "upstream_idle",
    "body_idle",
    "tunnel_idle",
    AGE,
];

/// Unknown ones have been reported already.
const ALL: [&str; 13] = [
    HEADER,
    HANDSHAKE,
    "first_byte",
    "request_head",
    "client_idle",
    "body_idle",
    "connect",
    "response_head",
    "request",
    "upstream_idle",
    "tunnel_idle",
    AGE,
    "session_idle",
];
