//! The reload proof: endpoints, routes and listeners change every second under load, and nobody
//! notices. Neither requests over keep-alive, nor tunnels, nor a download that takes all the time,
//! in plain text or within TLS, whose certificates change as well, nor sessions that are relayed
//! unread, of which some talk and some carry as much as they can.
//!
//! `EVENKEEL_PROOF_SECONDS` says how many reloads there are; it prints what it has seen.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;

use crate::THE_MACHINE;
use crate::figures::{Load, proof_seconds, say};
use crate::support::client::Client;
use crate::support::clock::{Pace, eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Certified, Hello};
use crate::support::tls_endpoint::{Shown, TlsEndpoint};

/// The endpoints of all configurations.
struct Site {
    apps: [Endpoint; 4],
    tunnels: [Endpoint; 2],
    downloads: [Endpoint; 2],
    relayed: [Endpoint; 2],
    /// Within TLS on either side: clients of `secure` are shown one of two certificates, and its
    /// requests go to one of two endpoints.
    authority: Authority,
    certified: [Certified; 2],
    private: [TlsEndpoint; 2],
}

/// Streams that are to live through all of it.
struct Streams {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<usize, String>>>,
}

impl Site {
    fn new(finish: &Arc<AtomicBool>) -> Self {
        let authority = Authority::new();
        let certified = [(); 2].map(|()| authority.certify(&["a.test", "api.test"]));
        let shown = Shown::by(&certified[0]);
        Self {
            private: [(); 2].map(|()| TlsEndpoint::start(&shown)),
            apps: [(); 4].map(|()| Endpoint::echo()),
            tunnels: [(); 2].map(|()| Endpoint::upgrades_to("websocket")),
            downloads: [(); 2].map(|()| downloading(finish)),
            relayed: [(); 2].map(|()| Endpoint::sends_back()),
            authority,
            certified,
        }
    }

    /// Certificates and keys, and the authority that made them.
    fn files(&self) -> Vec<(String, String)> {
        let [one, other] = &self.certified;
        let mut files = vec![("ca.pem".to_owned(), self.authority.pem())];
        files.extend(one.files("cert0"));
        files.extend(other.files("cert1"));
        files
    }

    /// The configuration of a generation. Each differs from the one before in its endpoints (one of
    /// four rests, the streams' endpoints are exchanged), in its routes (fields, timeouts, one that
    /// comes and goes) and in its listeners (limits, one that comes, goes and moves).
    fn config(&self, generation: u64) -> String {
        let turn = usize::try_from(generation).expect("a small number");
        let resting = turn % self.apps.len();
        let mut apps: Vec<String> = self.apps.iter().map(quoted).collect();
        apps.remove(resting);
        let apps = apps.join(", ");
        let tunnels = quoted(&self.tunnels[turn % 2]);
        let downloads = quoted(&self.downloads[turn % 2]);
        let relayed = quoted(&self.relayed[turn % 2]);
        let balance = ["power_of_two", "round_robin", "least_connections"][turn % 3];
        let most = 1000 + turn;
        let mut text = format!(
            "workers = 2\n[shutdown]\ngrace = \"0s\"\n\
             [listener.web]\nbind = \"@web\"\nmax_connections = {most}\nforwarded = {forwarded}\n\
             [route.app]\nupstream = \"app\"\ntimeouts.response_head = \"{wait}s\"\n\
             response_headers.set = {{ x-generation = \"{generation}\" }}\n\
             [route.tunnel]\npath = \"/tunnel\"\nupstream = \"tunnel\"\n\
             [route.download]\npath = \"/download\"\nupstream = \"download\"\n\
             [upstream.app]\nbalance = \"{balance}\"\nendpoints = [{apps}]\n\
             [upstream.tunnel]\nendpoints = [{tunnels}]\n\
             [upstream.download]\nendpoints = [{downloads}]\n\
             [listener.relay]\nbind = \"@relay\"\nprotocols = [\"tcp\"]\nupstream = \"relay\"\n\
             max_connections = {most}\n[upstream.relay]\nendpoints = [{relayed}]\n",
            forwarded = turn % 2 == 0,
            wait = 20 + turn % 5,
        );
        text.push_str(&self.secure(turn));
        if turn % 2 == 1 {
            let route = format!("[route.passing]\npath = \"/passing/{generation}\"\n");
            text.push_str(&route);
            text.push_str("respond = { body = \"x\" }\n");
        }
        if turn % 3 > 0 {
            let place = turn % 3;
            let extra = format!("[listener.extra]\nbind = \"@extra{place}\"\n");
            text.push_str(&extra);
        }
        text
    }
}

impl Site {
    /// The listener within TLS, and the upstream within TLS that its requests go to.
    fn secure(&self, turn: usize) -> String {
        let (number, endpoint) = (turn % 2, self.private[turn % 2].address());
        let most = 300 + turn;
        format!(
            "[listener.secure]\nbind = \"@secure\"\n[listener.secure.tls]\nmax_handshakes = {most}\n\
             certificates = [{{ cert = \"cert{number}.pem\", key = \"cert{number}.key\" }}]\n\
             [route.private]\nlistener = \"secure\"\nmethods = [\"GET\"]\nupstream = \"private\"\n\
             [upstream.private]\nendpoints = [\"{endpoint}\"]\n\
             tls = {{ ca = \"ca.pem\", server_name = \"api.test\" }}\n"
        )
    }
}

impl Streams {
    fn new() -> Self {
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        }
    }

    /// Some tunnels and a download over connections that are made like this.
    fn start<S: Read + Write>(
        &mut self,
        connect: impl Fn() -> Client<S> + Clone + Send + 'static,
        tunnels: usize,
    ) {
        for number in 0..tunnels {
            let (stop, connect) = (Arc::clone(&self.stop), connect.clone());
            let tunnel = move || converse(connect(), number, &stop);
            self.threads.push(thread::spawn(tunnel));
        }
        self.threads
            .push(thread::spawn(move || download(connect())));
    }

    /// Some sessions that talk, and some that carry much, over connections to this address.
    fn relay(&mut self, address: SocketAddr) {
        for number in 0..TUNNELS {
            let stop = Arc::clone(&self.stop);
            let session = move || {
                let session = Client::connect(address);
                talk(session, &format!("session {number}"), &stop)
            };
            self.threads.push(thread::spawn(session));
        }
        for number in 0..BULKS {
            let stop = Arc::clone(&self.stop);
            let session = move || carry(Client::connect(address), number, &stop);
            self.threads.push(thread::spawn(session));
        }
    }

    /// Ends the streams in good order: how much each has carried, or what went wrong.
    fn finish(self) -> Vec<Result<usize, String>> {
        self.stop.store(true, Ordering::Release);
        let threads = self.threads.into_iter();
        threads
            .map(|thread| thread.join().expect("a stream's client does not fail"))
            .collect()
    }
}

#[test]
fn reloads_under_load_cost_nothing() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let finish = Arc::new(AtomicBool::new(false));
    let site = Site::new(&finish);
    let mut proxy = Evenkeel::start_among(&site.files(), &site.config(1));
    let (web, secure) = (proxy.address("web"), proxy.address("secure"));
    let caller = Hello::to("a.test", &site.authority).caller();
    let in_tls = move || caller.begin(secure);
    let load = Load::start(web, CLIENTS, RATE);
    let load_in_tls = Load::start_over(in_tls.clone(), CLIENTS, RATE);
    let mut streams = Streams::new();
    streams.start(move || Client::connect(web), TUNNELS);
    streams.start(in_tls, TUNNELS);
    streams.relay(proxy.address("relay"));
    pause(Duration::from_secs(1));

    let reloads = proof_seconds();
    let mut pace = Pace::new(Duration::from_secs(1), Duration::ZERO);
    for generation in 2..=reloads + 1 {
        pace.wait();
        let config = site.config(generation);
        if generation % 2 == 0 {
            proxy.reload(&config);
        } else {
            proxy.write_config(&config);
            proxy.signal(Signal::HUP);
        }
        eventually("the configuration is in force", || {
            (proxy.generation() == generation).then_some(())
        });
        let mut client = proxy.client();
        let told = client
            .get("/")
            .head
            .value("x-generation")
            .map(str::to_owned);
        assert_eq!(told, Some(generation.to_string()));
    }

    let (seen, seen_in_tls) = (load.stop(), load_in_tls.stop());
    finish.store(true, Ordering::Release);
    let streams = streams.finish();
    let cut: Vec<_> = streams
        .iter()
        .filter_map(|end| end.as_ref().err())
        .collect();
    let carried: usize = streams.iter().flatten().sum();
    say(&format!(
        "reload proof: {reloads} reloads under {RATE} requests/s over {CLIENTS} keep-alive \
         connections, and as many within TLS\n  {}\n  within TLS: {}\n  {} streams of {} cut, \
         {carried} messages carried",
        seen.figures(),
        seen_in_tls.figures(),
        cut.len(),
        streams.len(),
    ));
    assert!(cut.is_empty(), "{cut:?}");
    // Nothing was forgotten either: every request is counted, this test's own ones too.
    for (seen, route, own) in [(seen, "app", reloads), (seen_in_tls, "private", 0)] {
        assert!(seen.failures.is_empty(), "{:?}", seen.failures);
        assert_eq!(seen.farewells, 0, "keep-alive connections were closed");
        assert!(seen.requests() > 0);
        let sent = u64::try_from(seen.requests()).expect("a count") + own;
        let label = format!("route=\"{route}\"");
        eventually("every request is counted", || {
            let counted = proxy.metric("evenkeel_http_requests_total", &[&label]);
            assert!(counted <= sent, "{counted} of {sent}");
            (counted == sent).then_some(())
        });
    }
    assert_eq!(
        proxy.metric("evenkeel_config_reloads_total", &["result=\"applied\""]),
        reloads
    );
}

/// A tunnel on which both sides talk, ten times a second.
fn converse<S: Read + Write>(
    mut client: Client<S>,
    number: usize,
    stop: &AtomicBool,
) -> Result<usize, String> {
    client.send(
        "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let granted = client
        .try_response_to("GET")
        .map(|response| response.status);
    if granted != Ok(101) {
        return Err(format!("tunnel {number}: {granted:?}"));
    }
    talk(client, &format!("tunnel {number}"), stop)
}

/// Both sides talk, ten times a second.
fn talk<S: Read + Write>(
    mut client: Client<S>,
    name: &str,
    stop: &AtomicBool,
) -> Result<usize, String> {
    let mut pace = Pace::new(Duration::from_millis(100), Duration::ZERO);
    let mut messages = 0;
    while !stop.load(Ordering::Acquire) {
        pace.wait();
        let message = format!("message {messages} of {name}");
        client.send(&message);
        let echoed = client.try_bytes(message.len());
        if echoed.as_deref() != Ok(message.as_bytes()) {
            return Err(format!("{name}, message {messages}: {echoed:?}"));
        }
        messages += 1;
    }
    Ok(messages)
}

/// A session that carries much in both directions at once, of which every byte comes back.
fn carry(mut client: Client, number: usize, stop: &AtomicBool) -> Result<usize, String> {
    let piece = |nth: usize| -> Vec<u8> {
        let bytes = (nth..).map(|at| at.to_le_bytes()[0]);
        bytes.take(PIECE).collect()
    };
    let mut pace = Pace::new(Duration::from_millis(10), Duration::ZERO);
    let (mut sent, mut whole) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        pace.wait();
        client.send(piece(sent));
        sent += 1;
        // One is always on its way, also while a reload takes place.
        if sent - whole < 2 {
            continue;
        }
        if client.try_bytes(PIECE).as_ref() != Ok(&piece(whole)) {
            return Err(format!(
                "bulk {number} is cut, or another, in piece {whole}"
            ));
        }
        whole += 1;
    }
    client.finish();
    let rest: Vec<u8> = (whole..sent).flat_map(piece).collect();
    if client.read_to_end() != rest {
        return Err(format!("bulk {number} lacks its end"));
    }
    Ok(sent)
}

/// A download that takes as long as the test.
fn download<S: Read + Write>(mut client: Client<S>) -> Result<usize, String> {
    client.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client
        .try_response_to("GET")
        .map_err(|broken| format!("download: {broken:?}"))?;
    let text = response.body.text();
    let lines: Vec<&str> = text.lines().collect();
    let in_order = lines
        .iter()
        .enumerate()
        .all(|(at, line)| *line == at.to_string());
    if response.status == 200 && response.is_whole() && in_order {
        Ok(lines.len())
    } else {
        Err(format!("download: cut after {} lines", lines.len()))
    }
}

/// An endpoint that sends numbered lines until it is told to finish.
fn downloading(finish: &Arc<AtomicBool>) -> Endpoint {
    let finish = Arc::clone(finish);
    Endpoint::start(move |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let mut pace = Pace::new(Duration::from_millis(50), Duration::ZERO);
            let mut number = 0;
            while !finish.load(Ordering::Acquire) {
                pace.wait();
                let line = format!("{number}\n");
                peer.send(format!("{:x}\r\n{line}\r\n", line.len()));
                number += 1;
            }
            peer.send("0\r\n\r\n");
        }
    })
}

fn quoted(endpoint: &Endpoint) -> String {
    format!("\"{}\"", endpoint.address())
}

const CLIENTS: u32 = 20;
const RATE: u32 = 500;
const TUNNELS: usize = 8;
const BULKS: usize = 4;
/// Bytes: with a hundred a second, as much as the harness can remember.
const PIECE: usize = 8 << 10;
