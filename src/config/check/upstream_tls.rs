//! TLS towards endpoints: who is asked for, who may answer, and that both are said once.

use std::collections::BTreeSet;

use super::listeners::is_tcp;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Upstream, UpstreamProtocol};
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let of_requests = of_requests(world);
    for upstream in world.upstreams.values() {
        if !upstream.has(&["tls"]) {
            continue;
        }
        unverified(upstream, findings);
        conflicts(upstream, findings);
        nameless(upstream, findings);
        within_itself(world, upstream, findings);
        if of_requests.contains(upstream.name) {
            protocols(upstream, findings);
        }
    }
}

/// The upstreams that get requests, rather than the bytes of TCP listeners.
pub(super) fn of_requests<'a>(world: &World<'a>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let listeners = world.listeners.values();
    let listeners = listeners.filter(|listener| !is_tcp(listener));
    let routes = world.routes.values();
    let routes = routes.filter(|route| !route.has(&["server_name"]));
    let routes = routes.map(|route| route.node);
    for node in routes.chain(listeners.map(|listener| listener.node)) {
        names.extend(node.at(&["upstream"]).and_then(Node::str));
        let shares = node.at(&["split"]).and_then(Node::table);
        names.extend(shares.into_iter().flatten().map(|(name, _)| name.as_str()));
    }
    names
}

fn skips(upstream: &Item<'_, Upstream>) -> bool {
    let written = upstream.written.as_ref();
    let tls = written.and_then(|written| written.tls.as_ref());
    tls.is_some_and(|tls| tls.insecure_skip_verify == Some(true))
}

fn unverified(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    if skips(upstream) {
        let name = upstream.name;
        let title = format!("the endpoints of upstream `{name}` may be anybody");
        let place = upstream.place(&["tls", "insecure_skip_verify"]);
        findings.push(
            Diagnostic::new(Code::Unverified, title)
                .at(place, "any certificate will do")
                .help("`ca` names the file of the authority that signs them, `san` their names"),
        );
    }
}

/// Settings of which one makes the other void.
fn conflicts(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let mut conflict = |kept: &str, void: &str, why: &str| {
        let (kept, void) = (["tls", kept], ["tls", void]);
        if !(upstream.has(&kept) && upstream.has(&void)) {
            return;
        }
        let title = format!(
            "`{}` and `{}` of upstream `{}` contradict each other",
            kept[1], void[1], upstream.name
        );
        findings.push(
            Diagnostic::new(Code::TlsConflict, title)
                .at(upstream.key_place(&void), why)
                .also(upstream.key_place(&kept), "because of this"),
        );
    };
    conflict("ca", "roots", "no public authority is trusted");
    conflict("server_name", "server_name_from", "the name is fixed");
    if skips(upstream) {
        for void in ["ca", "roots", "san"] {
            conflict("insecure_skip_verify", void, "nothing is verified");
        }
    }
}

/// A Unix socket has no name that could be asked for.
fn nameless(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    if upstream.has(&["tls", "server_name"]) {
        return;
    }
    let addresses = super::endpoints::nodes(upstream.node).into_iter();
    let addresses = addresses.map(|(_, node)| node.at(&["address"]).unwrap_or(node));
    let is_socket = |node: &&Node| node.str().is_some_and(|text| text.starts_with("unix:"));
    for socket in addresses.filter(|node| !node.faulty).filter(is_socket) {
        let title = format!(
            "upstream `{}` has TLS, and an endpoint without a name",
            upstream.name
        );
        findings.push(
            Diagnostic::new(Code::NoNameToAsk, title)
                .at(socket.place, "whom to ask for here?")
                .also(upstream.key_place(&["tls"]), "`server_name` is missing"),
        );
    }
}

/// What is passed through is TLS already.
fn within_itself(world: &World<'_>, upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let passing = world.routes.values();
    for route in passing.filter(|route| route.has(&["server_name"])) {
        let (single, shared) = (["upstream"], ["split", upstream.name]);
        let written = route.node.at(&single).and_then(Node::str);
        let place = if written == Some(upstream.name) {
            route.place(&single)
        } else if route.has(&shared) {
            route.key_place(&shared)
        } else {
            continue;
        };
        let title = format!(
            "route `{}` passes TLS through, and upstream `{}` wraps it in another one",
            route.name, upstream.name
        );
        findings.push(
            Diagnostic::new(Code::TlsConflict, title)
                .at(
                    place,
                    "clients and endpoints speak TLS with each other here",
                )
                .also(upstream.key_place(&["tls"]), "this is for plain bytes"),
        );
    }
}

/// What is offered has to be what requests are sent in.
fn protocols(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(alpn) = upstream.node.at(&["tls", "alpn"]) else {
        return;
    };
    if !alpn.is_sound() {
        return;
    }
    let written = upstream.written.as_ref();
    let protocol = written.and_then(|written| written.protocol);
    let (spoken, offered): (&str, &[&str]) = match protocol.unwrap_or_default() {
        UpstreamProtocol::Http1 | UpstreamProtocol::H2c => ("HTTP/1.1", &HTTP[1..]),
        UpstreamProtocol::H2 => ("HTTP/2", &HTTP[..1]),
        UpstreamProtocol::Auto => ("HTTP", &HTTP),
    };
    let is_other = |one: &&Node| one.str().is_some_and(|one| !offered.contains(&one));
    if let Some(other) = alpn.items().iter().find(is_other) {
        let title = format!(
            "upstream `{}` gets requests, and offers another protocol than {spoken}",
            upstream.name
        );
        let mut finding = Diagnostic::new(Code::AlpnWithoutHttp, title)
            .at(other.place, "an endpoint may choose it")
            .help("without `alpn`, endpoints are offered what `protocol` says");
        if upstream.has(&["protocol"]) {
            finding = finding.also(upstream.place(&["protocol"]), "this is spoken");
        }
        findings.push(finding);
    }
}

/// HTTP/2, and then HTTP/1.
const HTTP: [&str; 3] = ["h2", "http/1.1", "http/1.0"];
