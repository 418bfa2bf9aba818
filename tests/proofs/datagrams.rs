//! The reload proof for datagrams: endpoints, listeners and the spelling of their address change
//! every second under load, and no datagram is lost. Neither of clients that ask all the time from
//! one port, nor of such as ask once from each.
//!
//! Nothing else would lose one either: all of it goes over the loopback device.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::THE_MACHINE;
use crate::figures::{Tally, proof_seconds, say};
use crate::support::clock::{Pace, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;
use crate::support::udp::{UdpClient, UdpEndpoint};

/// The configuration of a generation: one of the endpoints rests, limits and the balance change,
/// the address is written in one way or another, and a listener comes and goes.
fn config(endpoints: &[UdpEndpoint], port: u16, generation: u64) -> String {
    let turn = usize::try_from(generation).expect("a small number");
    let resting = turn % endpoints.len();
    let others = endpoints
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != resting);
    let others: Vec<String> = others
        .map(|(_, one)| format!("\"{}\"", one.address()))
        .collect();
    let balance = ["round_robin", "least_connections", "maglev"][turn % 3];
    let address = ["127.0.0.1", "", "0.0.0.0"][turn / 2 % 3];
    let udp = "protocols = [\"udp\"]\nupstream = \"app\"";
    let mut text = format!(
        "workers = 2\n[shutdown]\ngrace = \"0s\"\n\
         [listener.web]\nbind = \"{address}:{port}\"\n{udp}\nmax_connections = {most}\n\
         timeouts = {{ session_idle = \"{idle}s\" }}\n\
         [upstream.app]\nbalance = \"{balance}\"\nendpoints = [{endpoints}]\n",
        most = 5_000 + turn,
        idle = 2 + turn % 5,
        endpoints = others.join(", "),
    );
    if turn % 2 == 1 {
        text.push_str("[listener.other]\nbind = \"@other\"\n");
        text.push_str(udp);
    }
    text
}

/// Asks again and again, from one port or from one for each question.
fn ask(
    address: SocketAddr,
    (number, has_session): (u32, bool),
    stop: &Arc<AtomicBool>,
) -> JoinHandle<Tally> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut tally = Tally::default();
        let mut pace = Pace::new(EVERY, EVERY * number / CLIENTS);
        let own = UdpClient::of(address);
        let mut count = 0;
        while !stop.load(Ordering::Acquire) {
            let beat = pace.wait();
            let question = format!("question {count} of {number}");
            count += 1;
            let fresh = (!has_session).then(|| UdpClient::of(address));
            let answer = fresh.as_ref().unwrap_or(&own).try_ask(&question);
            if answer.as_ref() == Some(&question) {
                tally.latencies.push(beat.elapsed());
            } else {
                tally.failures.push(format!("{question}: {answer:?}"));
            }
        }
        tally
    })
}

#[test]
fn reloads_under_load_lose_no_datagram() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = [(); 4].map(|()| UdpEndpoint::sends_back());
    let port = Port::reserve();
    let text = |generation| config(&endpoints, port.address().port(), generation);
    let mut proxy = Evenkeel::start(&text(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| ask(port.address(), (number, number % 2 == 0), &stop))
        .collect();
    let reloads = proof_seconds();
    let mut beat = Pace::new(Duration::from_secs(1), Duration::from_secs(1));
    for generation in 1..=reloads {
        beat.wait();
        proxy.reload(&text(generation));
    }
    pause(Duration::from_millis(200));
    stop.store(true, Ordering::Release);
    let mut seen = Tally::default();
    for client in clients {
        let tally = client.join().expect("a client does not fail");
        seen.latencies.extend(tally.latencies);
        seen.failures.extend(tally.failures);
    }
    seen.latencies.sort_unstable();
    say(&format!("datagrams, {reloads} reloads: {}", seen.figures()));
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    let asked = u64::try_from(seen.requests()).expect("a count");
    for direction in ["direction=\"sent\"", "direction=\"received\""] {
        let labels = ["listener=\"web\"", direction];
        let counted = proxy.metric("evenkeel_udp_datagrams_total", &labels);
        assert_eq!(counted, asked, "{direction}");
    }
    let metrics = proxy.admin("/metrics").body.text();
    let dropped = metrics
        .lines()
        .filter(|line| line.starts_with("evenkeel_udp_dropped_total{"));
    for line in dropped {
        assert!(line.ends_with(" 0"), "{line}");
    }
}

const CLIENTS: u32 = 16;
const EVERY: Duration = Duration::from_millis(40);
