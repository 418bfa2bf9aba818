//! What an instance does with itself: that it can ever make a difference.

use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    ready_when(world, findings);
    wait_for(world, findings);
}

/// Without health checks an upstream is nearly always well.
fn ready_when(world: &World<'_>, findings: &mut Findings) {
    let named = world.root.at(&["admin", "ready_when"]).map(Node::items);
    for node in named.into_iter().flatten() {
        let upstream = node.str().and_then(|name| world.upstreams.get(name));
        let Some(upstream) = upstream.filter(|it| it.sound && !it.has(&["health"])) else {
            continue;
        };
        let title = format!("readiness does not follow upstream `{}`", upstream.name);
        findings.push(
            Diagnostic::new(Code::NoEffect, title)
                .at(
                    node.place,
                    "it has no health check, so nothing is known of it",
                )
                .also(upstream.key, "`health` is missing here"),
        );
    }
}

/// Only outbound listeners wait.
fn wait_for(world: &World<'_>, findings: &mut Findings) {
    let Some(place) = world.root.key_at(&["shutdown", "wait_for"]) else {
        return;
    };
    let mut listeners = world.listeners.values();
    let waits = listeners.any(|listener| {
        let direction = listener.node.at(&["direction"]);
        !listener.sound || direction.and_then(Node::str) == Some("outbound")
    });
    if !waits {
        findings.push(
            Diagnostic::new(Code::NoEffect, "`shutdown.wait_for` does nothing")
                .at(place, "no listener has `direction = \"outbound\"`")
                .help("it is for listeners that the application beside this instance calls"),
        );
    }
}
