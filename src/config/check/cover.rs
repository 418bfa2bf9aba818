//! Routes that another takes everything from, and pairs between which nothing decides.
//!
//! Precedence goes by host, path, methods, client's certificate, fields and query. A route can
//! therefore only take *everything* from another when both name the same host and either the same
//! rest too (then nothing but their names decides: an error) or a regular expression against a
//! prefix, which it outranks.

use std::collections::{BTreeMap, BTreeSet};

use super::listeners::{is_tcp, redirects_all};
use super::server_names::takes_connections;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::{Listener, Route};
use crate::config::syntax::{compile, normalised_host};

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let of_requests = world
        .routes
        .values()
        .filter(|route| !takes_connections(route));
    let rules: Vec<Rule<'_, '_>> = of_requests.filter_map(Rule::new).collect();
    same(&rules, findings);
    under_regex(&rules, findings);
    for rule in &rules {
        no_listener(world, rule, findings);
        connect(rule, findings);
    }
    fallback(world, &rules, findings);
}

/// What a route matches, in a form in which the same is written only one way.
struct Rule<'w, 'a> {
    item: &'w Item<'a, Route>,
    listener: Option<&'w str>,
    /// `*` for any.
    hosts: Vec<String>,
    path: Path<'w>,
    methods: BTreeSet<&'w str>,
    /// And what the client's certificate must say.
    headers: BTreeMap<String, &'w str>,
    query: &'w BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Path<'w> {
    Exact(&'w str),
    /// Without its last slash.
    Prefix(&'w str),
    Regex(&'w str),
}

impl<'w, 'a> Rule<'w, 'a> {
    fn new(item: &'w Item<'a, Route>) -> Option<Self> {
        let route = item.whole()?;
        let mut hosts: Vec<String> = route
            .hosts
            .iter()
            .map(|host| normalised_host(host))
            .collect();
        if hosts.is_empty() {
            hosts.push("*".to_owned());
        }
        let path = route.path.as_deref().unwrap_or("/");
        let path = if let Some(exact) = path.strip_prefix('=') {
            Path::Exact(exact)
        } else if let Some(regex) = path.strip_prefix('~') {
            Path::Regex(regex)
        } else {
            Path::Prefix(path.strip_suffix('/').unwrap_or(path))
        };
        let headers = route.headers.iter();
        let shown = &route.client_certificate;
        let shown = [
            ("client_certificate.subject", &shown.subject),
            ("client_certificate.san", &shown.san),
            ("client_certificate.spiffe_id", &shown.spiffe_id),
            ("client_certificate.fingerprint", &shown.fingerprint),
        ];
        let shown = shown.into_iter().filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some((name.to_owned(), value))
        });
        Some(Self {
            item,
            listener: route.listener.as_deref(),
            hosts,
            path,
            methods: route.methods.iter().map(String::as_str).collect(),
            headers: headers
                .map(|(k, v)| (k.to_ascii_lowercase(), v.as_str()))
                .chain(shown)
                .collect(),
            query: &route.query,
        })
    }

    fn shares_listener(&self, other: &Self) -> bool {
        match (self.listener, other.listener) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }

    /// Whether some request has a method of both, with neither naming more than the other.
    fn ties_in_methods(&self, other: &Self) -> bool {
        let both_any = self.methods.is_empty() && other.methods.is_empty();
        both_any || !self.methods.is_disjoint(&other.methods)
    }

    /// Whether everything that the other asks of fields and query is also asked here, and its
    /// listener and methods include those here.
    fn is_narrower_than(&self, other: &Self) -> bool {
        let listener = other.listener.is_none() || other.listener == self.listener;
        let methods = other.methods.is_empty()
            || (!self.methods.is_empty() && self.methods.is_subset(&other.methods));
        let headers = other
            .headers
            .iter()
            .all(|(k, v)| self.headers.get(k) == Some(v));
        let query = other
            .query
            .iter()
            .all(|(k, v)| self.query.get(k) == Some(v));
        listener && methods && headers && query
    }

    fn has_no_conditions(&self) -> bool {
        self.methods.is_empty() && self.headers.is_empty() && self.query.is_empty()
    }
}

/// Equal matches. Only rules with the same host and path are compared, so that a thousand routes do
/// not cost a million comparisons.
fn same(rules: &[Rule<'_, '_>], findings: &mut Findings) {
    let mut groups: BTreeMap<(&str, Path<'_>), Vec<&Rule<'_, '_>>> = BTreeMap::new();
    let mut found: BTreeSet<(&str, &str)> = BTreeSet::new();
    for rule in rules {
        for host in &rule.hosts {
            let group = groups.entry((host, rule.path)).or_default();
            let twin = group.iter().find(|other| {
                other.item.name != rule.item.name
                    && rule.shares_listener(other)
                    && rule.ties_in_methods(other)
                    && rule.headers == other.headers
                    && rule.query == other.query
            });
            if let Some(twin) = twin
                && found.insert((twin.item.name, rule.item.name))
            {
                findings.push(ambiguous(twin, rule, host));
            }
            group.push(rule);
        }
    }
}

fn ambiguous(a: &Rule<'_, '_>, b: &Rule<'_, '_>, host: &str) -> Diagnostic {
    let (first, second) = if a.item.key <= b.item.key {
        (a, b)
    } else {
        (b, a)
    };
    let title = format!(
        "routes `{}` and `{}` match the same requests",
        first.item.name, second.item.name
    );
    let place = if second.item.has(&["path"]) {
        second.item.place(&["path"])
    } else {
        second.item.key
    };
    let host = if host == "*" {
        "every host".to_owned()
    } else {
        format!("`{host}`")
    };
    Diagnostic::new(Code::SameMatch, title)
        .at(place, format!("the same path for {host}"))
        .also(first.item.key, "neither is more specific than this one")
        .help("tell them apart by host, path, method, field or query, or make them one `split`")
}

/// Prefixes under an expression that matches whatever they match. An expression without an end
/// condition that is found in the prefix is found in everything that begins with it.
fn under_regex(rules: &[Rule<'_, '_>], findings: &mut Findings) {
    for strong in rules {
        let Path::Regex(expression) = strong.path else {
            continue;
        };
        let looks_behind = ["$", "\\b", "\\B", "\\z"]
            .iter()
            .any(|end| expression.contains(end));
        let Ok(regex) = compile(expression) else {
            continue;
        };
        for weak in rules.iter().filter(|_| !looks_behind) {
            let Path::Prefix(prefix) = weak.path else {
                continue;
            };
            let hosts = weak.hosts.iter().all(|host| strong.hosts.contains(host));
            let prefix = if prefix.is_empty() { "/" } else { prefix };
            if hosts && weak.is_narrower_than(strong) && regex.is_match(prefix) {
                findings.push(covered(strong, weak));
            }
        }
    }
}

fn covered(strong: &Rule<'_, '_>, weak: &Rule<'_, '_>) -> Diagnostic {
    let title = format!("nothing reaches route `{}`", weak.item.name);
    let label = "a regular expression goes before a prefix, and this one matches all of it";
    Diagnostic::new(Code::Unreachable, title)
        .at(
            weak.item.key,
            "every request that it matches is taken before",
        )
        .also(strong.item.place(&["path"]), label)
}

/// A route for every HTTP listener where there is none.
fn no_listener(world: &World<'_>, rule: &Rule<'_, '_>, findings: &mut Findings) {
    // What is not redirected on them came over TLS, as a trusted proxy says.
    let hands_on = |listener: &Item<'_, Listener>| {
        !is_tcp(listener) && (!redirects_all(listener) || listener.has(&["trusted_proxies"]))
    };
    let any_http = world.listeners.values().any(hands_on);
    if rule.listener.is_none() && !any_http && !world.listeners.is_empty() {
        let title = format!("nothing reaches route `{}`", rule.item.name);
        findings.push(Diagnostic::new(Code::Unreachable, title).at(
            rule.item.key,
            "there is no listener that would hand it requests",
        ));
    }
}

/// CONNECT is refused before routes are asked, unless the route opens tunnels.
fn connect(rule: &Rule<'_, '_>, findings: &mut Findings) {
    let opens = rule
        .item
        .whole()
        .is_some_and(|route| route.connect == Some(true));
    if rule.methods.len() == 1 && rule.methods.contains("CONNECT") && !opens {
        let title = format!("nothing reaches route `{}`", rule.item.name);
        findings.push(
            Diagnostic::new(Code::Unreachable, title)
                .at(rule.item.place(&["methods"]), "CONNECT is refused")
                .help("`connect = true` lets the route open tunnels"),
        );
    }
}

/// The target of a listener that a route for everything leaves nothing to.
fn fallback(world: &World<'_>, rules: &[Rule<'_, '_>], findings: &mut Findings) {
    for listener in world
        .listeners
        .values()
        .filter(|listener| !is_tcp(listener))
    {
        let redirects = redirects_all(listener);
        let key = if redirects {
            "redirect_to_https"
        } else if listener.has(&["to"]) {
            "to"
        } else {
            "upstream"
        };
        if !listener.has(&[key]) {
            continue;
        }
        let takes_all = rules.iter().find(|rule| {
            rule.listener
                .map_or(!redirects, |name| name == listener.name)
                && rule.hosts.iter().any(|host| host == "*")
                && rule.path == Path::Prefix("")
                && rule.has_no_conditions()
        });
        if let Some(rule) = takes_all {
            let what = if redirects { "redirect" } else { "target" };
            let title = format!("nothing reaches the {what} of listener `{}`", listener.name);
            findings.push(
                Diagnostic::new(Code::Unreachable, title)
                    .at(listener.key_place(&[key]), "for what no route takes")
                    .also(rule.item.key, "this route takes everything"),
            );
        }
    }
}
