//! `[[test]]`: that each names what exists and expects something. Whether it holds is found out by
//! the router itself.

use super::listeners::redirects_all;
use super::names::must_exist;
use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::{Node, Table};

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for test in world.root.at(&["test"]).map_or(&[][..], Node::items) {
        if let Some(listener) = test.at(&["listener"]) {
            let who = "a test asks listener";
            must_exist(who, "listener", listener, &world.listeners, findings);
        }
        if let Some(upstream) = test.at(&["expect", "upstream"]) {
            let who = "a test expects upstream";
            must_exist(who, "upstream", upstream, &world.upstreams, findings);
        }
        if let Some(route) = test.at(&["expect", "route"]) {
            let is_own = route.str().is_some_and(|name| is_own_route(world, name));
            if !is_own {
                let who = "a test expects route";
                must_exist(who, "route", route, &world.routes, findings);
            }
        }
        expects_nothing(test, findings);
    }
}

/// Whether it is the name of a listener's own route.
fn is_own_route(world: &World<'_>, name: &str) -> bool {
    let of_listener = name.strip_prefix("listener.");
    let listener = of_listener.and_then(|listener| world.listeners.get(listener));
    listener.is_some_and(|listener| {
        listener.has(&["to"]) || listener.has(&["upstream"]) || redirects_all(listener)
    })
}

fn expects_nothing(test: &Node, findings: &mut Findings) {
    let Some(expect) = test.at(&["expect"]).filter(|expect| expect.is_sound()) else {
        return;
    };
    if expect.table().is_some_and(Table::is_empty) {
        let title = "this test expects nothing";
        findings.push(
            Diagnostic::new(Code::TestRequest, title)
                .at(expect.place, "nothing that could fail")
                .help("at least one of `route`, `upstream`, `status` and `location`"),
        );
    }
}
