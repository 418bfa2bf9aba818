//! The checks: each value by itself, then what the values say to each other.
//!
//! All of them run over everything, so that one run finds every mistake. A table in which a value
//! was refused still takes part with what is left of it; only findings about something *missing*
//! wait until it is whole, since what is missing may be what was refused.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::format::{Config, Defaults, Listener, Route, Upstream};
use super::near::nearest;
use super::node::Node;
use super::source::Place;

mod actions;
mod affinity;
mod binds;
mod client_rules;
mod cover;
mod endpoints;
mod fault;
mod fields;
mod health;
mod instance;
mod intercept;
mod limits;
mod listeners;
mod names;
mod outlier;
mod protocols;
mod proxy_protocol;
mod retries;
mod server_names;
mod sockets;
pub(super) mod structure;
mod tests_of_routes;
mod timeouts;
mod tls;
mod udp;
mod unused;
mod upstream_tls;
mod upstreams;
mod zones;

pub(super) use self::fault::quoted;
pub(super) use self::listeners::HTTP_ONLY;
pub(super) use self::server_names::WITH_NAMES;
pub(super) use self::timeouts::{
    UDP_LISTENER as UDP_TIMEOUTS, UPSTREAM as UPSTREAM_TIMEOUTS, of_listener as listener_timeouts,
};

/// What the cross-checks look at: every named table, typed as far as its values were good.
#[derive(Debug)]
struct World<'a> {
    root: &'a Node,
    defaults: Defaults,
    listeners: Named<'a, Listener>,
    routes: Named<'a, Route>,
    upstreams: Named<'a, Upstream>,
}

type Named<'a, T> = BTreeMap<&'a str, Item<'a, T>>;

/// One named table.
#[derive(Debug)]
struct Item<'a, T> {
    name: &'a str,
    key: Place,
    node: &'a Node,
    /// `None` if what is left is not enough to be one.
    written: Option<T>,
    /// Nothing in it was refused.
    sound: bool,
}

/// Findings as they are made.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Diagnostic>,
}

/// Checks how the parts of a configuration fit together.
pub(super) fn relations(root: &Node) -> Vec<Diagnostic> {
    let world = World::new(root);
    let mut findings = Findings::default();
    version(&world, &mut findings);
    names::check(&world, &mut findings);
    binds::check(&world, &mut findings);
    listeners::check(&world, &mut findings);
    protocols::check(&world, &mut findings);
    tls::check(&world, &mut findings);
    client_rules::check(&world, &mut findings);
    server_names::check(&world, &mut findings);
    actions::check(&world, &mut findings);
    cover::check(&world, &mut findings);
    fields::check(&world, &mut findings);
    timeouts::check(&world, &mut findings);
    udp::check(&world, &mut findings);
    sockets::check(&world, &mut findings);
    limits::check(&world, &mut findings);
    proxy_protocol::check(&world, &mut findings);
    retries::check(&world, &mut findings);
    upstreams::check(&world, &mut findings);
    affinity::check(&world, &mut findings);
    upstream_tls::check(&world, &mut findings);
    unused::check(&world, &mut findings);
    endpoints::check(&world, &mut findings);
    intercept::check(&world, &mut findings);
    instance::check(&world, &mut findings);
    zones::check(&world, &mut findings);
    health::check(&world, &mut findings);
    outlier::check(&world, &mut findings);
    tests_of_routes::check(&world, &mut findings);
    findings.list
}

fn version(world: &World<'_>, findings: &mut Findings) {
    let Some(node) = world.root.at(&["version"]).filter(|node| !node.faulty) else {
        return;
    };
    if node.to_toml().and_then(|value| value.as_integer()) != Some(Config::VERSION) {
        let title = "this version of the format is unknown";
        let found = Diagnostic::new(Code::Version, title)
            .at(node.place, "only version 1 exists")
            .patch(node.place, Config::VERSION.to_string());
        findings.push(found);
    }
}

impl<'a> World<'a> {
    fn new(root: &'a Node) -> Self {
        let defaults = root.at(&["defaults"]).and_then(typed).unwrap_or_default();
        Self {
            root,
            defaults,
            listeners: named(root, "listener"),
            routes: named(root, "route"),
            upstreams: named(root, "upstream"),
        }
    }

    /// Whether something may be missing only because the table that holds it was refused.
    fn is_whole(&self) -> bool {
        let listeners = self.listeners.values().all(|item| item.sound);
        listeners && self.routes.values().all(|item| item.sound)
    }
}

impl<T> Item<'_, T> {
    /// The place of a value, or of the key that names the table.
    fn place(&self, keys: &[&str]) -> Place {
        self.node.at(keys).map_or(self.key, |node| node.place)
    }

    /// The place of a key, or of the key that names the table.
    fn key_place(&self, keys: &[&str]) -> Place {
        self.node.key_at(keys).unwrap_or(self.key)
    }

    /// Whether something is written behind some keys.
    fn has(&self, keys: &[&str]) -> bool {
        self.node.at(keys).is_some()
    }

    /// What is written, if nothing in it was refused.
    fn whole(&self) -> Option<&T> {
        self.written.as_ref().filter(|_| self.sound)
    }
}

impl Findings {
    fn push(&mut self, finding: Diagnostic) {
        self.list.push(finding);
    }
}

fn named<'a, T: DeserializeOwned>(root: &'a Node, kind: &str) -> Named<'a, T> {
    let table = root.at(&[kind]).and_then(Node::table);
    table
        .into_iter()
        .flatten()
        .map(|(name, entry)| {
            let item = Item {
                name: name.as_str(),
                key: entry.key,
                node: &entry.value,
                written: typed(&entry.value),
                sound: entry.value.is_sound(),
            };
            (name.as_str(), item)
        })
        .collect()
}

fn typed<T: DeserializeOwned>(node: &Node) -> Option<T> {
    T::deserialize(node.to_toml()?).ok()
}

/// "Did you mean" among names that are defined: the finding with a label at the nearest one, and
/// the patch for a name that the file itself holds.
fn suggest_name<T>(
    finding: Diagnostic,
    kind: &str,
    wanted: &Node,
    defined: &Named<'_, T>,
) -> Diagnostic {
    let Some(text) = wanted.text() else {
        return finding;
    };
    let Some(near) = nearest(&text.text, defined.keys().copied()) else {
        return finding.help(list_names(kind, defined));
    };
    let article = if kind.starts_with('u') { "an" } else { "a" };
    let label = format!("{article} {kind} with a similar name is defined here");
    let finding = finding.also(defined[near].key, label);
    if text.is_written() {
        finding.patch(wanted.place, quoted(near))
    } else {
        finding
    }
}

/// The names that exist, for a name that is like none of them.
fn list_names<T>(kind: &str, defined: &Named<'_, T>) -> String {
    if defined.is_empty() {
        return format!("there is no {kind} at all");
    }
    let names: Vec<&str> = defined.keys().copied().take(LISTED).collect();
    let more = if defined.len() > LISTED { ", …" } else { "" };
    format!("there are: {}{more}", names.join(", "))
}

/// More names than these help nobody.
const LISTED: usize = 10;
