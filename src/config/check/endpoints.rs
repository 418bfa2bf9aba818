//! Endpoints: none twice, not all of them backups, none of them ourselves.

use std::collections::HashMap;

use super::listeners::is_udp;
use super::sockets::bind_of;
use super::{Findings, World, udp};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::Node;
use crate::config::source::Place;
use crate::config::syntax::address::{self, Bind, Endpoint};

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let (of_udp, of_others) = udp::users(world);
    for upstream in world.upstreams.values() {
        let (udp, others) = (&of_udp, &of_others);
        let binds = binds(world, |is_udp| {
            let users = if is_udp { udp } else { others };
            users.contains(upstream.name)
        });
        let who = format!("upstream `{}`", upstream.name);
        let nodes: Vec<&Node> = nodes(upstream.node)
            .into_iter()
            .map(|(_, node)| node)
            .collect();
        group(&who, &nodes, &binds, findings);
        only_backups(&who, upstream.key, &nodes, findings);
    }
    for listener in world.listeners.values() {
        let Some(to) = listener.node.at(&["to"]) else {
            continue;
        };
        let who = format!("listener `{}`", listener.name);
        let binds = binds(world, |udp| udp == is_udp(listener));
        let nodes: Vec<&Node> = to.items().iter().collect();
        group(&who, &nodes, &binds, findings);
        only_backups(&who, listener.key, &nodes, findings);
    }
}

/// Every endpoint of an upstream as it is written, with its zone.
pub(super) fn nodes(upstream: &Node) -> Vec<(Option<&str>, &Node)> {
    let plain = upstream.at(&["endpoints"]).map_or(&[][..], Node::items);
    let zones = upstream.at(&["zone"]).and_then(Node::table);
    let inside = zones.into_iter().flatten().flat_map(|(zone, entry)| {
        let items = entry.value.at(&["endpoints"]).map_or(&[][..], Node::items);
        items.iter().map(move |item| (Some(zone.as_str()), item))
    });
    plain
        .iter()
        .map(|item| (None, item))
        .chain(inside)
        .collect()
}

/// The address of an endpoint, in either form in which one is written.
pub(super) fn address_of(endpoint: &Node) -> Option<(&Node, Endpoint)> {
    let node = endpoint.at(&["address"]).unwrap_or(endpoint);
    let text = node.str().filter(|_| !node.faulty && !endpoint.faulty)?;
    Some((node, address::endpoint(text).ok()?))
}

fn group(who: &str, nodes: &[&Node], binds: &[(&str, Bind, Place)], findings: &mut Findings) {
    let mut seen: HashMap<Endpoint, Place> = HashMap::new();
    for (node, address) in nodes.iter().filter_map(|node| address_of(node)) {
        let text = node.str().unwrap_or_default();
        own_listener(who, &address, node, binds, findings);
        if let Some(first) = seen.get(&address) {
            let title = format!("{who} has the endpoint `{text}` twice");
            findings.push(
                Diagnostic::new(Code::DoubleEndpoint, title)
                    .at(node.place, "second time")
                    .also(*first, "first time")
                    .help("`{ address = \"…\", weight = 2 }` gives an endpoint twice the traffic"),
            );
        } else {
            seen.insert(address, node.place);
        }
    }
}

/// Where this instance takes what is sent in the same way.
fn binds<'a>(world: &World<'a>, is_like: impl Fn(bool) -> bool) -> Vec<(&'a str, Bind, Place)> {
    let listeners = world.listeners.values();
    listeners
        .filter(|listener| is_like(is_udp(listener)))
        .filter_map(|listener| {
            let node = listener.node.at(&["bind"]).filter(|node| !node.faulty)?;
            let bind = bind_of(listener, address::bind(node.str()?).ok()?);
            Some((listener.name, bind, node.place))
        })
        .collect()
}

fn own_listener(
    who: &str,
    address: &Endpoint,
    node: &Node,
    binds: &[(&str, Bind, Place)],
    findings: &mut Findings,
) {
    let receives = |bind: &Bind| match address {
        Endpoint::Ip(address) => bind.receives(*address),
        Endpoint::Name(name, port) if name == "localhost" => {
            bind.receives(([127, 0, 0, 1], *port).into())
        }
        Endpoint::Name(..) => false,
        Endpoint::Unix(path) => *bind == Bind::Unix(path.clone()),
    };
    let own = binds.iter().find(|(_, bind, _)| receives(bind));
    if let Some((listener, _, place)) = own {
        let title = format!("{who} sends traffic to listener `{listener}` of this instance");
        findings.push(
            Diagnostic::new(Code::OwnListener, title)
                .at(node.place, "this arrives here again")
                .also(*place, "accepted here"),
        );
    }
}

fn only_backups(who: &str, key: Place, nodes: &[&Node], findings: &mut Findings) {
    let is_backup = |node: &&Node| {
        let backup = node.at(&["backup"]).and_then(Node::to_toml);
        backup.and_then(|value| value.as_bool()) == Some(true)
    };
    if !nodes.is_empty() && nodes.iter().all(is_backup) {
        let title = format!("every endpoint of {who} is a backup");
        findings.push(Diagnostic::new(Code::OnlyBackups, title).at(key, "no endpoint that is not"));
    }
}
