//! The PROXY protocol, in and out: that somebody is believed, and that what is said can be.

use super::listeners::{is_tcp, is_udp};
use super::protocols::may_speak_http2;
use super::sockets::{bind, bind_of};
use super::udp::users;
use super::upstream_tls::of_requests;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{
    Listener, ProxyHeaderPolicy, ProxyProtocolVersion, TrustedProxy, Upstream,
};
use crate::config::node::Node;
use crate::config::syntax::address::Bind;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        if listener.has(KEY) {
            headers_in(listener, findings);
            waiting(listener, findings);
        }
    }
    for upstream in world.upstreams.values() {
        if upstream.has(KEY) {
            over_udp(world, upstream, findings);
            shared(world, upstream, findings);
        }
    }
}

fn headers_in(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let (name, place) = (listener.name, listener.key_place(KEY));
    if is_udp(listener) {
        let title = format!("UDP listener `{name}` takes no PROXY headers");
        findings.push(
            Diagnostic::new(Code::NotOverUdp, title)
                .at(place, "a header stands at the beginning of a connection")
                .also(listener.place(&["protocols"]), "there are none"),
        );
        return;
    }
    let trusted = listener.node.at(&["trusted_proxies"]);
    if !listener.sound || trusted.is_some_and(|node| may_come(listener, node)) {
        return;
    }
    let title = format!("nobody's PROXY header is believed at listener `{name}`");
    let finding = Diagnostic::new(Code::NobodyBelieved, title).at(place, "from whom?");
    findings.push(match trusted {
        Some(node) if node.items().is_empty() => finding.also(node.place, "nobody").help(NETWORKS),
        Some(node) => finding
            .also(node.place, "none of these can come there")
            .also(listener.place(&["bind"]), "this is where they would come")
            .help("networks are for addresses of their family, `unix` for the socket of a path"),
        None => finding.help(NETWORKS),
    });
}

/// Whether anybody of a list may come to a listener: by a socket of a path, IPv4 or IPv6.
fn may_come(listener: &Item<'_, Listener>, trusted: &Node) -> bool {
    let Some(bind) = bind(listener) else {
        return true; // told where it is written
    };
    let bind = bind_of(listener, bind);
    let comes = |one: &TrustedProxy| match (one, &bind) {
        (TrustedProxy::Unix, Bind::Unix(_)) | (TrustedProxy::Network(_), Bind::Every(_)) => true,
        (TrustedProxy::Network(network), Bind::One(address)) => {
            network.addr().is_ipv4() == address.is_ipv4()
        }
        (TrustedProxy::Unix, Bind::Every(_) | Bind::One(_))
        | (TrustedProxy::Network(_), Bind::Unix(_)) => false,
    };
    let mut items = trusted.items().iter();
    items.any(|item| {
        let proxy = item.str().and_then(|text| text.parse().ok());
        proxy.as_ref().is_none_or(comes)
    })
}

/// Where a header may be missing, and clients may wait to be spoken to. Those that speak TLS do
/// not, nor those whom only routes by the name in it are for.
fn waiting(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let name = listener.name;
    let policy = listener.written.as_ref().and_then(|one| one.proxy_protocol);
    let has_target = listener.has(&["upstream"]) || listener.has(&["to"]);
    let may_wait = is_tcp(listener) && !is_udp(listener) && has_target && !listener.has(&["tls"]);
    if policy == Some(ProxyHeaderPolicy::Accepted) && may_wait {
        let title = format!("clients of listener `{name}` that wait to be spoken to wait longer");
        findings.push(
            Diagnostic::new(Code::WaitsForHeader, title)
                .at(listener.place(KEY), "a header may come, or may not")
                .also(listener.place(&["protocols"]), "endpoints may speak first")
                .help("`required`, with a listener of its own for clients that come without"),
        );
    }
}

/// What a version has no words for.
fn over_udp(world: &World<'_>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let version = upstream.written.as_ref().and_then(|one| one.proxy_protocol);
    if version != Some(ProxyProtocolVersion::V1) || !users(world).0.contains(upstream.name) {
        return;
    }
    let names = |listener: &&Item<'_, Listener>| {
        let named = listener.node.at(&["upstream"]).and_then(Node::str);
        is_udp(listener) && named == Some(upstream.name)
    };
    let title = format!(
        "PROXY headers of upstream `{}` cannot be about datagrams",
        upstream.name
    );
    let finding = Diagnostic::new(Code::DatagramsInText, title)
        .at(upstream.place(KEY), "version 1 knows TCP alone")
        .patch(upstream.place(KEY), "\"v2\"");
    findings.push(match world.listeners.values().find(names) {
        Some(listener) => finding.also(listener.place(&["upstream"]), "datagrams go there"),
        None => finding,
    });
}

/// Connections that many requests would share.
fn shared(world: &World<'_>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(written) = upstream.whole() else {
        return;
    };
    if !may_speak_http2(written) || !of_requests(world).contains(upstream.name) {
        return;
    }
    let title = format!(
        "clients of upstream `{}` share no connections",
        upstream.name
    );
    findings.push(
        Diagnostic::new(Code::OneClientEach, title)
            .at(upstream.key_place(KEY), "a connection is one client's")
            .also(
                upstream.place(&["protocol"]),
                "requests of all clients could share one",
            )
            .help("endpoints learn who the client is from `X-Forwarded-For` as well"),
    );
}

const KEY: &[&str] = &["proxy_protocol"];

const NETWORKS: &str =
    "`trusted_proxies` names the networks that the proxies in front of this one stand in";
