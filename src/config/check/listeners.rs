//! Listeners: whether anything answers there, and that their settings do something.

use super::server_names::{has_names, takes_connections};
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Listener;
use crate::config::node::Value;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    if world.listeners.is_empty() {
        let title = "nothing listens: there is no [listener.<name>]";
        let found = Diagnostic::new(Code::NoListener, title);
        findings.push(
            match world.root.table().and_then(|table| table.values().next()) {
                Some(first) => found.at(first.key, "the configuration begins here"),
                None => found.at(world.root.place, "the configuration is empty"),
            },
        );
    }
    for listener in world.listeners.values() {
        targets(world, listener, findings);
        redirects(listener, findings);
        trusts_everyone(listener, findings);
        if is_tcp(listener) {
            http_settings(listener, findings);
        }
    }
    routes_on_tcp(world, findings);
    own_routes(world, findings);
}

/// Whether a listener redirects what comes without TLS.
pub(super) fn redirects_all(listener: &Item<'_, Listener>) -> bool {
    let written = listener.node.at(&["redirect_to_https"]);
    written.is_some_and(|node| matches!(node.value, Value::Boolean(true)))
}

/// Whether a listener relays what it does not read, as bytes or as datagrams.
pub(super) fn is_tcp(listener: &Item<'_, Listener>) -> bool {
    speaks(listener, "tcp") || is_udp(listener)
}

/// Whether datagrams come, and no connections.
pub(super) fn is_udp(listener: &Item<'_, Listener>) -> bool {
    speaks(listener, "udp")
}

fn speaks(listener: &Item<'_, Listener>, protocol: &str) -> bool {
    let protocols = listener.node.at(&["protocols"]);
    let written = protocols.map_or(&[][..], |node| node.items());
    written.iter().any(|one| one.str() == Some(protocol))
}

/// What a listener that relays is called.
pub(super) fn word(listener: &Item<'_, Listener>) -> &'static str {
    if is_udp(listener) { "UDP" } else { "TCP" }
}

/// `to`, `upstream`, both or none, and whether routes make up for none.
fn targets(world: &World<'_>, listener: &Item<'_, Listener>, findings: &mut Findings) {
    let (to, upstream) = (&["to"][..], &["upstream"][..]);
    let name = listener.name;
    if listener.has(to) && listener.has(upstream) {
        let title = format!("listener `{name}` has two targets");
        findings.push(
            Diagnostic::new(Code::TwoTargets, title)
                .at(listener.key_place(to), "an unnamed upstream")
                .also(listener.key_place(upstream), "a named one"),
        );
    }
    let has_target = listener.has(upstream)
        || listener
            .node
            .at(to)
            .is_some_and(|node| !node.items().is_empty());
    let has_target = has_target || (redirects_all(listener) && !is_tcp(listener));
    if has_target || !listener.sound {
        return;
    }
    if is_tcp(listener) {
        if has_names(world, name) {
            return;
        }
        let title = if is_udp(listener) {
            format!("UDP listener `{name}` has nobody to send to")
        } else {
            format!("TCP listener `{name}` has nothing to connect to")
        };
        findings.push(Diagnostic::new(Code::NoTarget, title).at(
            listener.key,
            "`upstream` or `to` is missing from this table",
        ));
    } else if world.is_whole() && !has_route(world, name) {
        let title = format!("listener `{name}` answers everything with 404");
        findings.push(
            Diagnostic::new(Code::IdleListener, title)
                .at(listener.key, "no route, no `upstream` and no `to`"),
        );
    }
}

/// `redirect_to_https` and what does not go with it.
fn redirects(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let name = listener.name;
    if !redirects_all(listener) {
        // In a table with a mistake, it may be what was refused.
        if listener.has(&["https_port"]) && listener.sound {
            let title = format!("`https_port` of listener `{name}` does nothing");
            findings.push(
                Diagnostic::new(Code::NoEffect, title)
                    .at(listener.key_place(&["https_port"]), "nothing is redirected")
                    .help("it is for `redirect_to_https = true`"),
            );
        }
        return;
    }
    for (key, why) in [
        ("tls", "what comes here comes over TLS"),
        ("upstream", "it would get nothing"),
        ("to", "it would get nothing"),
    ] {
        if !listener.has(&[key]) {
            continue;
        }
        let title = format!("listener `{name}` has `redirect_to_https` and `{key}`");
        findings.push(
            Diagnostic::new(Code::RedirectsAll, title)
                .at(listener.key_place(&[key]), why)
                .also(
                    listener.key_place(&["redirect_to_https"]),
                    "everything is redirected",
                )
                .help("a route with `listener` takes something out of it"),
        );
    }
}

fn has_route(world: &World<'_>, listener: &str) -> bool {
    let mut of_requests = world
        .routes
        .values()
        .filter(|route| !takes_connections(route));
    of_requests.any(|route| {
        let named = route
            .written
            .as_ref()
            .and_then(|route| route.listener.as_deref());
        named.is_none_or(|named| named == listener)
    })
}

fn trusts_everyone(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let Some(node) = listener.node.at(&["trusted_proxies"]) else {
        return;
    };
    for network in node.items() {
        let everyone = network.str().is_some_and(|text| text.ends_with("/0"));
        if everyone && !network.faulty {
            let title = format!("listener `{}` trusts every peer", listener.name);
            findings.push(
                Diagnostic::new(Code::TrustsEveryone, title)
                    .at(network.place, "every address there is")
                    .help("name the networks that the proxies in front of this one stand in"),
            );
        }
    }
}

fn relayed(listener: &Item<'_, Listener>) -> &'static str {
    if is_udp(listener) {
        "datagrams are relayed unread"
    } else {
        "bytes are relayed unread"
    }
}

fn http_settings(listener: &Item<'_, Listener>, findings: &mut Findings) {
    for key in HTTP_ONLY {
        // PROXY headers say who the client is wherever they come.
        let is_for_headers = key == "trusted_proxies" && listener.has(&["proxy_protocol"]);
        if listener.has(&[key]) && !is_for_headers {
            let title = format!(
                "{} listener `{}` has no use for `{key}`",
                word(listener),
                listener.name
            );
            findings.push(
                Diagnostic::new(Code::HttpOnly, title)
                    .at(listener.key_place(&[key]), "a setting about requests")
                    .also(listener.place(&["protocols"]), relayed(listener)),
            );
        }
    }
}

fn routes_on_tcp(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        if takes_connections(route) {
            continue;
        }
        let Some(node) = route.node.at(&["listener"]) else {
            continue;
        };
        let listener = node.str().and_then(|name| world.listeners.get(name));
        let Some(listener) = listener.filter(|listener| is_tcp(listener)) else {
            continue;
        };
        let title = format!(
            "route `{}` belongs to the {} listener `{}`",
            route.name,
            word(listener),
            listener.name
        );
        findings.push(
            Diagnostic::new(Code::HttpOnly, title)
                .at(node.place, "nothing is read there that a route could match")
                .also(listener.place(&["protocols"]), relayed(listener))
                .help(if is_udp(listener) {
                    "give the listener an `upstream` instead of a route"
                } else {
                    "give the listener an `upstream` instead of a route, or the route a \
                     `server_name`"
                }),
        );
    }
}

/// The route to a listener's own upstream has a name after all, in metrics and logs.
fn own_routes(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        let of_listener = route.name.strip_prefix("listener.");
        let Some(listener) = of_listener.and_then(|listener| world.listeners.get(listener)) else {
            continue;
        };
        let target = [&["to"][..], &["upstream"], &["redirect_to_https"]];
        let Some(target) = target.into_iter().find(|target| listener.has(target)) else {
            continue;
        };
        let title = format!("two routes are called `{}`", route.name);
        findings.push(
            Diagnostic::new(Code::DefinedTwice, title)
                .at(route.key, "another name is needed")
                .also(
                    listener.key_place(target),
                    "the listener's own route goes by that name",
                ),
        );
    }
}

/// Settings about requests, which a listener that relays never sees.
pub(in crate::config) const HTTP_ONLY: [&str; 7] = [
    "trusted_proxies",
    "max_head_size",
    "max_fields",
    "forwarded",
    "redirect_to_https",
    "https_port",
    "http2",
];
