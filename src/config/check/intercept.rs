//! Connections that the firewall brings: who asks where they were going, and where they may go.

use super::listeners::{is_tcp, is_udp};
use super::server_names::takes_connections;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Listener, Upstream};
use crate::config::node::Node;
use crate::config::source::Place;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        if leads_to_destinations(upstream.node) {
            allowed(upstream, findings);
            settings(upstream, findings);
        } else if upstream.has(&["allowed"]) && upstream.sound {
            let title = format!("`allowed` of upstream `{}` bounds nothing", upstream.name);
            findings.push(
                Diagnostic::new(Code::AllowedNowhere, title)
                    .at(upstream.key_place(&["allowed"]), "networks of destinations")
                    .help("it is for `endpoints = \"original_dst\"`"),
            );
        }
    }
    for listener in world.listeners.values() {
        if is_udp(listener) && listener.has(&["intercept"]) {
            let title = format!("UDP listener `{}` cannot have `intercept`", listener.name);
            findings.push(
                Diagnostic::new(Code::NotIntercepted, title)
                    .at(listener.key_place(&["intercept"]), "about connections")
                    .also(listener.place(&["protocols"]), "there are none"),
            );
        }
        let bind = listener.node.at(&["bind"]).and_then(Node::str);
        let is_path = bind.is_some_and(|bind| bind.starts_with("unix:"));
        if is_path && listener.has(&["intercept"]) {
            let title = format!("listener `{}` cannot have `intercept`", listener.name);
            findings.push(
                Diagnostic::new(Code::NotIntercepted, title)
                    .at(listener.key_place(&["intercept"]), "about a network")
                    .also(
                        listener.place(&["bind"]),
                        "no firewall brings anything here",
                    ),
            );
        }
        let named = listener.node.at(&["upstream"]);
        if let Some(named) = named.filter(|named| is_of_destinations(world, named)) {
            used(listener, (named.place, is_tcp(listener)), findings);
        }
    }
    routes(world, findings);
}

/// Whether the endpoints of an upstream are wherever connections were going.
pub(super) fn leads_to_destinations(upstream: &Node) -> bool {
    upstream.at(&["endpoints"]).and_then(Node::str) == Some("original_dst")
}

fn is_of_destinations(world: &World<'_>, name: &Node) -> bool {
    let upstream = name.str().and_then(|name| world.upstreams.get(name));
    upstream.is_some_and(|upstream| leads_to_destinations(upstream.node))
}

/// The networks that destinations have to be in.
fn allowed(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let networks = upstream.node.at(&["allowed"]);
    let items = networks.map_or(&[][..], Node::items);
    if items.is_empty() && upstream.sound {
        let title = format!("upstream `{}` could lead anywhere", upstream.name);
        let finding = Diagnostic::new(Code::NothingAllowed, title);
        let help = "`allowed = [\"10.0.0.0/8\"]`, the networks of the services that are meant";
        findings.push(match networks {
            Some(empty) => finding.at(empty.place, "nothing in it").help(help),
            None => finding
                .at(
                    upstream.place(&["endpoints"]),
                    "clients choose where it leads",
                )
                .help(help),
        });
    }
    for network in items {
        let everything = network.str().is_some_and(|text| text.ends_with("/0"));
        if everything && !network.faulty {
            let title = format!("upstream `{}` may lead anywhere", upstream.name);
            findings.push(
                Diagnostic::new(Code::AllAllowed, title)
                    .at(network.place, "every address there is")
                    .help("name the networks of the services that are meant"),
            );
        }
    }
}

/// What an upstream cannot have whose endpoints are not known.
fn settings(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    for key in OF_ENDPOINTS {
        if upstream.has(&[key]) {
            let title = format!("`{key}` of upstream `{}` needs endpoints", upstream.name);
            findings.push(
                Diagnostic::new(Code::NotOfDestinations, title)
                    .at(upstream.key_place(&[key]), "about endpoints that are known")
                    .also(
                        upstream.place(&["endpoints"]),
                        "wherever connections were going",
                    ),
            );
        }
    }
}

/// A listener from which connections get to such an upstream.
fn used(listener: &Item<'_, Listener>, (named, relays): (Place, bool), findings: &mut Findings) {
    if !relays || is_udp(listener) {
        let title = format!(
            "listener `{}` cannot tell where they were going",
            listener.name
        );
        findings.push(
            Diagnostic::new(Code::OnlyRelayed, title)
                .at(named, "wherever connections were going")
                .help("for connections that are relayed: `protocols = [\"tcp\"]`"),
        );
    } else if !listener.has(&["intercept"]) && listener.sound {
        let title = format!(
            "listener `{}` does not know where they were going",
            listener.name
        );
        findings.push(
            Diagnostic::new(Code::NoDestination, title)
                .at(named, "wherever connections were going")
                .also(listener.key, "nothing is intercepted here")
                .help(
                    "`intercept = \"redirect\"` or `\"tproxy\"`, as the firewall's rules have it",
                ),
        );
    }
}

fn routes(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        let single = route.node.at(&["upstream"]).into_iter();
        let places = single
            .filter(|named| is_of_destinations(world, named))
            .map(|named| named.place);
        let shares = route.node.at(&["split"]).and_then(Node::table);
        let shares = shares.into_iter().flatten().filter(|(name, _)| {
            let upstream = world.upstreams.get(name.as_str());
            upstream.is_some_and(|upstream| leads_to_destinations(upstream.node))
        });
        let Some(named) = places.chain(shares.map(|(_, entry)| entry.key)).next() else {
            continue;
        };
        let at = route.node.at(&["listener"]).and_then(Node::str);
        let listener = at.and_then(|name| world.listeners.get(name));
        if !takes_connections(route) {
            let title = format!("route `{}` takes requests, and not connections", route.name);
            findings.push(
                Diagnostic::new(Code::OnlyRelayed, title)
                    .at(named, "wherever connections were going")
                    .help("for connections that are relayed: a route with a `server_name`"),
            );
        } else if let Some(listener) = listener {
            used(listener, (named, true), findings);
        }
    }
}

/// Settings that are about endpoints which are known.
const OF_ENDPOINTS: [&str; 13] = [
    "balance",
    "zone",
    "health",
    "tls",
    "protocol",
    "http2",
    "min_healthy",
    "max_idle_per_endpoint",
    "retry_budget",
    "panic_threshold",
    "outlier",
    "on_removed",
    "drain",
];
