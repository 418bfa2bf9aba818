//! Limits on connections: that each does something, and that none hides another.

use super::listeners::is_udp;
use super::sockets::bind;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Listener;
use crate::config::syntax::address::Bind;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        if !listener.has(&["limits"]) {
            continue;
        }
        if is_udp(listener) {
            let why = "datagrams come here, and no connections";
            without_effect(listener, &["limits"], why, findings);
            continue;
        }
        let is_local = matches!(bind(listener), Some(Bind::Unix(_)));
        // Or else a PROXY header may say where a client is.
        if is_local && !listener.has(&["proxy_protocol"]) {
            for key in OF_ADDRESSES {
                let why = "clients have no address here";
                without_effect(listener, &["limits", key], why, findings);
            }
        } else if listener.sound {
            let lacks = |key| !listener.has(&["limits", key]);
            if lacks("per_subnet") {
                for key in ["subnet_v4", "subnet_v6"] {
                    let why = "it is for `per_subnet`";
                    without_effect(listener, &["limits", key], why, findings);
                }
            }
            if lacks("per_client") && lacks("rate_per_client") {
                let why = "it is for `per_client` and `rate_per_client`";
                without_effect(listener, &["limits", "client_v6"], why, findings);
            }
        }
        hidden(listener, findings);
    }
}

fn without_effect(
    listener: &Item<'_, Listener>,
    path: &[&str],
    why: &str,
    findings: &mut Findings,
) {
    if let Some(written) = listener.node.key_at(path) {
        let title = format!(
            "`listener.{}.{}` does nothing",
            listener.name,
            path.join(".")
        );
        findings.push(Diagnostic::new(Code::LimitWithoutEffect, title).at(written, why));
    }
}

/// A limit that another one comes before.
fn hidden(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let Some(written) = listener.whole() else {
        return;
    };
    let limits = &written.limits;
    let (per_client, per_subnet) = (&["limits", "per_client"][..], &["limits", "per_subnet"][..]);
    let all = (&["max_connections"][..], written.max_connections);
    for (path, limit, (wider_path, wider)) in [
        (
            per_client,
            limits.per_client,
            (per_subnet, limits.per_subnet),
        ),
        (per_client, limits.per_client, all),
        (per_subnet, limits.per_subnet, all),
    ] {
        let (Some(limit), Some(wider)) = (limit, wider) else {
            continue;
        };
        if limit <= wider {
            continue;
        }
        let name = listener.name;
        let title = format!("`listener.{name}.{}` is never reached", path.join("."));
        let label = format!("{wider} come before {limit}");
        findings.push(
            Diagnostic::new(Code::HiddenLimit, title)
                .at(listener.place(path), label)
                .also(listener.place(wider_path), "this limit is reached first"),
        );
        return;
    }
}

/// What tells clients apart by their address.
const OF_ADDRESSES: [&str; 6] = [
    "per_client",
    "client_v6",
    "per_subnet",
    "subnet_v4",
    "subnet_v6",
    "rate_per_client",
];
