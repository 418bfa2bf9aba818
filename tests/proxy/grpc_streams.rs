//! gRPC as others speak it, where much is said or nothing: long streams, large messages, slow
//! readers, and servers and proxies that go away meanwhile.

use std::time::Duration;

use rustix::process::Signal;

use crate::grpc::{config, count};
use crate::memory::memory;
use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::grpc::{GrpcCaller, GrpcServer, call, is_there};

/// A server, a proxy before it, and whoever calls a case through both.
struct World {
    server: GrpcServer,
    proxy: Evenkeel,
}

/// What the server is to send in a flood.
const PIECES: u64 = 2000;
const PIECE: u64 = 64 * 1024;

impl World {
    fn new() -> Self {
        let server = GrpcServer::start(&["serve"]);
        let proxy = Evenkeel::start(&config(&server, "", ""));
        Self { server, proxy }
    }

    fn call(&self, case: &str) -> Vec<String> {
        call(self.proxy.address("web"), case, &[])
    }

    fn begin(&self, case: &str) -> GrpcCaller {
        GrpcCaller::begin(self.proxy.address("web"), case)
    }
}

#[test]
fn bytes_of_every_kind_pass_as_they_are() {
    if !is_there() {
        return;
    }
    let world = World::new();
    for (case, lines) in [
        ("binary", &["there True", "and back True"][..]),
        (
            "details",
            &["failed RESOURCE_EXHAUSTED see the details", "details True"],
        ),
        ("largest", &["unary True", "both True"]),
        ("many", &["many True"]),
    ] {
        assert_eq!(world.call(case), lines, "{case}");
    }
    count(&world.proxy, "OK", 4);
    count(&world.proxy, "RESOURCE_EXHAUSTED", 1);
}

#[test]
fn what_is_compressed_stays_compressed() {
    if !is_there() {
        return;
    }
    let world = World::new();
    assert_eq!(world.call("compressed"), ["compressed True"]);
    count(&world.proxy, "OK", 1);
    for direction in ["request", "response"] {
        let name = format!("evenkeel_http_{direction}_bytes_total");
        let passed = world.proxy.metric(&name, &["listener=\"web\""]);
        assert!((1..64 * 1024).contains(&passed), "{direction} {passed}");
    }
}

/// 128 MiB that nobody takes: the server stops, and what waits here is a few windows.
#[test]
fn a_slow_reader_holds_its_server_back_and_not_much_of_us() {
    if !is_there() {
        return;
    }
    let world = World::new();
    assert_eq!(world.call("kinds").len(), 5);
    let before = memory(&world.proxy).peak;
    let mut caller = world.begin("slow-reader");
    caller.tell(&PIECES.to_string());
    assert_eq!(caller.line(), format!("got {PIECE}"));
    let written = || -> u64 { world.call("progress")[0].parse().expect("a number") };
    let stopped_at = eventually("the server stands still", || {
        let first = written();
        pause(Duration::from_millis(200));
        (written() == first).then_some(first)
    });
    assert!(stopped_at < PIECES / 4, "{stopped_at} were written");
    let grown = memory(&world.proxy).peak - before;
    assert!(grown < 8 * 1024 * 1024, "{grown}");
    caller.release();
    let rest = PIECES - 1;
    assert_eq!(caller.line(), format!("got {rest} {}", rest * PIECE));
    let grown = memory(&world.proxy).peak - before;
    assert!(grown < 8 * 1024 * 1024, "{grown}");
}

#[test]
fn a_deadline_ends_a_call_to_a_server_that_says_nothing() {
    if !is_there() {
        return;
    }
    let mut world = World::new();
    let lines = world.call("silence");
    assert!(
        lines[0].starts_with("failed DEADLINE_EXCEEDED"),
        "{lines:?}"
    );
    assert_eq!(world.server.line(), "cancelled");
}

#[test]
fn a_server_that_dies_is_unavailable() {
    if !is_there() {
        return;
    }
    let World { server, proxy } = World::new();
    let mut caller = GrpcCaller::begin(proxy.address("web"), "lost");
    assert_eq!(caller.line(), "got first");
    drop(server);
    assert_eq!(
        caller.line(),
        "failed UNAVAILABLE: The service's answer broke off (http_response_incomplete)"
    );
    count(&proxy, "UNAVAILABLE", 1);
    // And so it is for the next one, which it has not even begun to answer.
    let lines = call(proxy.address("web"), "fail", &[]);
    assert!(lines[0].starts_with("unary UNAVAILABLE"), "{lines:?}");
}

#[test]
fn a_drain_lets_streams_finish() {
    if !is_there() {
        return;
    }
    let server = GrpcServer::start(&["serve"]);
    let shutdown = "[shutdown]\ngrace = \"0s\"\n";
    let mut proxy = Evenkeel::start(&[shutdown, &config(&server, "", "")].concat());
    let address = proxy.address("web");
    let mut callers: Vec<_> = (0..3).map(|_| GrpcCaller::begin(address, "hold")).collect();
    for caller in &mut callers {
        assert_eq!(caller.line(), "got first");
    }
    proxy.signal(Signal::TERM);
    eventually("it says that it is about to end", || {
        proxy.log().contains("draining").then_some(())
    });
    for caller in &mut callers {
        caller.release();
        assert_eq!(caller.line(), "got last");
    }
    assert!(proxy.wait_for_exit().success());
    assert!(proxy.log().contains("nothing was cut"));
}

#[test]
fn what_a_drain_cuts_its_clients_may_ask_elsewhere() {
    if !is_there() {
        return;
    }
    let server = GrpcServer::start(&["serve"]);
    let shutdown = "[shutdown]\ngrace = \"0s\"\ndrain = \"500ms\"\n";
    let text = [shutdown, &config(&server, "", "")].concat();
    let mut proxy = Evenkeel::start(&text);
    let mut caller = GrpcCaller::begin(proxy.address("web"), "lost");
    assert_eq!(caller.line(), "got first");
    proxy.signal(Signal::TERM);
    let line = caller.line();
    assert!(line.starts_with("failed UNAVAILABLE"), "{line}");
    assert!(proxy.wait_for_exit().success());
}
