//! The upgrade proof: twenty times another process takes the place of the one that serves, under
//! load, and nobody notices. Neither requests over keep-alive, in plain text or within TLS, nor
//! WebSockets, which live through all of it, nor downloads that take all the time.
//!
//! There are twenty however long it takes; `EVENKEEL_PROOF_SECONDS` says over how long they are
//! spread.

use std::io::{Read, Write};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::THE_MACHINE;
use crate::figures::{Load, proof_seconds, say};
use crate::support::client::Client;
use crate::support::clock::{Pace, eventually};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Hello};

#[test]
fn upgrades_under_load_cost_nothing() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let app = Endpoint::echo();
    let chat = Endpoint::upgrades_to("websocket");
    let authority = Authority::new();
    let certified = authority.certify(&["a.test"]);
    let mut files = certified.files("cert").to_vec();
    files.push(("program".to_owned(), String::new()));
    let mut proxy = Evenkeel::start_among(
        &files,
        &format!(
            "workers = 2\n[listener.web]\nbind = \"@web\"\n[listener.secure]\nbind = \"@secure\"\n\
             tls = {{ certificates = [{{ cert = \"cert.pem\", key = \"cert.key\" }}] }}\n\
             [route.app]\nupstream = \"app\"\n[route.chat]\npath = \"/chat\"\nupstream = \"chat\"\n\
             [upstream.app]\nendpoints = [\"{}\"]\n[upstream.chat]\nendpoints = [\"{}\"]\n",
            app.address(),
            chat.address()
        ),
    );
    let (web, secure) = (proxy.address("web"), proxy.address("secure"));
    let caller = Hello::to("a.test", &authority).caller();
    let in_tls = move || caller.begin(secure);
    let load = Load::start(web, CLIENTS, RATE);
    let load_in_tls = Load::start_over(in_tls.clone(), CLIENTS, RATE);
    let stop = AtomicBool::new(false);
    let (cut, carried, took) = thread::scope(|scope| {
        let (stop, in_tls) = (&stop, &in_tls);
        let plain = (0..CHATS).map(|n| scope.spawn(move || talk(Client::connect(web), n, stop)));
        let plain: Vec<_> = plain.collect();
        let within = (0..CHATS).map(|n| scope.spawn(move || talk(in_tls(), n, stop)));
        let within: Vec<_> = within.collect();
        let took = upgrade_often(&proxy);
        stop.store(true, Ordering::Release);
        let ends = plain.into_iter().chain(within);
        let ends: Vec<_> = ends.map(|end| end.join().expect("no panic")).collect();
        let cut: Vec<String> = ends.iter().filter_map(|end| end.clone().err()).collect();
        (cut, ends.iter().flatten().sum::<usize>(), took)
    });
    let (seen, seen_in_tls) = (load.stop(), load_in_tls.stop());
    say(&format!(
        "upgrade proof: {UPGRADES} upgrades, {took:?} at most, under {RATE} requests/s over \
         {CLIENTS} keep-alive connections, and as many within TLS\n  {}; {} farewells\n  within \
         TLS: {}; {} farewells\n  {} WebSockets of {} cut, {carried} messages carried",
        seen.figures(),
        seen.farewells,
        seen_in_tls.figures(),
        seen_in_tls.farewells,
        cut.len(),
        2 * CHATS,
    ));
    assert!(cut.is_empty(), "{cut:?}");
    for seen in [seen, seen_in_tls] {
        assert!(seen.failures.is_empty(), "{:?}", seen.failures);
        assert!(seen.requests() > 0 && seen.farewells > 0);
    }
    assert!(proxy.wait_for_exit().success());
}

/// Returns how long the longest took.
fn upgrade_often(proxy: &Evenkeel) -> Duration {
    let every = Duration::from_secs(proof_seconds()) / UPGRADES;
    let mut pace = Pace::new(every, Duration::from_secs(1));
    let mut longest = Duration::ZERO;
    for number in 1..=UPGRADES {
        let beat = pace.wait();
        let pid = proxy.upgrade_well();
        longest = longest.max(beat.elapsed());
        eventually("the new one is asked", || {
            (proxy.serving() == pid).then_some(())
        });
        assert_eq!(proxy.generation(), u64::from(number) + 1);
    }
    longest
}

/// A WebSocket on which both sides talk, ten times a second.
fn talk<S: Read + Write>(
    mut client: Client<S>,
    number: usize,
    stop: &AtomicBool,
) -> Result<usize, String> {
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let granted = client.try_response_to("GET").map(|one| one.status);
    if granted != Ok(101) {
        return Err(format!("WebSocket {number}: {granted:?}"));
    }
    let mut pace = Pace::new(Duration::from_millis(100), Duration::ZERO);
    let mut messages = 0;
    while !stop.load(Ordering::Acquire) {
        pace.wait();
        let message = format!("message {messages} of WebSocket {number}");
        client.send(&message);
        let echoed = client.try_bytes(message.len());
        if echoed.as_deref() != Ok(message.as_bytes()) {
            return Err(format!(
                "WebSocket {number}, message {messages}: {echoed:?}"
            ));
        }
        messages += 1;
    }
    Ok(messages)
}

/// As many as the product promises.
const UPGRADES: u32 = 20;

/// In plain text, and as many within TLS.
const CHATS: usize = 15;

const CLIENTS: u32 = 10;
const RATE: u32 = 200;
