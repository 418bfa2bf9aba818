//! The reload proof over HTTP/2: routes, endpoints, certificates, settings of HTTP/2 on either side
//! and the protocol of upstreams change every second, and nobody notices: neither requests, many at
//! once on a connection, nor streams on which something moves in one direction or both.
//!
//! `EVENKEEL_PROOF_SECONDS` says how many reloads there are; it prints what it has seen.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::Signal;

use super::client::{Crowd, Lasting, Many, Seen, Task};
use super::endpoint::Service;
use crate::THE_MACHINE;
use crate::figures::{proof_seconds, say};
use crate::support::clock::{Pace, eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::frame::setting;
use crate::support::tls::{Authority, Certified, Hello};

/// The endpoints of all configurations, and the certificates.
struct Site {
    apps: [Service; 4],
    /// Where streams go that last: two upstreams, each with one of two.
    lasting: [Service; 4],
    authority: Authority,
    certified: [Certified; 2],
}

/// The test's own streams, which begin and end while others go on: each over a few reloads.
struct Passing {
    client: Many<TcpStream>,
    open: VecDeque<u32>,
    pace: Pace,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new();
        Self {
            apps: [(); 4].map(|()| Service::start()),
            lasting: [(); 4].map(|()| Service::start()),
            certified: [(); 2].map(|()| authority.certify(&["a.test"])),
            authority,
        }
    }

    fn files(&self) -> Vec<(String, String)> {
        let [one, other] = &self.certified;
        [one.files("cert0"), other.files("cert1")].concat()
    }

    /// The configuration of a generation. Each differs from the one before in its endpoints (one of
    /// four rests, the streams' endpoints are exchanged), in a route, in a certificate, and in what
    /// it sets for HTTP/2; and each second one in the protocol of every upstream.
    fn config(&self, generation: u64) -> String {
        let turn = turn(generation);
        let mut apps: Vec<String> = self.apps.iter().map(quoted).collect();
        apps.remove(turn % apps.len());
        let apps = apps.join(", ");
        let [one, two] = [0, 2].map(|first| quoted(&self.lasting[first + turn % 2]));
        let [app_by, one_by] = [turn, turn / 2].map(|turn| protocol(turn, turn % 2 == 1));
        let two_by = protocol(turn, (turn / 2).is_multiple_of(2));
        let mut text = format!(
            "workers = 2\n[shutdown]\ngrace = \"0s\"\n\
             [listener.web]\nbind = \"@web\"\nprotocols = {protocols}\n\
             [listener.web.http2]\n{settings}\n\
             [route.app]\nupstream = \"app\"\n\
             response_headers.set = {{ x-generation = \"{generation}\" }}\n\
             [route.one]\npath = \"/one/\"\nupstream = \"one\"\n\
             [route.two]\npath = \"/two/\"\nupstream = \"two\"\n\
             [upstream.app]\nendpoints = [{apps}]\n{app_by}\
             [upstream.one]\nendpoints = [{one}]\n{one_by}\
             [upstream.two]\nendpoints = [{two}]\n{two_by}\
             [listener.secure]\nbind = \"@secure\"\n[listener.secure.tls]\n\
             certificates = [{{ cert = \"cert{number}.pem\", key = \"cert{number}.key\" }}]\n\
             [listener.secure.http2]\n{settings}\n",
            protocols = ["[\"h2c\"]", "[\"h2c\", \"http/1.1\"]"][turn % 2],
            settings = settings(generation),
            number = turn % 2,
        );
        if turn % 2 == 1 {
            let route = format!("[route.passing]\npath = \"/passing/{generation}\"\n");
            text.push_str(&route);
            text.push_str("respond = { body = \"x\" }\n");
        }
        text
    }

    /// New connections have what the generation says: its certificate, and its settings.
    fn is_shown(&self, proxy: &Evenkeel, generation: u64) {
        let shown = &self.certified[turn(generation) % 2];
        let hello = Hello {
            protocols: &["h2"],
            ..Hello::to("a.test", &self.authority)
        };
        let session = hello.begin(proxy.address("secure"));
        assert_eq!(session.protocol().as_deref(), Some("h2"));
        assert!(session.was_shown(shown), "of generation {generation}");
        let client = Many::over(H2::client(session.into_stream()));
        is_told(client, generation);
        is_told(plain(proxy), generation);
    }
}

impl Passing {
    fn begin(proxy: &Evenkeel) -> Self {
        Self {
            client: plain(proxy),
            open: VecDeque::new(),
            pace: Pace::new(Duration::ZERO, Duration::ZERO),
        }
    }

    /// Something on every stream, the oldest of which are ended.
    fn go_on(&mut self, longest: usize, seen: &mut Seen) {
        self.client.beat(self.pace.wait(), "GET", &[]);
        while self.open.len() > longest {
            let oldest = self.open.pop_front().expect("there are some");
            seen.streams.push(self.client.finish(oldest));
        }
    }

    fn begin_more(&mut self) {
        for below in LASTING {
            for lasting in [Lasting::Talk, Lasting::Upload] {
                self.open.push_back(self.client.open(lasting, below));
            }
        }
    }
}

#[test]
fn reloads_under_load_cost_nothing_over_http2() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let site = Site::new();
    let mut proxy = Evenkeel::start_among(&site.files(), &site.config(1));
    let (web, secure) = (proxy.address("web"), proxy.address("secure"));
    let hello = Hello {
        protocols: &["h2"],
        ..Hello::to("a.test", &site.authority)
    };
    let caller = hello.caller();
    let task = Task {
        method: "GET",
        paths: |_, _| vec!["/".to_owned(); REQUESTS],
        lasting: LASTING.map(str::to_owned).to_vec(),
    };
    let plain = Crowd::start(move || H2::connect(web), CONNECTIONS, EVERY, &task);
    let in_tls = move || H2::client(caller.begin(secure).into_stream());
    let in_tls = Crowd::start(in_tls, CONNECTIONS, EVERY, &task);
    let mut passing = Passing::begin(&proxy);
    let mut own = Seen::default();
    pause(Duration::from_secs(1));

    let reloads = proof_seconds();
    let mut pace = Pace::new(Duration::from_secs(1), Duration::ZERO);
    for generation in 2..=reloads + 1 {
        pace.wait();
        passing.begin_more();
        passing.go_on(LONGEST, &mut own);
        put_in_force(&mut proxy, &site.config(generation), generation);
        passing.go_on(LONGEST, &mut own);
        let answer = passing.client.ask("/");
        is_of(&answer, generation);
        site.is_shown(&proxy, generation);
    }

    for service in &site.lasting {
        service.finish();
    }
    let seen = [plain.stop(), in_tls.stop()];
    passing.go_on(0, &mut own);
    assert!(passing.client.goaways().is_empty(), "connections are kept");
    report(reloads, &seen, &own);
    let mut sent = 3 * reloads;
    for seen in &seen {
        let Seen { tally, streams, .. } = seen;
        assert!(seen.cut().is_empty(), "{:?}", seen.cut());
        assert_eq!(streams.len(), 3 * LASTING.len() * CONNECTIONS as usize);
        assert!(tally.failures.is_empty(), "{:?}", tally.failures);
        assert_eq!(tally.farewells, 0, "connections were ended");
        assert!(tally.requests() > 0);
        sent += u64::try_from(tally.requests()).expect("a count");
    }
    assert!(own.cut().is_empty(), "{:?}", own.cut());
    // Nothing was forgotten either.
    eventually("every request is counted", || {
        let counted = proxy.metric("evenkeel_http_requests_total", &["route=\"app\""]);
        assert!(counted <= sent, "{counted} of {sent}");
        (counted == sent).then_some(())
    });
    assert_eq!(proxy.metric("evenkeel_http2_streams_reset_total", &[]), 0);
    // Every endpoint was asked in both protocols.
    let services = site.apps.iter().chain(&site.lasting);
    let connections: Vec<_> = services.map(Service::connections).collect();
    let is_asked = connections.iter().flatten().all(|count| *count > 0);
    assert!(is_asked || reloads < 5, "{connections:?}");
}

fn put_in_force(proxy: &mut Evenkeel, config: &str, generation: u64) {
    if generation.is_multiple_of(2) {
        proxy.reload(config);
    } else {
        proxy.write_config(config);
        proxy.signal(Signal::HUP);
    }
    eventually("the configuration is in force", || {
        (proxy.generation() == generation).then_some(())
    });
}

fn report(reloads: u64, seen: &[Seen; 2], own: &Seen) {
    let all = || seen.iter().chain([own]);
    let [plain, in_tls] = seen.each_ref().map(|seen| seen.tally.figures());
    let streams: usize = all().map(|seen| seen.streams.len()).sum();
    let cut: usize = all().map(|seen| seen.cut().len()).sum();
    let carried: usize = all().map(Seen::carried).sum();
    say(&format!(
        "reload proof over HTTP/2: {reloads} reloads under {REQUESTS} requests at once, every {EVERY:?}, \
         on each of {CONNECTIONS} connections of h2c, and as many within TLS\n  \
         {plain}\n  within TLS: {in_tls}\n  \
         {streams} streams to HTTP/1.1 and h2c, {cut} cut, {carried} messages carried"
    ));
}

/// A new connection has the settings of this generation.
fn is_told<S: std::io::Read + std::io::Write>(mut client: Many<S>, generation: u64) {
    is_of(&client.ask("/"), generation);
    let [streams, window] = told(generation);
    let connection = client.connection();
    assert_eq!(connection.max_streams(), Some(streams));
    let set = connection.setting(setting::INITIAL_WINDOW_SIZE);
    assert_eq!(set, Some(window * 1024));
}

fn is_of(answer: &crate::support::h2::Message, generation: u64) {
    let told = answer.field("x-generation");
    assert_eq!(told, Some(generation.to_string().as_str()), "{answer:?}");
}

fn plain(proxy: &Evenkeel) -> Many<TcpStream> {
    Many::over(H2::connect(proxy.address("web")))
}

/// Streams at once, and the KiB that may wait of each.
fn told(generation: u64) -> [u32; 2] {
    let turn = u32::try_from(generation).expect("a small number");
    [100 + turn, [64, 32, 128][turn as usize % 3]]
}

fn settings(generation: u64) -> String {
    let [streams, window] = told(generation);
    let seconds = 20 + generation % 10;
    format!(
        "max_streams = {streams}\nstream_window = \"{window}KiB\"\n\
         keepalive_interval = \"{seconds}s\""
    )
}

/// The settings of an upstream whose endpoints are spoken to in either.
fn protocol(turn: usize, is_http2: bool) -> String {
    if !is_http2 {
        return "protocol = \"http1\"\n".to_owned();
    }
    let most = 20 + turn % 30;
    format!("protocol = \"h2c\"\nhttp2 = {{ max_streams = {most} }}\n")
}

fn turn(generation: u64) -> usize {
    usize::try_from(generation).expect("a small number")
}

fn quoted(service: &Service) -> String {
    format!("\"{}\"", service.address())
}

const CONNECTIONS: u32 = 3;
/// At each beat of a connection.
const REQUESTS: usize = 8;
const EVERY: Duration = Duration::from_millis(100);
const LASTING: [&str; 2] = ["/one", "/two"];
/// Passing streams that are open between reloads: each sees three.
const LONGEST: usize = 12;
