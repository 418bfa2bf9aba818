//! Options of sockets: that they do something, and that the kernel can do it.

use super::endpoints::{address_of, nodes};
use super::listeners::is_udp;
use super::{Findings, Item, World, udp};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Listener, Upstream};
use crate::config::node::{Node, Value};
use crate::config::syntax::address::{self, Bind, Endpoint};
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        let place = format!("listener.{}.socket", listener.name);
        let bind = bind(listener);
        if matches!(bind, Some(Bind::Unix(_))) {
            for key in OF_NETWORKS {
                let why = "an option of networks";
                without_effect(listener, &place, key, (why, "bind"), findings);
            }
        }
        file(listener, &place, bind.as_ref(), findings);
        trusts_anybody(listener, bind.as_ref(), findings);
        if is_udp(listener) {
            for key in OF_CONNECTIONS {
                let why = "an option of connections";
                without_effect(listener, &place, key, (why, "protocols"), findings);
            }
        } else if listener.sound {
            for key in OF_DATAGRAMS {
                let why = "an option of sockets for datagrams";
                without_effect(listener, &place, key, (why, "protocols"), findings);
            }
        }
        if matches!(bind, Some(Bind::One(address)) if address.is_ipv4()) {
            let why = "an option of IPv6";
            without_effect(listener, &place, "v6_only", (why, "bind"), findings);
        }
        keepalive(&place, listener.node, findings);
        replayed(listener, findings);
    }
    let (of_udp, of_others) = udp::users(world);
    for upstream in world.upstreams.values() {
        let place = format!("upstream.{}.socket", upstream.name);
        let name = upstream.name;
        if world.is_whole() && of_udp.contains(name) && !of_others.contains(name) {
            let why = "an option of connections, and datagrams are sent here";
            alone(upstream, &place, "keepalive", why, findings);
        }
        if world.is_whole() && of_others.contains(name) && !of_udp.contains(name) {
            for key in OF_DATAGRAMS {
                let why = "an option of sockets for datagrams, and connections are made here";
                alone(upstream, &place, key, why, findings);
            }
        }
        if has_paths_only(upstream) {
            for key in TO_ENDPOINTS {
                let why = "the endpoints are Unix sockets";
                alone(upstream, &place, key, why, findings);
            }
        }
        keepalive(&place, upstream.node, findings);
    }
}

/// How a listener's `v6_only` reads its `bind`: `:8080` is every address only without it, and so is
/// `[::]:8080` if it is false.
pub(super) fn bind_of(listener: &Item<'_, Listener>, bind: Bind) -> Bind {
    bind.with_v6_only(truth(listener.node, "v6_only"))
}

/// The interface that a listener is bound to.
pub(super) fn device_of<'a>(listener: &Item<'a, Listener>) -> Option<&'a str> {
    let node = listener.node.at(&["socket", "bind_to_device"])?;
    node.str().filter(|_| !node.faulty)
}

fn truth(node: &Node, key: &str) -> Option<bool> {
    match node.at(&["socket", key])?.value {
        Value::Boolean(truth) => Some(truth),
        _ => None,
    }
}

/// What a listener accepts on.
pub(super) fn bind(listener: &Item<'_, Listener>) -> Option<Bind> {
    let bind = listener.node.at(&["bind"]).filter(|node| !node.faulty);
    address::bind(bind?.str()?).ok()
}

/// Whom a file is for that there is not.
fn file(listener: &Item<'_, Listener>, place: &str, bind: Option<&Bind>, findings: &mut Findings) {
    let why = match bind {
        Some(Bind::Unix(path)) if path.starts_with('@') => "an abstract socket has no file",
        Some(Bind::Every(_) | Bind::One(_)) => "an address has no file",
        Some(Bind::Unix(_)) | None => return,
    };
    for key in OF_FILES {
        if let Some(written) = listener.node.key_at(&["socket", key]) {
            let title = format!("`{place}.{key}` does nothing");
            findings.push(
                Diagnostic::new(Code::WithoutFile, title)
                    .at(written, "about the file of a Unix socket")
                    .also(listener.place(&["bind"]), why),
            );
        }
    }
}

/// Peers that are believed, and may be anybody on this machine.
fn trusts_anybody(listener: &Item<'_, Listener>, bind: Option<&Bind>, findings: &mut Findings) {
    let Some(Bind::Unix(path)) = bind else {
        return;
    };
    let trusted = listener.node.at(&["trusted_proxies"]);
    let trusted = trusted.map_or(&[][..], Node::items);
    let Some(trusted) = trusted.iter().find(|one| one.str() == Some("unix")) else {
        return;
    };
    let mode = listener.node.at(&["socket", "mode"]);
    let is_open = mode.and_then(Node::str).is_some_and(|mode| {
        // Whoever may write to the file may connect.
        mode.ends_with(['2', '3', '6', '7'])
    });
    let (place, why) = match mode.filter(|_| is_open) {
        Some(mode) => (mode.place, "every user may connect"),
        None if path.starts_with('@') => (
            listener.place(&["bind"]),
            "an abstract socket asks nobody who he is",
        ),
        None => return,
    };
    let title = format!(
        "listener `{}` trusts every user of this machine",
        listener.name
    );
    findings.push(
        Diagnostic::new(Code::TrustsLocal, title)
            .at(trusted.place, "who comes here may say that he is anybody")
            .also(place, why),
    );
}

fn has_paths_only(upstream: &Item<'_, Upstream>) -> bool {
    let endpoints = nodes(upstream.node);
    let is_path = |(_, node): &(Option<&str>, &Node)| {
        matches!(address_of(node), Some((_, Endpoint::Unix(_))))
    };
    !endpoints.is_empty() && endpoints.iter().all(is_path)
}

fn without_effect(
    listener: &Item<'_, Listener>,
    place: &str,
    key: &str,
    (why, because): (&str, &str),
    findings: &mut Findings,
) {
    if let Some(written) = listener.node.key_at(&["socket", key]) {
        let title = format!("`{place}.{key}` does nothing");
        findings.push(
            Diagnostic::new(Code::SocketOption, title)
                .at(written, why)
                .also(listener.place(&[because]), "there are none here"),
        );
    }
}

fn alone(
    upstream: &Item<'_, Upstream>,
    place: &str,
    key: &str,
    why: &str,
    findings: &mut Findings,
) {
    if let Some(written) = upstream.node.key_at(&["socket", key]) {
        let title = format!("`{place}.{key}` does nothing");
        findings.push(Diagnostic::new(Code::SocketOption, title).at(written, why));
    }
}

/// The kernel counts in seconds, and not without end.
fn keepalive(place: &str, node: &Node, findings: &mut Findings) {
    let paths: [&[&str]; 3] = [
        &["socket", "keepalive"],
        &["socket", "keepalive", "idle"],
        &["socket", "keepalive", "interval"],
    ];
    for path in paths {
        let Some(node) = node.at(path).filter(|node| !node.faulty) else {
            continue;
        };
        let Some(time) = node.str().and_then(|text| text.parse::<Time>().ok()) else {
            continue;
        };
        let (seconds, rest) = (time.0.as_secs(), time.0.subsec_nanos());
        if rest == 0 && seconds <= LONGEST_SILENCE {
            continue;
        }
        let key = path[1..].join(".");
        let title = format!("`{place}.{key}` is not a time that the kernel can wait");
        findings.push(
            Diagnostic::new(Code::KeepaliveTime, title)
                .at(node.place, "whole seconds, at most 32767, are expected"),
        );
    }
}

/// What comes with the first segment may come twice, and a request would be carried out twice. A
/// handshake of TLS cannot be.
fn replayed(listener: &Item<'_, Listener>, findings: &mut Findings) {
    if truth(listener.node, "fast_open") != Some(true) || listener.has(&["tls"]) {
        return;
    }
    let is_local = matches!(bind(listener), Some(Bind::Unix(_)));
    if is_udp(listener) || is_local || !listener.sound {
        return;
    }
    let title = format!("what listener `{}` receives may come twice", listener.name);
    findings.push(
        Diagnostic::new(Code::ReplayedData, title)
            .at(
                listener.key_place(&["socket", "fast_open"]),
                "the network may deliver the first data again",
            )
            .help("with `tls` a repeated beginning leads nowhere"),
    );
}

/// What only a network has a use for.
const OF_NETWORKS: [&str; 8] = [
    "keepalive",
    "nodelay",
    "fast_open",
    "v6_only",
    "bind_to_device",
    "freebind",
    "mark",
    "dscp",
];

/// What only a file has.
const OF_FILES: [&str; 3] = ["mode", "owner", "group"];

/// What datagrams have no use for.
const OF_CONNECTIONS: [&str; 4] = ["backlog", "keepalive", "nodelay", "fast_open"];

/// What connections have no use for: the kernel gives theirs the room that they turn out to need.
const OF_DATAGRAMS: [&str; 2] = ["receive_buffer", "send_buffer"];

/// Options of connections to endpoints.
const TO_ENDPOINTS: [&str; 4] = ["keepalive", "bind_to_device", "mark", "dscp"];

/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` of the kernel.
const LONGEST_SILENCE: u64 = 32_767;
