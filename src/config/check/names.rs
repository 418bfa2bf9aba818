//! Names that something refers to: every one has to exist.

use super::{Findings, Named, World, list_names, quoted, suggest_name};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::near::nearest;
use crate::config::node::Node;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        if let Some(listener) = route.node.at(&["listener"]) {
            let who = format!("route `{}` belongs to listener", route.name);
            must_exist(&who, "listener", listener, &world.listeners, findings);
        }
        if let Some(upstream) = route.node.at(&["upstream"]) {
            let who = format!("route `{}` sends traffic to upstream", route.name);
            must_exist(&who, "upstream", upstream, &world.upstreams, findings);
        }
        split(world, route.name, route.node, findings);
    }
    let ready_when = world.root.at(&["admin", "ready_when"]).map(Node::items);
    for upstream in ready_when.into_iter().flatten() {
        let who = "readiness follows upstream";
        must_exist(who, "upstream", upstream, &world.upstreams, findings);
    }
    for listener in world.listeners.values() {
        if let Some(upstream) = listener.node.at(&["upstream"]) {
            let who = format!("listener `{}` sends traffic to upstream", listener.name);
            must_exist(&who, "upstream", upstream, &world.upstreams, findings);
        }
    }
}

/// A name in a string.
pub(super) fn must_exist<T>(
    who: &str,
    kind: &str,
    wanted: &Node,
    defined: &Named<'_, T>,
    findings: &mut Findings,
) {
    let Some(text) = wanted.text().filter(|_| !wanted.faulty) else {
        return;
    };
    if defined.contains_key(text.text.as_str()) {
        return;
    }
    let shown = text.shown();
    let title = format!("{who} `{shown}`, which does not exist");
    let label = format!("no [{kind}.{shown}] in this configuration");
    let finding = Diagnostic::new(Code::UnknownName, title).at(wanted.place, label);
    findings.push(suggest_name(finding, kind, wanted, defined));
}

/// A split names its upstreams in keys, which are patched without quotes.
fn split(world: &World<'_>, route: &str, node: &Node, findings: &mut Findings) {
    let shares = node.at(&["split"]).and_then(Node::table);
    for (name, entry) in shares.into_iter().flatten() {
        if world.upstreams.contains_key(name.as_str()) {
            continue;
        }
        let title =
            format!("route `{route}` sends traffic to upstream `{name}`, which does not exist");
        let label = format!("no [upstream.{name}] in this configuration");
        let finding = Diagnostic::new(Code::UnknownName, title).at(entry.key, label);
        let near = nearest(name, world.upstreams.keys().copied());
        findings.push(match near {
            Some(near) => finding
                .also(
                    world.upstreams[near].key,
                    "an upstream with a similar name is defined here",
                )
                .patch(entry.key, as_key(near)),
            None => finding.help(list_names("upstream", &world.upstreams)),
        });
    }
}

/// A name as a key: with quotes only where TOML needs them.
fn as_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}
