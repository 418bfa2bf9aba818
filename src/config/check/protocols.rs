//! What is spoken on either side: that it can be, and that what is said about it is about
//! something.

use super::listeners::is_tcp;
use super::upstream_tls::of_requests;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Listener, Protocol, Upstream, UpstreamProtocol};
use crate::config::node::Node;
use crate::config::source::Place;
use crate::config::units::Size;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        list(listener, findings);
        of_tls(listener, findings);
        let speaks = listener.whole().is_none_or(speaks_http2);
        if !speaks && !is_tcp(listener) {
            let written = listener.has(&["protocols"]);
            let reason = written.then(|| listener.place(&["protocols"]));
            idle(&side(listener, "listener"), reason, LISTENER_HELP, findings);
        }
        windows(&side(listener, "listener"), findings);
    }
    let of_requests = of_requests(world);
    for upstream in world.upstreams.values() {
        // A table with a mistake may hold the name.
        if world.is_whole() && !of_requests.contains(upstream.name) {
            of_bytes(world, upstream, findings);
        } else {
            of_upstream(upstream, findings);
        }
        windows(&side(upstream, "upstream"), findings);
    }
}

/// A listener or an upstream, whichever.
struct Side<'a> {
    kind: &'static str,
    name: &'a str,
    node: &'a Node,
    key: Place,
}

fn side<'a, T>(item: &Item<'a, T>, kind: &'static str) -> Side<'a> {
    Side {
        kind,
        name: item.name,
        node: item.node,
        key: item.key,
    }
}

/// Whether there is HTTP/2, written or meant.
fn speaks_http2(listener: &Listener) -> bool {
    let http2 = [Protocol::H2, Protocol::H2c];
    match &listener.protocols {
        // That there are none is told once.
        Some(protocols) if protocols.is_empty() => true,
        Some(protocols) => http2.iter().any(|one| protocols.contains(one)),
        None => listener.tls.is_some(),
    }
}

/// The list by itself.
fn list(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let written = listener.whole().map(|written| &written.protocols);
    let Some(Some(protocols)) = written else {
        return;
    };
    let is_twice = |(at, one): (usize, &Protocol)| protocols[..at].contains(one);
    let why = if protocols.is_empty() {
        "there is none"
    } else if protocols.iter().enumerate().any(is_twice) {
        "the same twice"
    } else if protocols.contains(&Protocol::Tcp) && protocols.len() > 1 {
        "`tcp` relays what the others would read"
    } else if protocols.contains(&Protocol::Udp) && protocols.len() > 1 {
        "the others come by connections, and `udp` has none"
    } else {
        return;
    };
    let title = format!("listener `{}` cannot speak these protocols", listener.name);
    findings.push(
        Diagnostic::new(Code::Protocols, title)
            .at(listener.place(&["protocols"]), why)
            .help("either `[\"tcp\"]` or `[\"udp\"]`, or HTTP: `[\"h2\", \"http/1.1\"]`, or one of both"),
    );
}

/// Where TLS ends, HTTP/2 is agreed on; where it does not, nobody can ask.
fn of_tls(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let tls = listener.has(&["tls"]);
    // In a table with a mistake, `tls` may be what was refused.
    if !listener.sound || is_tcp(listener) {
        return;
    }
    let protocols = listener.node.at(&["protocols"]);
    let wrong = if tls { "h2c" } else { "h2" };
    let found = protocols.map_or(&[][..], |node| node.items());
    let Some(node) = found.iter().find(|one| one.str() == Some(wrong)) else {
        return;
    };
    let title = format!(
        "listener `{}` cannot speak `{wrong}` {} TLS",
        listener.name,
        if tls { "within" } else { "without" }
    );
    let finding = Diagnostic::new(Code::ProtocolAndTls, title);
    findings.push(if tls {
        finding
            .at(node.place, "HTTP/2 without TLS")
            .also(listener.key_place(&["tls"]), "TLS ends here")
            .patch(node.place, "\"h2\"")
    } else {
        finding
            .at(node.place, "agreed on in TLS, which the listener has not")
            .patch(node.place, "\"h2c\"")
    });
}

/// Whether endpoints may be spoken to in HTTP/2.
pub(super) fn may_speak_http2(upstream: &Upstream) -> bool {
    let offered = upstream.tls.as_ref().map(|tls| &tls.alpn);
    match upstream.protocol.unwrap_or_default() {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Auto => {
            offered.is_some_and(|alpn| alpn.is_empty() || alpn.iter().any(|one| one == "h2"))
        }
        UpstreamProtocol::H2 | UpstreamProtocol::H2c => true,
    }
}

/// Where no requests go, there is nothing to speak HTTP in.
fn of_bytes(world: &World<'_>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let names = |node: &Node| node.at(&["upstream"]).and_then(Node::str) == Some(upstream.name);
    let listener = world.listeners.values().find(|one| names(one.node));
    let route = world.routes.values().find(|one| names(one.node));
    let from = listener.map(|one| one.place(&["upstream"]));
    let Some(from) = from.or_else(|| route.map(|one| one.place(&["upstream"]))) else {
        return;
    };
    // What is meant anyway may be written anywhere.
    let protocol = upstream.written.as_ref().and_then(|one| one.protocol);
    let keys = match protocol.unwrap_or_default() {
        UpstreamProtocol::Http1 => &["http2"][..],
        UpstreamProtocol::H2 | UpstreamProtocol::H2c | UpstreamProtocol::Auto => {
            &["protocol", "http2"]
        }
    };
    for key in keys {
        if let Some(place) = upstream.node.key_at(&[*key]) {
            let title = format!("`{key}` of upstream `{}` changes nothing", upstream.name);
            findings.push(
                Diagnostic::new(Code::NoEffect, title)
                    .at(place, "it says how requests are sent")
                    .also(from, "bytes are relayed as they come"),
            );
        }
    }
}

fn of_upstream(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(written) = upstream.whole() else {
        return;
    };
    let place = upstream.place(&["protocol"]);
    let reason = upstream.has(&["protocol"]).then_some(place);
    let tls = upstream.has(&["tls"]);
    let title = |what: &str| format!("upstream `{}` cannot speak {what} TLS", upstream.name);
    if !may_speak_http2(written) {
        let side = side(upstream, "upstream");
        idle(&side, reason, UPSTREAM_HELP, findings);
    }
    match written.protocol.unwrap_or_default() {
        UpstreamProtocol::H2 if !tls => findings.push(
            Diagnostic::new(Code::ProtocolAndTls, title("`h2` without"))
                .at(place, "agreed on in TLS, which the upstream has not")
                .patch(place, "\"h2c\""),
        ),
        UpstreamProtocol::H2c if tls => findings.push(
            Diagnostic::new(Code::ProtocolAndTls, title("`h2c` within"))
                .at(place, "HTTP/2 without TLS")
                .also(upstream.key_place(&["tls"]), "spoken to within TLS")
                .patch(place, "\"h2\""),
        ),
        UpstreamProtocol::Auto if !tls => {
            let title = format!("`auto` of upstream `{}` is always HTTP/1.1", upstream.name);
            findings.push(
                Diagnostic::new(Code::NoEffect, title)
                    .at(place, "endpoints choose in TLS, which the upstream has not")
                    .help("`h2c` is HTTP/2 without TLS"),
            );
        }
        UpstreamProtocol::Http1
        | UpstreamProtocol::H2
        | UpstreamProtocol::H2c
        | UpstreamProtocol::Auto => {}
    }
}

/// Settings of HTTP/2 where it is not spoken.
fn idle(side: &Side<'_>, reason: Option<Place>, help: &str, findings: &mut Findings) {
    let Some(place) = side.node.key_at(&["http2"]) else {
        return;
    };
    let title = format!("`{}.{}.http2` does nothing", side.kind, side.name);
    let finding = Diagnostic::new(Code::WithoutHttp2, title)
        .at(place, "settings of HTTP/2")
        .help(help);
    findings.push(match reason {
        Some(reason) => finding.also(reason, "only HTTP/1.1 is spoken"),
        None => finding.also(side.key, "only HTTP/1.1 is spoken"),
    });
}

/// All bodies of a connection together cannot be allowed less than one of them.
fn windows(side: &Side<'_>, findings: &mut Findings) {
    let read = |key: &str, default: Size| {
        let node = side.node.at(&["http2", key]);
        let read = match node {
            Some(node) => node.str().and_then(|text| text.parse::<Size>().ok()),
            None => Some(default),
        };
        read.map(|size| (node.map(|node| node.place), size))
    };
    let stream = read("stream_window", STREAM_WINDOW);
    let connection = read("connection_window", CONNECTION_WINDOW);
    let (Some((one, stream)), Some((all, connection))) = (stream, connection) else {
        return;
    };
    if stream <= connection {
        return;
    }
    let title = format!(
        "a body of {} `{}` may be more than all of them",
        side.kind, side.name
    );
    let found = Diagnostic::new(Code::Windows, title);
    findings.push(match (one, all) {
        (Some(one), Some(all)) => found
            .at(one, format!("one body: {stream}"))
            .also(all, format!("all bodies of a connection: {connection}")),
        (Some(one), None) => found.at(one, format!("one body: {stream}")).help(format!(
            "`connection_window` is {connection} unless it is set"
        )),
        (None, Some(all)) => found
            .at(all, format!("all bodies of a connection: {connection}"))
            .help(format!("`stream_window` is {stream} unless it is set")),
        (None, None) => return,
    });
}

const LISTENER_HELP: &str =
    "`protocols` has `h2` with `tls`, where that is also the default, and `h2c` without";
const UPSTREAM_HELP: &str = "`protocol` is `h2` or `auto` with `tls`, and `h2c` without";

/// As documented at `http2.stream_window` and `http2.connection_window`.
const STREAM_WINDOW: Size = Size(64 * 1024);
const CONNECTION_WINDOW: Size = Size(1024 * 1024);
