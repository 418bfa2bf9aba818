//! Sixty reloads in sixty seconds, under load, with tunnels and a download open: nothing is lost.

use std::fmt::Write;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crate::THE_MACHINE;
use crate::figures::{Load, say};
use crate::support::client::Client;
use crate::support::clock::pause;
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;

/// What stands behind the proxy.
struct Endpoints {
    /// In every configuration.
    lasting: Endpoint,
    /// In every other one.
    passing: Endpoint,
    /// In the first only: what it carries must outlive its place in the configuration.
    gone: Endpoint,
}

#[test]
fn reloads_cost_nothing() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = Endpoints {
        lasting: Endpoint::start(serve),
        passing: Endpoint::start(serve),
        gone: Endpoint::start(serve),
    };
    let mut proxy = Evenkeel::start(&endpoints.config(0));
    let mut sockets: Vec<Client> = ["lasting", "gone"]
        .repeat(3)
        .iter()
        .map(|to| open(&proxy, to))
        .collect();
    let mut download = proxy.client();
    download.send("GET /download HTTP/1.1\r\nHost: gone\r\n\r\n");
    let download = thread::spawn(move || download.response());

    let load = Load::start(&proxy, CLIENTS, INTERVAL);
    let mut cut = 0;
    for number in 1..=RELOADS {
        pause(Duration::from_secs(1));
        proxy.reload(&endpoints.config(number));
        for socket in &mut sockets {
            let message = format!("still here at {number}");
            socket.send(&message);
            cut += usize::from(socket.try_bytes(message.len()) != Ok(message.into_bytes()));
        }
    }
    let figures = load.stop();
    figures.print(&format!("reload proof, {RELOADS} reloads"));
    let download = download.join().expect("the download was answered");
    say(&format!(
        "reload proof: {cut} of {} messages over {} tunnels lost, a download of {} bytes {}",
        sockets.len() * RELOADS,
        sockets.len(),
        download.body.data.len(),
        if download.is_whole() { "whole" } else { "cut" },
    ));
    assert!(figures.failures.is_empty(), "{:?}", figures.failures);
    assert_eq!(cut, 0);
    assert_eq!(download.body.data, vec![b'd'; PIECE * PIECES]);
    assert_eq!(proxy.generation(), RELOADS as u64 + 1);
}

impl Endpoints {
    /// Another configuration for each number: endpoints, routes and a listener change.
    fn config(&self, number: usize) -> String {
        let mut endpoints = vec![self.lasting.address()];
        endpoints.extend((number.is_multiple_of(2)).then(|| self.passing.address()));
        let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
        let mut text = format!(
            "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [route.lasting]\nhosts = [\"lasting\"]\nupstream = \"lasting\"\n\
             [route.number]\npath = \"=/{number}\"\nrespond = {{ body = \"{number}\" }}\n\
             [upstream.app]\nendpoints = [{}]\n[upstream.lasting]\nendpoints = [\"{}\"]\n",
            endpoints.join(", "),
            self.lasting.address()
        );
        let more = if number == 0 {
            let gone = self.gone.address();
            format!(
                "[route.gone]\nhosts = [\"gone\"]\nupstream = \"gone\"\n[upstream.gone]\nendpoints = [\"{gone}\"]\n"
            )
        } else if number.is_multiple_of(3) {
            "[listener.more]\nbind = \"@more\"\nupstream = \"app\"\n".to_owned()
        } else {
            String::new()
        };
        text.write_str(&more).expect("a string takes all");
        text
    }
}

/// Answers GETs, grants upgrades, and sends a download that takes as long as the proof.
fn serve(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        if request.head.value("upgrade").is_some() {
            peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            return peer.send_all_back();
        }
        if request.target() != "/download" {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            continue;
        }
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            PIECE * PIECES
        ));
        for _ in 0..PIECES {
            peer.send(vec![b'd'; PIECE]);
            pause(PIECE_INTERVAL);
        }
    }
}

fn open(proxy: &Evenkeel, host: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    ));
    assert_eq!(client.response().status, 101);
    client
}

const RELOADS: usize = 60;

const CLIENTS: usize = 10;

/// With ten clients: 500 requests a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// The download lasts 66 s: longer than all reloads.
const PIECES: usize = 660;
const PIECE: usize = 16 * 1024;
const PIECE_INTERVAL: Duration = Duration::from_millis(100);
