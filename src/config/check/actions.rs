//! Routes: one action each, and settings that belong to it.

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Route;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for route in world.routes.values() {
        count(route, findings);
        split(route, findings);
        redirect(route, findings);
        settings(route, findings);
        prefix(route, findings);
    }
}

fn actions<'r>(route: &Item<'_, Route>) -> Vec<&'r str> {
    let written = |action: &&str| route.has(&[action]);
    ACTIONS.into_iter().filter(written).collect()
}

fn count(route: &Item<'_, Route>, findings: &mut Findings) {
    match &actions(route)[..] {
        [] if route.sound => {
            let title = format!("route `{}` does nothing", route.name);
            findings.push(
                Diagnostic::new(Code::NoAction, title)
                    .at(route.key, "an action is missing from this table")
                    .help("one of `upstream`, `split`, `redirect` and `respond`"),
            );
        }
        [] | [_] => {}
        [first, others @ ..] => {
            let title = format!("route `{}` has several actions", route.name);
            let last = others.last().unwrap_or(first);
            let mut found = Diagnostic::new(Code::ManyActions, title)
                .at(route.key_place(&[last]), "one too many");
            for other in std::iter::once(first).chain(&others[..others.len() - 1]) {
                found = found.also(route.key_place(&[other]), "an action");
            }
            findings.push(found.help("traffic is shared between upstreams by `split`"));
        }
    }
}

fn split(route: &Item<'_, Route>, findings: &mut Findings) {
    let Some(written) = route.whole() else { return };
    if route.has(&["split"]) && written.split.values().all(|weight| *weight == 0) {
        let title = format!("the split of route `{}` has no weight", route.name);
        let label = if written.split.is_empty() {
            "no upstream is named"
        } else {
            "every weight is 0"
        };
        findings.push(Diagnostic::new(Code::ZeroSplit, title).at(route.place(&["split"]), label));
    }
}

fn redirect(route: &Item<'_, Route>, findings: &mut Findings) {
    let Some(redirect) = route.whole().and_then(|route| route.redirect.as_ref()) else {
        return;
    };
    let changes = redirect.scheme.is_some()
        || redirect.host.is_some()
        || redirect.port.is_some()
        || redirect.path.is_some();
    if !changes {
        let title = format!(
            "route `{}` redirects to where the request came from",
            route.name
        );
        findings.push(
            Diagnostic::new(Code::RedirectNowhere, title)
                .at(route.key_place(&["redirect"]), "nothing is changed")
                .help("give at least one of `scheme`, `host`, `port` and `path`"),
        );
    }
}

/// Settings about endpoints on a route that reaches none.
fn settings(route: &Item<'_, Route>, findings: &mut Findings) {
    let [action @ ("redirect" | "respond")] = actions(route)[..] else {
        return;
    };
    for key in FOR_ENDPOINTS {
        if route.has(&[key]) {
            let title = format!("`route.{}.{key}` does nothing", route.name);
            findings.push(
                Diagnostic::new(Code::WithoutEffect, title)
                    .at(route.key_place(&[key]), "nothing is sent to an endpoint")
                    .also(route.key_place(&[action]), "the answer is made here"),
            );
        }
    }
}

fn prefix(route: &Item<'_, Route>, findings: &mut Findings) {
    let (strip, replace) = (
        &["rewrite", "strip_prefix"][..],
        &["rewrite", "replace_prefix"][..],
    );
    let Some(written) = &route.written else {
        return;
    };
    let strips = written.rewrite.strip_prefix == Some(true);
    let replaces = written.rewrite.replace_prefix.is_some();
    if strips && replaces {
        let title = format!("route `{}` changes the prefix in two ways", route.name);
        findings.push(
            Diagnostic::new(Code::WithoutEffect, title)
                .at(route.key_place(strip), "taken off")
                .also(route.key_place(replace), "replaced"),
        );
    }
    let is_regex = written
        .path
        .as_ref()
        .is_some_and(|path| path.starts_with('~'));
    if is_regex && (strips || replaces) {
        let key = if strips { strip } else { replace };
        let title = format!("route `{}` has no prefix to change", route.name);
        findings.push(
            Diagnostic::new(Code::WithoutEffect, title)
                .at(route.key_place(key), "a prefix is changed here")
                .also(route.place(&["path"]), "a regular expression"),
        );
    }
}

const ACTIONS: [&str; 4] = ["upstream", "split", "redirect", "respond"];

/// What is done to a request on its way to an endpoint.
const FOR_ENDPOINTS: [&str; 8] = [
    "rewrite",
    "request_headers",
    "timeouts",
    "deadline_field",
    "retry",
    "hedge",
    "max_in_flight",
    "connect",
];
