//! `[[test]]`: that each names what exists and expects something. Whether it holds is found out by
//! the router itself.

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
            // A listener's own target is found under the listener's name.
            let of_listener = route
                .str()
                .is_some_and(|name| world.listeners.contains_key(name));
            if !of_listener {
                must_exist(
                    "a test expects route",
                    "route",
                    route,
                    &world.routes,
                    findings,
                );
            }
        }
        expects_nothing(test, findings);
    }
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
