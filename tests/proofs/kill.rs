//! An endpoint dies and comes back, again and again: no client notices, with default settings.
//!
//! The endpoints are processes of their own (instances that answer by themselves), so that what
//! happens to their connections is what the kernel does to those of a process that was killed.

use std::sync::PoisonError;
use std::time::Duration;

use crate::THE_MACHINE;
use crate::figures::Load;
use crate::support::clock::pause;
use crate::support::evenkeel::Evenkeel;

#[test]
fn killed_endpoints_cost_no_request() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 3].map(|()| {
        Evenkeel::start(
            "[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = { body = \"ok\" }\n",
        )
    });
    let [one, two, three] = [0, 1, 2].map(|at: usize| endpoints[at].address("web"));
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{one}\", \"{two}\", \"{three}\"]\n"
    ));

    let load = Load::start(&proxy, CLIENTS, INTERVAL);
    pause(CYCLE * 3);
    let normal = load.stop();
    normal.print("kill proof, all endpoints up");

    let load = Load::start(&proxy, CLIENTS, INTERVAL);
    for cycle in 0..CYCLES {
        let endpoint = &mut endpoints[cycle % 3];
        pause(CYCLE / 2);
        endpoint.kill();
        pause(CYCLE / 2);
        endpoint.restart();
    }
    let killed = load.stop();
    killed.print(&format!("kill proof, {CYCLES} times killed and restarted"));

    assert!(normal.failures.is_empty(), "{:?}", normal.failures);
    assert!(killed.failures.is_empty(), "{:?}", killed.failures);
}

const CLIENTS: usize = 10;

/// With ten clients: 500 requests a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// From one kill to the next. Long enough for a restart, short enough for many of them.
const CYCLE: Duration = Duration::from_secs(2);

/// 10,000 requests, as in the measurements of other proxies.
const CYCLES: usize = 10;

/// What the promise leaves: a client cannot tell this from the network.
const SLOWER_AT_MOST: Duration = Duration::from_millis(30);
