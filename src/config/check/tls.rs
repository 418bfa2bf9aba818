//! TLS of listeners: something to show, nothing twice, only where something of it ends, and what
//! is promised to browsers.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::listeners::{is_tcp, is_udp};
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Listener;
use crate::config::node::{Node, Value};
use crate::config::source::Place;
use crate::config::syntax::normalised_host;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    key_log(world, findings);
    for listener in world.listeners.values() {
        if !listener.has(&["tls"]) {
            continue;
        }
        certificates(listener, findings);
        client_rules(listener, findings);
        hsts(listener, findings);
        if is_tcp(listener) {
            on_tcp(listener, findings);
        } else {
            offered(listener, findings);
        }
    }
}

fn key_log(world: &World<'_>, findings: &mut Findings) {
    let node = world.root.at(&["log", "tls_keys"]);
    if let Some(node) = node.filter(|node| matches!(node.value, Value::Boolean(true))) {
        let title = "the secrets of TLS sessions are written down";
        findings.push(
            Diagnostic::new(Code::LogsTlsKeys, title)
                .at(node.place, "whoever has the file can read all traffic")
                .help("take it out once the fault is found"),
        );
    }
}

fn certificates(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let written = listener.node.at(&["tls", "certificates"]);
    let Some(node) = written.filter(|node| !node.faulty) else {
        return;
    };
    if matches!(&node.value, Value::Array(items) if items.is_empty()) {
        let title = format!("listener `{}` has no certificate to show", listener.name);
        findings.push(
            Diagnostic::new(Code::NoCertificate, title)
                .at(node.place, "there is none")
                .help(
                    "each is `{ cert = \"tls/example.com.pem\", key = \"tls/example.com.key\" }`",
                ),
        );
    }
    let mut seen: HashMap<PathBuf, Place> = HashMap::new();
    for cert in node.items().iter().filter_map(|item| item.at(&["cert"])) {
        let Some(path) = path(cert) else {
            continue;
        };
        if let Some(first) = seen.get(&path) {
            twice(listener, cert, *first, findings);
        } else {
            seen.insert(path, cert.place);
        }
    }
}

/// Each host, and all others, may have one rule. `*` stands for all others too.
fn client_rules(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let Some(node) = listener.node.at(&["tls", "client_certificates"]) else {
        return;
    };
    let mut seen: HashMap<String, Place> = HashMap::new();
    for rule in node.items().iter().filter(|rule| !rule.faulty) {
        let hosts = rule.at(&["hosts"]);
        let written = hosts.map(Node::items).unwrap_or_default();
        let mut names: Vec<(String, Place)> = Vec::new();
        for host in written.iter().filter(|host| !host.faulty) {
            let name = host.str().map(normalised_host);
            let name = name.map(|name| if name == "*" { String::new() } else { name });
            names.extend(name.map(|name| (name, host.place)));
        }
        if written.is_empty() && hosts.is_none_or(|hosts| !hosts.faulty) {
            names.push((String::new(), hosts.unwrap_or(rule).place));
        }
        for (name, place) in names {
            match seen.get(&name) {
                Some(first) => double_rule(listener, &name, (place, *first), findings),
                None => drop(seen.insert(name, place)),
            }
        }
    }
}

fn double_rule(
    listener: &Item<'_, Listener>,
    name: &str,
    (second, first): (Place, Place),
    findings: &mut Findings,
) {
    let (whose, help) = match name {
        "" => (
            "all other names".to_owned(),
            "give one of them `hosts` other than `*`, or take it out",
        ),
        name => (format!("`{name}`"), "take the host out of one of the two"),
    };
    let title = format!(
        "listener `{}` has two rules for clients of {whose}",
        listener.name
    );
    findings.push(
        Diagnostic::new(Code::DoubleClientRule, title)
            .at(second, "second rule")
            .also(first, "first rule")
            .help(help),
    );
}

/// A path without what does not tell files apart. `..` does, since a folder may be a link.
fn path(cert: &Node) -> Option<PathBuf> {
    let text = cert.str().filter(|_| !cert.faulty)?;
    let parts = Path::new(text).components();
    Some(parts.filter(|part| *part != Component::CurDir).collect())
}

fn twice(listener: &Item<'_, Listener>, cert: &Node, first: Place, findings: &mut Findings) {
    let file = cert.text().map_or("", |text| text.shown());
    let title = format!(
        "listener `{}` has the certificate `{file}` twice",
        listener.name
    );
    findings.push(
        Diagnostic::new(Code::DoubleCertificate, title)
            .at(cert.place, "second time")
            .also(first, "first time")
            .help("a certificate has one key: take one of the two out"),
    );
}

fn hsts(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let written = listener.whole().and_then(|written| written.tls.as_ref());
    let Some(hsts) = written.and_then(|tls| tls.hsts.as_ref()) else {
        return;
    };
    let key = |name| ["tls", "hsts", name];
    let (max_age, below) = (key("max_age"), key("include_subdomains"));
    if hsts.max_age.0.subsec_millis() != 0 {
        let title = format!("`max_age` of listener `{}` is a fraction", listener.name);
        findings.push(
            Diagnostic::new(Code::Unit, title)
                .at(listener.place(&max_age), "browsers count whole seconds"),
        );
    }
    if hsts.preload != Some(true) {
        return;
    }
    let title = format!(
        "listener `{}` cannot be on the lists of browsers so",
        listener.name
    );
    let preload = listener.place(&key("preload"));
    if hsts.max_age.0 < YEAR {
        findings.push(
            Diagnostic::new(Code::HstsPreload, title)
                .at(
                    listener.place(&max_age),
                    "they take a year, which is `\"365d\"`",
                )
                .also(preload, "asks for it"),
        );
    } else if hsts.include_subdomains != Some(true) {
        let finding = Diagnostic::new(Code::HstsPreload, title);
        let finding = if listener.has(&below) {
            finding.at(
                listener.place(&below),
                "they take names with all below them",
            )
        } else {
            finding.at(preload, "`include_subdomains = true` is missing beside it")
        };
        findings.push(finding);
    }
}

fn on_tcp(listener: &Item<'_, Listener>, findings: &mut Findings) {
    if is_udp(listener) {
        return; // told with what else datagrams cannot have
    }
    let name = listener.name;
    if !listener.has(&["upstream"]) && !listener.has(&["to"]) {
        let title = format!("TCP listener `{name}` has nothing to end TLS for");
        findings.push(
            Diagnostic::new(Code::TlsOfNothing, title)
                .at(listener.key_place(&["tls"]), "no connection comes to it")
                .help(
                    "its routes pass connections on without decrypting them: give it `upstream` \
                     or `to` for all others, or take `tls` out",
                ),
        );
    }
    let hsts = ["tls", "hsts"];
    if listener.has(&hsts) {
        let title = format!("TCP listener `{name}` says nothing to browsers");
        findings.push(
            Diagnostic::new(Code::HstsOnTcp, title)
                .at(listener.key_place(&hsts), "a field of HTTP responses")
                .also(listener.place(&["protocols"]), "bytes are relayed unread")
                .help("take it out, or speak HTTP here"),
        );
    }
    asks_all(listener, findings);
}

/// What is offered to clients whose requests are read.
fn offered(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let key = ["tls", "alpn"];
    if !listener.has(&key) {
        return;
    }
    let title = format!("listener `{}` reads what it is sent", listener.name);
    let finding = Diagnostic::new(Code::AlpnOfRequests, title)
        .at(
            listener.key_place(&key),
            "for bytes that are relayed unread",
        )
        .help(
            "`protocols` says what clients are offered: `[\"h2\", \"http/1.1\"]`, or one of both",
        );
    findings.push(if listener.has(&["protocols"]) {
        finding.also(listener.place(&["protocols"]), "this is offered")
    } else {
        finding
    });
}

/// The bytes have no host that could be held against the name by which a rule was found, so whoever
/// says another name would pass.
fn asks_all(listener: &Item<'_, Listener>, findings: &mut Findings) {
    let key = ["tls", "client_certificates"];
    let Some(node) = listener.node.at(&key) else {
        return;
    };
    let is_for_all = |rule: &Node| {
        let hosts = rule.at(&["hosts"]).map(Node::items).unwrap_or_default();
        hosts.is_empty() || hosts.iter().any(|host| host.str() == Some("*"))
    };
    let rules = node.items();
    if rules.is_empty() || rules.iter().any(|rule| rule.faulty || is_for_all(rule)) {
        return;
    }
    let title = format!(
        "clients of TCP listener `{}` may pass unasked",
        listener.name
    );
    findings.push(
        Diagnostic::new(Code::PassUnasked, title)
            .at(
                node.place,
                "none of these is for a client that says another name",
            )
            .help("a rule without `hosts` is for all others"),
    );
}

/// What <https://hstspreload.org> asks for.
const YEAR: Duration = Duration::from_hours(365 * 24);
