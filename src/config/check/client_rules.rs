//! Rules for clients' certificates and the routes beside them: each must be able to meet the other.

use super::listeners::is_tcp;
use super::server_names::passed_through;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{CertificateMatch, Listener, Route};
use crate::config::node::Node;
use crate::config::syntax::normalised_host;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for listener in world.listeners.values() {
        without_effect(world, listener, findings);
    }
    for route in world.routes.values() {
        nobody_asked(world, route, findings);
    }
}

/// Hosts of rules whose connections do not end here.
fn without_effect(world: &World<'_>, listener: &Item<'_, Listener>, findings: &mut Findings) {
    let hosts = rules(listener).iter().flat_map(|rule| items(rule, "hosts"));
    for host in hosts.filter(|host| !host.faulty) {
        let Some(text) = host.str() else {
            continue;
        };
        let Some(route) = passed_through(world, listener.name, text) else {
            continue;
        };
        let title = format!(
            "listener `{}` asks no client of `{text}` for a certificate",
            listener.name
        );
        findings.push(
            Diagnostic::new(Code::RulePassedThrough, title)
                .at(
                    host.place,
                    "this rule does nothing for clients of this name",
                )
                .also(
                    route.key_place(&["server_name"]),
                    "they are passed through, with their TLS unread",
                ),
        );
    }
}

/// A route by clients' certificates is for listeners that ask for them, or that are told by others.
fn nobody_asked(world: &World<'_>, route: &Item<'_, Route>, findings: &mut Findings) {
    let Some(written) = route.whole() else {
        return;
    };
    if written.client_certificate == CertificateMatch::default() || route.has(&["server_name"]) {
        return;
    }
    let name = written.listener.as_deref();
    let own = world.listeners.values();
    let own = own.filter(|one| name.is_none_or(|name| name == one.name) && !is_tcp(one));
    let own: Vec<_> = own.collect();
    let may_learn = |one: &&Item<'_, Listener>| !one.sound || one.has(&["trusted_proxies"]);
    if own.is_empty() || own.iter().any(may_learn) {
        return;
    }
    let asks = |one: &&Item<'_, Listener>| one.has(&["tls", "client_certificates"]);
    if own.iter().any(asks) {
        hosts_without_rule(route, &own, findings);
        return;
    }
    let title = format!(
        "route `{}` matches by a client's certificate, and nobody asks for one",
        route.name
    );
    findings.push(
        Diagnostic::new(Code::NobodyAsked, title)
            .at(route.key_place(&["client_certificate"]), "it never matches")
            .help("`tls.client_certificates` of a listener has it ask for certificates"),
    );
}

/// Hosts of a route by certificates whose clients no rule asks for one.
fn hosts_without_rule(
    route: &Item<'_, Route>,
    own: &[&Item<'_, Listener>],
    findings: &mut Findings,
) {
    let rules: Vec<&Node> = own.iter().flat_map(|listener| rules(listener)).collect();
    let is_asked = |host: &str| {
        rules.iter().any(|rule| {
            let mut hosts = items(rule, "hosts").iter().filter_map(Node::str).peekable();
            hosts.peek().is_none() || hosts.any(|other| meet(other, host))
        })
    };
    for host in items(route.node, "hosts") {
        let Some(text) = host.str().filter(|text| !is_asked(text)) else {
            continue;
        };
        let title = format!(
            "route `{}` matches by a client's certificate, and nobody asks clients of `{text}` for one",
            route.name
        );
        findings.push(
            Diagnostic::new(Code::NobodyAsked, title)
                .at(
                    host.place,
                    "no rule of `client_certificates` is for this host",
                )
                .also(
                    route.key_place(&["client_certificate"]),
                    "it never matches there",
                )
                .help("add the host to a rule, or correct the rule's"),
        );
    }
}

/// The rules for clients of a listener.
fn rules<'a>(listener: &Item<'a, Listener>) -> &'a [Node] {
    let rules = listener.node.at(&["tls", "client_certificates"]);
    rules.map(Node::items).unwrap_or_default()
}

fn items<'a>(table: &'a Node, key: &str) -> &'a [Node] {
    table.at(&[key]).map(Node::items).unwrap_or_default()
}

/// Whether there is a name that both are for.
fn meet(one: &str, other: &str) -> bool {
    let (one, other) = (normalised_host(one), normalised_host(other));
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (None, None) => one == other,
        (Some(end), None) => is_below(&other, end),
        (None, Some(end)) => is_below(&one, end),
        (Some(end), Some(other)) => end.ends_with(other) || other.ends_with(end),
    }
}

/// Whether a name has something in front of this end; any has in front of none.
fn is_below(name: &str, end: &str) -> bool {
    name.len() > end.len() && name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_meet_where_a_name_is_of_both() {
        for (one, other, expected) in [
            ("a.test", "A.test.", true),
            ("a.test", "b.test", false),
            ("*", "10.0.0.1", true),
            ("*", "*.test", true),
            ("*.test", "b.a.test", true),
            ("*.test", "test", false),
            ("*.a.test", "*.test", true),
            ("*.a.test", "*.b.test", false),
            ("*.a.test", "*.aa.test", false),
        ] {
            assert_eq!(meet(one, other), expected, "{one} {other}");
            assert_eq!(meet(other, one), expected, "{other} {one}");
        }
    }
}
