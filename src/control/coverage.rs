//! Names of certificates against hosts of routes: what clients ask for should be certified, and
//! what is certified asked for.
//!
//! Only what is sure is told. A route that names no listener may be meant for any of them, so its
//! hosts count as certified once one listener has a certificate for them; a certificate's name is
//! unused only where every request of its listener has to name some other host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::certificates::Certificates;
use crate::config::{Config, Diagnostic, Places, Route};

/// A host of a route without a certificate.
#[derive(Debug, PartialEq, Eq)]
struct Uncovered<'a> {
    route: &'a str,
    /// Which of the route's hosts it is.
    index: usize,
    host: &'a str,
    /// The listeners where it can be asked for over TLS.
    listeners: Vec<&'a str>,
}

/// A name of a certificate that no route has a use for.
#[derive(Debug, PartialEq, Eq)]
struct Unused<'a> {
    listener: &'a str,
    /// Which of the listener's certificates it is of.
    index: usize,
    name: &'a str,
}

/// What does not fit together.
pub fn findings(config: &Config, certificates: &Certificates, places: &Places) -> Vec<Diagnostic> {
    let uncovered = uncovered(config, certificates).into_iter();
    let uncovered = uncovered
        .map(|one| places.uncovered_host(one.route, (one.index, one.host), &one.listeners));
    let unused = unused(config, certificates).into_iter();
    let unused = unused.map(|one| places.unused_name(one.listener, one.index, one.name));
    uncovered.chain(unused).collect()
}

fn uncovered<'a>(config: &'a Config, certificates: &'a Certificates) -> Vec<Uncovered<'a>> {
    let mut found = Vec::new();
    for (name, route) in &config.route {
        let asked = certificates
            .keys()
            .filter(|listener| is_asked(route, listener));
        let listeners: Vec<&str> = asked.map(String::as_str).collect();
        if listeners.is_empty() {
            continue;
        }
        let certified = listeners.iter().flat_map(|name| &certificates[*name]);
        let names: BTreeSet<&str> = certified
            .flat_map(|certificate| certificate.names.iter().map(|name| &**name))
            .collect();
        for (index, host) in route.hosts.iter().enumerate() {
            if !is_covered(&lower(host), &names) {
                found.push(Uncovered {
                    route: name,
                    index,
                    host,
                    listeners: listeners.clone(),
                });
            }
        }
    }
    found
}

fn unused<'a>(config: &'a Config, certificates: &'a Certificates) -> Vec<Unused<'a>> {
    let mut found = Vec::new();
    for (listener, certificates) in certificates {
        let Some(hosts) = hosts_of(config, listener) else {
            continue;
        };
        for (index, certificate) in certificates.iter().enumerate() {
            let names = certificate.names.iter();
            let unused = names.filter(|name| !hosts.iter().any(|host| meet(host, name)));
            found.extend(unused.map(|name| Unused {
                listener,
                index,
                name,
            }));
        }
    }
    found
}

/// Every host that something is served for at a listener; `None` if that is any.
fn hosts_of(config: &Config, listener: &str) -> Option<Vec<String>> {
    let written = config.listener.get(listener)?;
    if written.upstream.is_some() || !written.to.is_empty() {
        return None;
    }
    let mut hosts = Vec::new();
    for route in config.route.values() {
        if !is_asked(route, listener) {
            continue;
        }
        if route.hosts.is_empty() {
            return None;
        }
        hosts.extend(route.hosts.iter().map(|host| lower(host)));
    }
    // Without a route everything is answered with 404, which has its own warning.
    let is_any = hosts.is_empty() || hosts.iter().any(|host| host == "*");
    (!is_any).then_some(hosts)
}

fn is_asked(route: &Route, listener: &str) -> bool {
    route
        .listener
        .as_deref()
        .is_none_or(|name| name == listener)
}

/// Whether some certificate is for a host of a route. `*.x` needs the wildcard: the names below `x`
/// are not known. Who asks for an address names nothing in the handshake.
fn is_covered(host: &str, names: &BTreeSet<&str>) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    if host == "*" || address.parse::<IpAddr>().is_ok() || names.contains(host) {
        return true;
    }
    let parent = host.split_once('.').map(|(_, parent)| parent);
    parent.is_some_and(|parent| names.contains(format!("*.{parent}").as_str()))
}

/// Whether some name that a client can ask for belongs to both: a host of a route, which may be
/// `*.x` for everything below `x`, and a certificate's name, whose `*` is one label.
fn meet(host: &str, name: &str) -> bool {
    let is_below = |name: &str, top: &str| {
        let rest = name.strip_suffix(top);
        rest.is_some_and(|rest| rest.ends_with('.'))
    };
    match (host.strip_prefix("*."), name.strip_prefix("*.")) {
        (None, None) => host == name,
        (Some(top), None) => is_below(name, top),
        (None, Some(parent)) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        (Some(top), Some(parent)) => top == parent || is_below(parent, top),
    }
}

/// As hosts are compared.
fn lower(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::cases;

    #[test]
    fn what_a_certificate_covers_is_one_label() {
        let names = BTreeSet::from(["shop.test", "*.shop.test", "*.b.test"]);
        for (host, covered) in [
            ("shop.test", true),
            ("a.shop.test", true),
            ("a.a.shop.test", false),
            ("*.shop.test", true),
            ("*.b.test", true),
            ("b.test", false),
            ("*.a.b.test", false),
            ("test", false),
            ("*", true),
            ("192.0.2.1", true),
            ("[2001:db8::1]", true),
        ] {
            assert_eq!(is_covered(host, &names), covered, "{host}");
        }
    }

    #[test]
    fn a_name_is_used_where_one_client_could_ask_for_it() {
        for (host, name, used) in [
            ("a.test", "a.test", true),
            ("a.test", "b.test", false),
            ("*.test", "a.b.test", true),
            ("*.b.test", "ab.test", false),
            ("*.b.test", "b.test", false),
            ("a.b.test", "*.b.test", true),
            ("b.test", "*.b.test", false),
            ("a.a.b.test", "*.b.test", false),
            ("*.test", "*.b.test", true),
            ("*.b.test", "*.b.test", true),
            ("*.a.b.test", "*.b.test", false),
        ] {
            assert_eq!(meet(host, name), used, "{host} {name}");
        }
    }

    #[test]
    fn what_is_found_has_its_place() {
        let outcome = cases::case("W0318");
        let findings = vec![outcome.places.uncovered_host(
            "api",
            (1, "api.example.org"),
            &["https", "public"],
        )];
        cases::found("W0318", outcome, findings);
        let outcome = cases::case("W0319");
        let findings = vec![outcome.places.unused_name("https", 1, "example.org")];
        cases::found("W0319", outcome, findings);
    }
}
