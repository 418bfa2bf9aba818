//! Routes with `server_name`: connections that are passed through, told apart by how TLS begins.

use std::collections::BTreeMap;

use super::listeners::{is_tcp, is_udp};
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Route;
use crate::config::source::Place;
use crate::config::syntax::normalised_host;

/// A listener, a name in small letters, and a protocol or any.
type Condition<'a> = (&'a str, String, Option<&'a str>);

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        if takes_connections(route) {
            listener(world, route, findings);
            settings(route, findings);
            empty(route, findings);
        } else if route.has(&[ALPN]) {
            protocols_alone(route, findings);
        }
    }
    same(world, findings);
    for route in world.routes.values() {
        if !takes_connections(route) {
            hosts(world, route, findings);
        }
    }
}

/// Whether a route is of connections, not of requests.
pub(super) fn takes_connections(route: &Item<'_, Route>) -> bool {
    route.has(&[SERVER_NAME])
}

/// Whether a listener has routes of connections.
pub(super) fn has_names(world: &World<'_>, listener: &str) -> bool {
    let mut routes = world.routes.values();
    routes.any(|route| {
        let named = route.node.at(&["listener"]).and_then(|node| node.str());
        takes_connections(route) && named == Some(listener)
    })
}

fn listener(world: &World<'_>, route: &Item<'_, Route>, findings: &mut Findings) {
    let Some(node) = route.node.at(&["listener"]) else {
        if route.sound {
            let title = format!(
                "route `{}` has names of servers, but no listener",
                route.name
            );
            findings.push(
                Diagnostic::new(Code::ServerNameListener, title)
                    .at(route.key, "`listener` is missing from this table")
                    .also(route.key_place(&[SERVER_NAME]), "for connections"),
            );
        }
        return;
    };
    let listener = node.str().and_then(|name| world.listeners.get(name));
    let Some(listener) = listener.filter(|listener| listener.sound) else {
        return;
    };
    if is_udp(listener) {
        return; // told with what else datagrams cannot have
    }
    if listener.has(&["tls"]) {
        every_name(route, listener.key, findings);
    } else if !is_tcp(listener) {
        let title = format!(
            "route `{}` has names of servers, but listener `{}` speaks plain HTTP",
            route.name, listener.name
        );
        findings.push(
            Diagnostic::new(Code::ServerNameListener, title)
                .at(node.place, "no client begins TLS there")
                .also(listener.key, "neither `tls` nor `protocols = [\"tcp\"]`")
                .help("`hosts` tells requests apart"),
        );
    }
}

fn every_name(route: &Item<'_, Route>, listener: Place, findings: &mut Findings) {
    let names = route
        .node
        .at(&[SERVER_NAME])
        .map_or(&[][..], |node| node.items());
    let every = names.iter().find(|name| name.str() == Some("*"));
    if let Some(every) = every.filter(|_| !route.has(&[ALPN])) {
        let title = format!("route `{}` takes every client that says a name", route.name);
        findings.push(
            Diagnostic::new(Code::EveryName, title)
                .at(every.place, "nearly all say one")
                .also(listener, "TLS ends here for the others only"),
        );
    }
}

fn settings(route: &Item<'_, Route>, findings: &mut Findings) {
    for (key, entry) in route.node.table().into_iter().flatten() {
        // Unknown ones have been reported already.
        if WITH_NAMES.contains(&key.as_str()) || !OF_REQUESTS.contains(&key.as_str()) {
            continue;
        }
        let title = format!(
            "`{key}` does not go with `server_name` in route `{}`",
            route.name
        );
        findings.push(
            Diagnostic::new(Code::ServerNameSetting, title)
                .at(entry.key, "a setting about requests")
                .also(
                    route.key_place(&[SERVER_NAME]),
                    "connections are passed through unread",
                ),
        );
    }
}

fn empty(route: &Item<'_, Route>, findings: &mut Findings) {
    for key in [SERVER_NAME, ALPN] {
        let node = route.node.at(&[key]).filter(|node| node.is_sound());
        if let Some(node) = node.filter(|node| node.items().is_empty()) {
            let title = format!("route `{}` takes no connection", route.name);
            findings
                .push(Diagnostic::new(Code::NoServerName, title).at(node.place, "there is none"));
        }
    }
}

fn protocols_alone(route: &Item<'_, Route>, findings: &mut Findings) {
    let title = format!("route `{}` has `alpn` without `server_name`", route.name);
    findings.push(
        Diagnostic::new(Code::ServerNameSetting, title)
            .at(
                route.key_place(&[ALPN]),
                "what clients offer when they begin TLS",
            )
            .help("`server_name = [\"*\"]` stands for any name"),
    );
}

/// Hosts of requests whose connections never get as far.
fn hosts(world: &World<'_>, route: &Item<'_, Route>, findings: &mut Findings) {
    let Some(written) = route.whole().filter(|written| !written.hosts.is_empty()) else {
        return;
    };
    let Some(listener) = written.listener.as_deref() else {
        return;
    };
    let others = world.routes.values().filter(|other| {
        let here = other.whole().is_some_and(|other| {
            other.alpn.is_empty() && other.listener.as_deref() == Some(listener)
        });
        here && takes_connections(other)
    });
    let others: Vec<_> = others.collect();
    let taker = |host: &String| {
        let takes = |other: &&&Item<'_, Route>| {
            let names = other.written.iter().flat_map(|other| &other.server_name);
            names.into_iter().any(|name| covers(name, host))
        };
        others.iter().find(takes).copied()
    };
    let takers: Option<Vec<_>> = written.hosts.iter().map(taker).collect();
    if let Some(taker) = takers.and_then(|takers| takers.first().copied()) {
        let title = format!("hardly anything reaches route `{}`", route.name);
        findings.push(
            Diagnostic::new(Code::HostsPassedThrough, title)
                .at(
                    route.place(&["hosts"]),
                    "clients say this name when they begin TLS",
                )
                .also(
                    taker.place(&[SERVER_NAME]),
                    "and are passed through, with their requests unread",
                ),
        );
    }
}

/// The route that takes every connection of clients that ask a listener for a host.
pub(super) fn passed_through<'a>(
    world: &'a World<'_>,
    listener: &str,
    host: &str,
) -> Option<&'a Item<'a, Route>> {
    let takes = |route: &&Item<'_, Route>| {
        let mut written = route
            .whole()
            .into_iter()
            .filter(|route| route.alpn.is_empty() && route.listener.as_deref() == Some(listener));
        written.any(|route| route.server_name.iter().any(|name| covers(name, host)))
    };
    world.routes.values().find(takes)
}

/// Whether a server's name takes every client that asks for a host.
fn covers(name: &str, host: &str) -> bool {
    let (name, host) = (normalised_host(name), normalised_host(host));
    match name.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end) && host != "*",
        None => name == host,
    }
}

/// Connections that two routes would take.
fn same(world: &World<'_>, findings: &mut Findings) {
    let mut taken: BTreeMap<Condition<'_>, &Item<'_, Route>> = BTreeMap::new();
    for route in world
        .routes
        .values()
        .filter(|route| takes_connections(route))
    {
        let Some(written) = route.whole() else {
            continue;
        };
        let listener = written.listener.as_deref().unwrap_or_default();
        let any = written.alpn.is_empty().then_some(None);
        let protocols = written.alpn.iter().map(|protocol| Some(protocol.as_str()));
        let protocols: Vec<_> = protocols.chain(any).collect();
        let conditions = written.server_name.iter().flat_map(|name| {
            let name = normalised_host(name);
            protocols
                .iter()
                .map(move |protocol| (listener, name.clone(), *protocol))
        });
        let mut others = conditions.filter_map(|condition| {
            let (name, protocol) = (condition.1.clone(), condition.2);
            let first = *taken.entry(condition).or_insert(route);
            (first.name != route.name).then_some((first, name, protocol))
        });
        // All are entered, one is told.
        let twin = others.next();
        others.for_each(drop);
        if let Some((first, name, protocol)) = twin {
            findings.push(twins(first, route, &name, protocol));
        }
    }
}

fn twins(
    one: &Item<'_, Route>,
    other: &Item<'_, Route>,
    name: &str,
    protocol: Option<&str>,
) -> Diagnostic {
    let (first, second) = if one.key <= other.key {
        (one, other)
    } else {
        (other, one)
    };
    let title = format!(
        "routes `{}` and `{}` take the same connections",
        first.name, second.name
    );
    let protocol = protocol.map_or_else(
        || "any protocol".to_owned(),
        |protocol| format!("the protocol `{protocol}`"),
    );
    Diagnostic::new(Code::SameServerName, title)
        .at(
            second.place(&[SERVER_NAME]),
            format!("`{name}` and {protocol} for both"),
        )
        .also(first.key, "neither is more specific than this one")
        .help("tell them apart by name or `alpn`, or make them one `split`")
}

const SERVER_NAME: &str = "server_name";
const ALPN: &str = "alpn";

/// What goes with `server_name`.
pub(in crate::config) const WITH_NAMES: [&str; 6] = [
    "listener",
    SERVER_NAME,
    ALPN,
    "upstream",
    "split",
    "timeouts",
];

/// What is about requests: all else that a route can have, as a test makes sure.
const OF_REQUESTS: [&str; 16] = [
    "hosts",
    "path",
    "methods",
    "headers",
    "query",
    "client_certificate",
    "redirect",
    "respond",
    "rewrite",
    "request_headers",
    "response_headers",
    "deadline_field",
    "retry",
    "hedge",
    "max_in_flight",
    "connect",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::schema;

    /// Whatever is in neither list would be read, and do nothing.
    #[test]
    fn every_setting_of_a_route_goes_with_names_of_servers_or_is_refused_there() {
        let schema = schema();
        let properties = schema["definitions"]["Route"]["properties"].as_object();
        let settings = properties.expect("routes have settings").keys();
        let (mut settings, mut listed): (Vec<&str>, Vec<&str>) = (
            settings.map(String::as_str).collect(),
            WITH_NAMES.into_iter().chain(OF_REQUESTS).collect(),
        );
        settings.sort_unstable();
        listed.sort_unstable();
        assert_eq!(settings, listed);
    }
}
