//! The moments of an upgrade: who serves, who is killed and who is heard between the word to serve
//! and the answer to it, and what becomes of who asks for something else meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::cases::get;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::manager::Manager;
use crate::support::python::python;
use crate::support::upgrade::{Upgraded, children_of, end, end_at_once, wait_until_ended};

fn start(address: SocketAddr, environment: &str) -> Evenkeel {
    start_with(address, environment, "60s")
}

/// One that soon tells that the new one is late.
fn start_impatient(address: SocketAddr) -> Evenkeel {
    start_with(address, "", "8s")
}

fn start_with(address: SocketAddr, environment: &str, patience: &str) -> Evenkeel {
    let files = [("environment", environment), ("program", "")];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Evenkeel::start_among(
        &files,
        &format!(
            "[upgrade]\nready_within = \"{patience}\"\n[shutdown]\ngrace = \"0s\"\n\
             [listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
        ),
    )
}

fn asks(proxy: &Evenkeel) -> u16 {
    proxy.client().send(get("")).response().status
}

/// Begins an upgrade to one that has the word to serve and does not answer, as this script plays
/// it, does this meanwhile, and returns what the upgrade came to.
fn while_it_dawdles(proxy: &Evenkeel, script: &str, meanwhile: impl FnOnce(u64)) -> Upgraded {
    let old = proxy.serving();
    let beside = proxy.path("");
    proxy.replace_program(&format!(
        "#!/bin/sh\nexec {} {}/tests/support/{script} {} {} \"$@\"\n",
        python(),
        env!("CARGO_MANIFEST_DIR"),
        beside.display(),
        env!("CARGO_BIN_EXE_evenkeel")
    ));
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| proxy.upgrade());
        eventually("it has the word", || {
            assert!(!upgrade.is_finished(), "{}", proxy.log());
            proxy.path("has-the-word").exists().then_some(())
        });
        meanwhile(children_of(old).pop().expect("it is its child"));
        upgrade.join().expect("no panic")
    })
}

fn is_told_of(proxy: &Evenkeel) {
    eventually("it is told that it is late", || {
        proxy.log().contains("has the word to serve").then_some(())
    });
}

#[test]
fn who_has_the_word_to_serve_is_not_killed_for_being_late() {
    let endpoint = Endpoint::echo();
    let mut proxy = start_impatient(endpoint.address());
    let done = while_it_dawdles(&proxy, DAWDLES, |_| {
        is_told_of(&proxy);
        // The old one goes on, with what was there and what is new.
        assert_eq!(asks(&proxy), 200);
        fs::write(proxy.path("go"), "").expect("a writable directory");
    });
    assert_eq!(done.code, 0, "{done:?}");
    assert!(proxy.wait_for_exit().success());
    let pid = done.report["pid"].as_u64().expect("a number");
    end(pid); // which it can be told only as long as it is there
    wait_until_ended(pid);
    assert!(proxy.path("ended").exists());
}

#[test]
fn who_dies_with_the_word_to_serve_is_as_if_it_had_never_been() {
    let endpoint = Endpoint::echo();
    let proxy = start_impatient(endpoint.address());
    let (pid, generation) = (proxy.serving(), proxy.generation());
    let mut rests = proxy.client();
    assert_eq!(rests.get("/").status, 200);
    let failed = while_it_dawdles(&proxy, DAWDLES, |child| {
        is_told_of(&proxy);
        end_at_once(child);
    });
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.report["why"].to_string().contains("signal: 9"));
    assert_eq!((proxy.serving(), proxy.generation()), (pid, generation));
    assert_eq!((rests.get("/").status, asks(&proxy)), (200, 200));
    // And the next one succeeds.
    proxy.put_program_back();
    assert_ne!(proxy.upgrade_well(), pid);
    assert_eq!(asks(&proxy), 200);
}

/// Some service managers know the old one only, others signal all processes of the service: then
/// the new one must not take the two for a second signal.
#[test]
fn who_asks_for_the_end_between_the_word_and_the_answer_ends_both() {
    for is_everybody_told in [false, true] {
        let gate = Gated::answering("done");
        let manager = Manager::new("moment");
        let mut proxy = start(gate.address(), &manager.variable());
        let mut clients = Vec::new();
        let failed = while_it_dawdles(&proxy, KEEPS_BACK, |_| {
            let new = fs::read_to_string(proxy.path("has-the-word")).expect("it is there");
            let new = new.parse().expect("a number");
            // Whichever of the two lets them in.
            clients.extend((0..20).map(|_| {
                let mut client = proxy.client();
                client.send(get(""));
                client
            }));
            gate.wait_for(20);
            proxy.signal(Signal::TERM);
            if is_everybody_told {
                pause(Duration::from_millis(100));
                end(new);
            }
            pause(Duration::from_millis(300));
            gate.open();
            for client in &mut clients {
                assert_eq!(client.response().status, 200, "{}", proxy.log());
            }
            wait_until_ended(new);
        });
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(failed.report["why"].to_string().contains("about to end"));
        assert!(proxy.wait_for_exit().success());
        let log = proxy.log();
        assert_eq!(log.matches("nothing was cut").count(), 2, "{log}");
        let said = manager.backlog();
        assert!(!said.iter().any(|one| one.contains("MAINPID")), "{said:?}");
    }
}

/// Begins an upgrade, does this before anything of it can have happened, and lets it succeed.
/// Returns what it comes to.
fn while_it_runs(proxy: &Evenkeel, ask: impl FnOnce() -> Option<Output> + Send) -> Option<Output> {
    let go = proxy.path("go");
    proxy.replace_program(&format!(
        "#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\nexec {} \"$@\"\n",
        go.display(),
        env!("CARGO_BIN_EXE_evenkeel")
    ));
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| proxy.upgrade_well());
        eventually("it runs", || proxy.events("upgrade_started").pop());
        let asked = scope.spawn(ask);
        // Where it is not asked by then, the new one is asked, and all holds as well.
        pause(Duration::from_millis(300));
        fs::write(&go, "").expect("a writable directory");
        upgrade.join().expect("no panic");
        asked.join().expect("no panic")
    })
}

#[test]
fn a_reload_by_signal_during_an_upgrade_is_passed_on() {
    let endpoint = Endpoint::echo();
    let manager = Manager::new("passed-on");
    let proxy = start(endpoint.address(), &manager.variable());
    let (old, generation) = (u64::from(proxy.id()), proxy.generation());
    // It goes on to drain.
    let mut rests = proxy.client();
    assert_eq!(rests.get("/").status, 200);
    manager.hear_of("READY=1");
    while_it_runs(&proxy, || {
        proxy.signal(Signal::HUP);
        None
    });
    eventually("the new one reads its file once more", || {
        (proxy.generation() == generation + 2).then_some(())
    });
    // So it is for who knows the old one only, as long as that is there.
    assert_ne!(proxy.serving(), old);
    proxy.signal(Signal::HUP);
    eventually("and again", || {
        (proxy.generation() == generation + 3).then_some(())
    });
    assert_eq!(proxy.events("config_rejected").len(), 0);
    // Nobody is told of a reload that does not take place.
    let (_, before) = manager.hear_of("READY=1");
    let reloading = before.iter().any(|message| message.contains("RELOADING"));
    assert!(!reloading, "{before:?}");
}

/// Which is over as soon as it has begun to leave, for it has nothing to finish.
#[test]
fn so_it_is_by_one_that_has_nothing_to_do() {
    let endpoint = Endpoint::echo();
    for _ in 0..4 {
        let proxy = start(endpoint.address(), "");
        let generation = proxy.generation();
        while_it_runs(&proxy, || {
            proxy.signal(Signal::HUP);
            None
        });
        eventually("the new one reads its file once more", || {
            (proxy.generation() == generation + 2).then_some(())
        });
    }
}

#[test]
fn a_reload_by_command_during_an_upgrade_is_answered_by_the_new_one() {
    let endpoint = Endpoint::echo();
    let proxy = start(endpoint.address(), "");
    let generation = proxy.generation();
    let output = while_it_runs(&proxy, || Some(proxy.command(&["reload"])));
    let output = output.expect("it was asked");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let told = format!("configuration {} is in force", generation + 2);
    assert!(said.contains(&told), "{said}");
    assert_eq!(proxy.generation(), generation + 2);
}

#[test]
fn a_reload_that_is_refused_since_the_end_is_near_is_no_reload_to_the_manager() {
    let endpoint = Endpoint::echo();
    let manager = Manager::new("refused");
    let mut proxy = start(endpoint.address(), &manager.variable());
    let mut uploads = proxy.client();
    uploads.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
    manager.hear_of("READY=1");
    proxy.signal(Signal::TERM);
    manager.hear_of("STOPPING=1");
    let refused = proxy.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(manager.backlog(), Vec::<String>::new());
    uploads.send("x");
    assert_eq!(uploads.response().status, 200);
    assert!(proxy.wait_for_exit().success());
}

/// Says that it serves when it may; it has no configuration and no listener.
const DAWDLES: &str = "successor.py";

/// A real one, of which the old one does not hear that it serves.
const KEEPS_BACK: &str = "successor_relay.py";
