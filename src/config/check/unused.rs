//! Upstreams that nothing sends traffic to.
//!
//! Where something was refused, what names an upstream may be just that: a misspelt key, a value of
//! another type. So every word of a table with a mistake counts as a name that may have been meant,
//! and nothing is said where a variable without a value could have named anything. What is left is
//! unused whatever the mistakes turn out to be, and is told in the same run.

use std::collections::BTreeSet;

use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::near::nearest;
use crate::config::node::{Node, Value};

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let Some(named) = named(world) else {
        return;
    };
    let known = |name: &str| {
        let exact = world.upstreams.get_key_value(name).map(|(name, _)| *name);
        exact.or_else(|| nearest(name, world.upstreams.keys().copied()))
    };
    // A name that does not exist was probably meant to be the nearest one.
    let used: BTreeSet<&str> = named.into_iter().filter_map(known).collect();
    for upstream in world.upstreams.values() {
        if !used.contains(upstream.name) {
            let title = format!("nothing sends traffic to upstream `{}`", upstream.name);
            findings.push(
                Diagnostic::new(Code::UnusedUpstream, title)
                    .at(upstream.key, "no route and no listener names it"),
            );
        }
    }
}

/// Every name that is, or may be meant to be, that of an upstream. `None` if it could be any.
fn named<'a>(world: &World<'a>) -> Option<Vec<&'a str>> {
    let mut names = Vec::new();
    let routes = world.routes.values().map(|route| route.node);
    let listeners = world.listeners.values().map(|listener| listener.node);
    for node in routes.chain(listeners) {
        if !node.is_sound() {
            words(node, &mut names)?;
            continue;
        }
        names.extend(node.at(&["upstream"]).and_then(Node::str));
        let shares = node.at(&["split"]).and_then(Node::table);
        names.extend(shares.into_iter().flatten().map(|(name, _)| name.as_str()));
    }
    // Tables whose own name was refused: perhaps routes.
    for (_, entry) in world.root.table().into_iter().flatten() {
        if entry.value.faulty {
            words(&entry.value, &mut names)?;
        }
    }
    Some(names)
}

/// Keys and strings anywhere in a node. `None` if one is not known.
fn words<'a>(node: &'a Node, found: &mut Vec<&'a str>) -> Option<()> {
    match &node.value {
        Value::String(text) if node.faulty && text.text.contains("${") => return None,
        Value::String(text) => found.push(&text.text),
        Value::Array(items) => {
            for item in items {
                words(item, found)?;
            }
        }
        Value::Table(table) => {
            for (name, entry) in table {
                found.push(name);
                words(&entry.value, found)?;
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
    Some(())
}
