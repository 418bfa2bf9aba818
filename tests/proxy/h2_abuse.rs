//! Clients that do too much of what costs them nothing, each kind by itself: their connection ends
//! with `ENHANCE_YOUR_CALM`, it is counted, the memory stays where it was, and another client of
//! the same worker is served all the while.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::memory::{Memory, assert_bounded, memory};
use crate::support::client::connected;
use crate::support::clock::{eventually, timed};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::frame::{Frame, code, flag, kind, setting};
use crate::support::h2::{H2, StreamEnd, hpack};
use crate::support::tls::{Authority, Hello, listener};

/// A proxy with one worker, and an endpoint that keeps those waiting who ask for `/slow`.
pub(crate) struct Rig {
    pub(crate) proxy: Evenkeel,
    pub(crate) endpoint: Endpoint,
    before: Memory,
}

/// A client of plain frames.
pub(crate) type Plain = H2<std::net::TcpStream>;

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// With these lines of `[listener.web.http2]`, and these above the listener.
    pub(crate) fn with(http2: &str, lines: &str) -> Self {
        let endpoint = Endpoint::start(|peer| {
            while let Some(request) = peer.request() {
                if request.target() == "/slow" {
                    return peer.drain();
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            }
        });
        Self::before(endpoint, http2, lines)
    }

    /// The same in front of another endpoint.
    pub(crate) fn before(endpoint: Endpoint, http2: &str, lines: &str) -> Self {
        let address = endpoint.address();
        let proxy = Evenkeel::start(&format!(
            "workers = 1\n{lines}\n[log]\naccess = false\n\
             [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
             [listener.web.http2]\n{http2}\n[upstream.app]\nendpoints = [\"{address}\"]\n"
        ));
        let mut client = H2::connect(proxy.address("web"));
        assert_eq!(client.get("/").status, 200);
        let before = memory(&proxy);
        Self {
            proxy,
            endpoint,
            before,
        }
    }

    pub(crate) fn client(&self) -> Plain {
        H2::connect(self.proxy.address("web"))
    }

    /// What a client of frames may begin on.
    pub(crate) fn client_socket(&self) -> std::net::TcpStream {
        connected(self.proxy.address("web"))
    }

    /// What the program has of memory is about what it had.
    pub(crate) fn is_bounded(&self) {
        assert_bounded(&self.proxy, self.before);
    }

    /// Does something while another client asks again and again: all its requests are answered, and
    /// hardly one waits longer than they did before ([`Waits`]).
    pub(crate) fn beside_another<T>(&self, run: impl FnOnce() -> T) -> T {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut client = self.client();
        let mut before: Vec<Duration> = (0..50).map(|_| timed(|| client.get("/other")).1).collect();
        before.sort_unstable();
        let usual = before[before.len() / 2];
        let other = {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                let mut waits = Vec::new();
                while !is_over.load(Ordering::Acquire) || waits.len() < 10 {
                    let (answer, wait) = timed(|| client.get("/other"));
                    assert_eq!((answer.status, answer.end), (200, StreamEnd::Whole));
                    waits.push(wait);
                }
                waits
            })
        };
        let result = run();
        is_over.store(true, Ordering::Release);
        let waits = Waits::of(other.join().expect("the other client was served"));
        waits.tell(usual);
        if let Some(fault) = waits.fault(usual) {
            panic!("the other client waited {fault}, and {usual:?} before");
        }
        result
    }

    /// An attack, and what has to become of it.
    pub(crate) fn attacked(&self, reason: &str, attack: impl FnOnce(&mut Plain)) {
        let counted = self.abuses(reason);
        let mut client = self.client();
        self.beside_another(|| {
            attack(&mut client);
            ends_calmly(&mut client, reason);
        });
        assert_eq!(self.abuses(reason), counted + 1, "{reason} is counted");
        self.is_bounded();
        self.comes_to_rest();
    }

    /// Nothing is under way any more.
    pub(crate) fn comes_to_rest(&self) {
        eventually("no request is under way", || {
            (self.under_way() == 0).then_some(())
        });
    }

    pub(crate) fn under_way(&self) -> u64 {
        let now = |family: &str| self.proxy.metric_now(family, &[]);
        now("evenkeel_http_requests_in_flight") + now("evenkeel_endpoint_in_flight")
    }

    pub(crate) fn abuses(&self, reason: &str) -> u64 {
        let reason = format!("reason=\"{reason}\"");
        self.proxy
            .metric("evenkeel_http2_abuse_total", &[reason.as_str()])
    }

    pub(crate) fn resets(&self, by: &str) -> u64 {
        let by = format!("by=\"{by}\"");
        self.proxy
            .metric("evenkeel_http2_streams_reset_total", &[by.as_str()])
    }
}

/// The connection ends for this reason, and says so.
pub(crate) fn ends_calmly<S: Read + Write>(client: &mut H2<S>, reason: &str) {
    let (_, said) = client.expect_goaway(code::ENHANCE_YOUR_CALM);
    assert_eq!(said, reason);
    assert!(client.is_closed(), "{reason}");
}

/// Sends frames, a few at once, and far more than anybody takes.
fn flood<S: Read + Write>(client: &mut H2<S>, mut frames: impl FnMut(&mut H2<S>) -> Vec<Frame>) {
    for _ in 0..ROUNDS {
        let frames: Vec<Frame> = (0..FRAMES).flat_map(|_| frames(client)).collect();
        client.send_all(&frames);
    }
}

/// How long each request of a client waited that asked one after the other, the longest last.
struct Waits(Vec<Duration>);

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        Self(waits)
    }

    /// What so many thousandths of them did not exceed.
    fn at(&self, part: usize) -> Duration {
        self.0[(self.0.len() - 1) * part / 1000]
    }

    /// What is wrong with them. Whoever asks one after the other meets a worker that stands still
    /// once, however long that lasts, so that shares of the requests do not show it: shares of the
    /// time do, and the longest wait.
    fn fault(&self, usual: Duration) -> Option<String> {
        let most = (10 * usual).max(usual + A_STEP);
        let (nearly_all, longest) = (self.at(950), self.at(1000));
        if nearly_all >= most {
            return Some(format!("for {nearly_all:?} often"));
        }
        if longest >= usual + A_FREEZE {
            return Some(format!("for {longest:?} once"));
        }
        let long: Duration = self.0.iter().filter(|wait| **wait >= most).sum();
        let all: Duration = self.0.iter().sum();
        (long >= A_PAUSE && long >= all / 4).then(|| format!("long for {long:?} of {all:?}"))
    }

    #[expect(clippy::print_stderr, reason = "a figure to be looked at")]
    fn tell(&self, usual: Duration) {
        eprintln!(
            "{}: {usual:?} before; {} requests, {:?} at the middle, {:?} at 95 %, {:?} at most",
            thread::current().name().unwrap_or_default(),
            self.0.len(),
            self.at(500),
            self.at(950),
            self.at(1000)
        );
    }
}

#[test]
fn a_worker_that_stands_still_is_noticed() {
    let usual = Duration::from_millis(1);
    let with = |count, others: &[u64]| {
        let others = others.iter().copied().map(Duration::from_millis);
        let waits = std::iter::repeat_n(usual, count).chain(others);
        Waits::of(waits.collect()).fault(usual)
    };
    assert_eq!(with(1000, &[]), None);
    assert_eq!(with(10, &[1500]), None, "a short while");
    assert_eq!(with(5000, &[300; 4]), None, "a noisy machine");
    assert_eq!(with(9000, &[900; 3]), None, "a pause of a long while");
    assert!(with(10, &[300; 10]).is_some(), "often");
    assert!(with(100, &[2500]).is_some(), "nearly all the time");
    assert!(with(1000, &[900; 3]).is_some(), "most of the time");
    assert!(with(100_000, &[3100]).is_some(), "it stood still");
}

fn opens(client: &mut Plain, method: &str, path: &str) -> (u32, Frame) {
    let id = client.next_stream();
    let ends = method == "GET";
    (id, Frame::headers(id, &request(method, path), ends))
}

/// CVE-2023-44487.
#[test]
fn rapid_reset() {
    let rig = Rig::new();
    rig.attacked("rapid_reset", |client| {
        // Fewer at once than may be open: what is beyond that is refused, which is another abuse.
        for _ in 0..10 {
            let frames = (0..90).flat_map(|_| {
                let (id, head) = opens(client, "GET", "/slow");
                [head, Frame::reset(id, code::CANCEL)]
            });
            let frames: Vec<Frame> = frames.collect();
            client.send_all(&frames);
            eventually("they are over", || (rig.under_way() <= 2).then_some(()));
        }
    });
    assert!(rig.resets("client") >= 100);
    // What was never waited for was hardly worked for.
    assert!(rig.endpoint.connections() < 300);
}

/// The same where it hurts: each request has reached its endpoint before it is reset.
#[test]
fn resets_of_requests_that_are_under_way() {
    let rig = Rig::with("max_streams = 10", "");
    let asked = |count: usize| {
        eventually("the endpoint was asked", || {
            let requests = rig.endpoint.requests();
            let slow = requests.iter().filter(|it| it.target() == "/slow").count();
            (slow == count).then_some(())
        });
    };
    rig.attacked("rapid_reset", |client| {
        for round in 0..20 {
            let ids: Vec<u32> = (0..10).map(|_| client.ask("/slow")).collect();
            asked(10 * (round + 1));
            // At once, and so below: while one waits, what was spent comes back.
            let under_way = rig.proxy.metric_now("evenkeel_endpoint_in_flight", &[]);
            assert!(
                under_way <= 11,
                "{under_way} at once, with the other client's"
            );
            for id in ids {
                client.send(&Frame::reset(id, code::CANCEL));
            }
            // What nobody waits for is not worked for.
            eventually("the endpoint's connections are closed", || {
                (rig.endpoint.ends().len() >= 10 * (round + 1)).then_some(())
            });
        }
        // What comes back meanwhile is spent as well, however slow the machine is.
        let ended = || {
            let reason = ["reason=\"rapid_reset\""];
            rig.proxy.metric_now("evenkeel_http2_abuse_total", &reason) > 0
        };
        for _ in (0..1000).take_while(|_| !ended()) {
            let frames = (0..9).flat_map(|_| {
                let (id, head) = opens(client, "GET", "/slow");
                [head, Frame::reset(id, code::CANCEL)]
            });
            let frames: Vec<Frame> = frames.collect();
            client.send_all(&frames);
            eventually("they are over", || (rig.under_way() <= 2).then_some(()));
        }
    });
    assert!(rig.resets("client") >= 200);
}

/// CVE-2025-8671: the client has us do the resetting.
#[test]
fn made_you_reset() {
    let overflow = |id| Frame::window_update(id, 0x7fff_ffff);
    let nothing = |id| Frame::window_update(id, 0);
    let late = |id| Frame::data(id, "after the end", true);
    let own_parent = |id: u32| {
        Frame::new(
            kind::PRIORITY,
            0,
            id,
            [&id.to_be_bytes()[..], b"\0"].concat(),
        )
    };
    let short = |id| Frame::new(kind::PRIORITY, 0, id, b"four");
    let variants: [&dyn Fn(u32) -> Frame; 5] = [&overflow, &nothing, &late, &own_parent, &short];
    for spoils in variants {
        let rig = Rig::new();
        rig.attacked("made_you_reset", |client| {
            flood(client, |client| {
                let (id, head) = opens(client, "GET", "/slow");
                vec![head, spoils(id)]
            });
        });
        assert!(rig.resets("evenkeel") >= 50);
    }
}

#[test]
fn made_you_reset_by_malformed_messages() {
    let rig = Rig::new();
    rig.attacked("made_you_reset", |client| {
        flood(client, |client| {
            let id = client.next_stream();
            let fields = request_with("GET", "/", &[("Upper", "case")]);
            vec![Frame::headers(id, &fields, true)]
        });
    });
    rig.attacked("made_you_reset", |client| {
        flood(client, |client| {
            let id = client.next_stream();
            let fields = request_with("POST", "/slow", &[("content-length", "1")]);
            vec![
                Frame::headers(id, &fields, false),
                Frame::data(id, "longer", false),
            ]
        });
    });
    rig.attacked("made_you_reset", |client| {
        flood(client, |client| {
            let (id, head) = opens(client, "POST", "/slow");
            vec![head, Frame::headers(id, &[(":path", "/")], true)]
        });
    });
    assert!(rig.resets("evenkeel") >= 150);
}

/// CVE-2024-27316: full frames, tiny ones, empty ones.
#[test]
fn continuation_floods() {
    let field = hpack::block(&[("a", "x".repeat(16_000))]);
    let rig = Rig::new();
    for piece in [&field[..], b"", &hpack::block(&[("a", "")])] {
        rig.attacked("continuation", |client| {
            let id = client.next_stream();
            let begin = hpack::block(&request("GET", "/"));
            client.send(&Frame::new(kind::HEADERS, flag::END_STREAM, id, begin));
            let more = Frame::new(kind::CONTINUATION, 0, id, piece);
            for _ in 0..100 {
                client.send(&more);
            }
        });
    }
}

#[test]
fn frames_that_lead_nowhere() {
    let rig = Rig::new();
    let parent = [0, 0, 0, 0, 16];
    for (reason, frame) in [
        ("ping", Frame::ping(*b"12345678")),
        ("ping", Frame::new(kind::PING, flag::ACK, 0, b"12345678")),
        ("settings", Frame::settings_of(&[])),
        (
            "settings",
            Frame::settings_of(&vec![(setting::INITIAL_WINDOW_SIZE, 70_000); 2730]),
        ),
        ("settings", Frame::new(kind::SETTINGS, flag::ACK, 0, b"")),
        ("priority", Frame::new(kind::PRIORITY, 0, 3, parent)),
        (
            "priority",
            Frame::new(kind::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
        ),
        ("empty_data", Frame::data(1, b"", false)),
        (
            "empty_data",
            Frame::new(
                kind::DATA,
                flag::PADDED,
                1,
                [&b"\xff"[..], &[0; 255]].concat(),
            ),
        ),
        ("window_update", Frame::window_update(0, 1)),
        ("window_update", Frame::window_update(1, 1)),
        (
            "unknown_frame",
            Frame::new(0xfa, 0xff, 77, b"what is this?"),
        ),
    ] {
        rig.attacked(reason, |client| {
            let (_, head) = opens(client, "POST", "/slow");
            client.send(&head);
            flood(client, |_| vec![frame.clone()]);
        });
    }
}

/// One byte stands for an entry of 4,000, and there are thousands of them.
#[test]
fn header_bombs() {
    let rig = Rig::new();
    rig.attacked("header_list", |client| {
        flood(client, |client| {
            let id = client.next_stream();
            let mut bomb = hpack::block(&request("GET", "/"));
            bomb.extend(hpack::indexed_literal("a", "x".repeat(4000)));
            bomb.extend(hpack::number(0x80, 7, 62).repeat(8000));
            vec![Frame::head(id, bomb, true)]
        });
    });
}

/// Blocks that fill the table and throw everything out again.
#[test]
fn tables_that_are_filled_without_end() {
    let rig = Rig::new();
    let mut client = rig.client();
    let round = |client: &mut Plain, size: usize| {
        let id = client.next_stream();
        let mut block = [hpack::number(0x20, 5, 0), hpack::number(0x20, 5, size)].concat();
        block.extend(hpack::block(&request("GET", "/")));
        for count in 0..60 {
            block.extend(hpack::indexed_literal(format!("a{count}"), "x".repeat(100)));
        }
        client.send(&Frame::head(id, block, true));
        assert_eq!(client.message(id).status, 200);
    };
    rig.beside_another(|| {
        for turn in 0..300 {
            round(&mut client, if turn % 2 == 0 { 4096 } else { 200 });
        }
    });
    rig.is_bounded();
}

#[test]
fn sizes_of_tables_that_must_not_be() {
    let rig = Rig::new();
    let request = hpack::block(&request("GET", "/"));
    let zero = hpack::number(0x20, 5, 0);
    for block in [
        [hpack::number(0x20, 5, 4097), request.clone()].concat(),
        [request.clone(), zero.clone()].concat(),
        [zero.repeat(3), request.clone()].concat(),
        [hpack::number(0x20, 5, 1 << 27), request.clone()].concat(),
        [request, hpack::number(0x80, 7, 62)].concat(),
    ] {
        let mut client = rig.client();
        let id = client.next_stream();
        client.send(&Frame::head(id, block, true));
        client.expect_goaway(code::COMPRESSION_ERROR);
        assert!(client.is_closed());
    }
    rig.comes_to_rest();
}

#[test]
fn header_lists_past_the_limit() {
    let rig = Rig::new();
    let large = "x".repeat(16_000);
    let pieces = |client: &mut Plain| {
        let id = client.next_stream();
        let fields = [("a", &*large), ("b", &*large)];
        let block = hpack::block(&request_with("GET", "/", &fields));
        let (begin, end) = block.split_at(16_000);
        (
            id,
            vec![
                Frame::new(kind::HEADERS, flag::END_STREAM, id, begin),
                Frame::new(kind::CONTINUATION, 0, id, &end[..16_000]),
                Frame::new(kind::CONTINUATION, flag::END_HEADERS, id, &end[16_000..]),
            ],
        )
    };
    let mut client = rig.client();
    for _ in 0..3 {
        let (id, frames) = pieces(&mut client);
        client.send_all(&frames);
        assert_eq!(client.message(id).status, 431);
        assert_eq!(client.get("/").status, 200, "the connection goes on");
    }
    rig.attacked("header_list", |client| {
        for _ in 0..100 {
            let (_, frames) = pieces(client);
            client.send_all(&frames);
        }
    });
}

#[test]
fn streams_past_the_limit() {
    let rig = Rig::with("max_streams = 10", "");
    let mut client = rig.client();
    let taken: Vec<u32> = (0..10).map(|_| client.ask("/slow")).collect();
    let refused: Vec<u32> = (0..10).map(|_| client.ask("/slow")).collect();
    for id in refused {
        client.expect_reset(id, code::REFUSED_STREAM);
    }
    assert_eq!(client.max_streams(), Some(10));
    for id in taken {
        client.send(&Frame::reset(id, code::CANCEL));
    }
    // There is room again once our work for them has ended.
    rig.comes_to_rest();
    assert_eq!(client.get("/").status, 200);
    rig.attacked("refused_stream", |client| {
        flood(client, |client| vec![opens(client, "GET", "/slow").1]);
    });
    assert!(rig.endpoint.requests().len() < 10_000);
}

#[test]
fn within_tls_as_well() {
    let endpoint = Endpoint::says("hello");
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let config = listener(endpoint.address(), &["a"], "");
    let proxy = Evenkeel::start_among(&files, &config);
    let hello = Hello::to("shop.test", &authority);
    let mut other = H2::begin(&hello, proxy.address("web"));
    let mut client = H2::begin(&hello, proxy.address("web"));
    client.send_all(&vec![Frame::ping(*b"12345678"); 1000]);
    ends_calmly(&mut client, "ping");
    let mut client = H2::begin(&hello, proxy.address("web"));
    for _ in 0..1000 {
        let id = client.ask("/");
        client.send(&Frame::reset(id, code::CANCEL));
    }
    ends_calmly(&mut client, "rapid_reset");
    assert_eq!(other.get("/").status, 200);
    assert_eq!(proxy.metric("evenkeel_http2_abuse_total", &[]), 2);
}

/// Browsers and gRPC do much of this, and none of it is abuse.
#[test]
fn honest_clients_are_not_hurt() {
    let rig = Rig::new();
    let mut client = rig.client();
    for turn in 0..50 {
        let ids: Vec<u32> = (0..100).map(|_| client.ask("/")).collect();
        client.send(&Frame::ping(*b"12345678"));
        // A page that is left, after many that were not.
        if turn % 2 == 0 {
            client.send(&Frame::reset(ids[99], code::CANCEL));
            client.send(&Frame::reset(ids[98], code::CANCEL));
        }
        for &id in &ids[..98] {
            assert_eq!(client.message(id).text(), "hello");
        }
    }
    // One that is used by many others, of which some give up all the time.
    for _ in 0..20 {
        for _ in 0..20 {
            let ids: Vec<u32> = (0..20).map(|_| client.ask("/")).collect();
            client.send(&Frame::reset(ids[19], code::CANCEL));
            for &id in &ids[..19] {
                assert_eq!(client.message(id).text(), "hello");
            }
        }
    }
    assert_eq!(rig.proxy.metric("evenkeel_http2_abuse_total", &[]), 0);
}

/// What the other client may wait beyond the usual: what a machine that others use as well may add.
/// What it does wait is printed.
const A_STEP: Duration = Duration::from_millis(250);

/// What no request waits on a machine that others use: the worker stood still.
const A_FREEZE: Duration = Duration::from_secs(3);

/// What such a machine may add to a client that asks for a moment only, all in all: with the other
/// tests beside it, a second has been seen.
const A_PAUSE: Duration = Duration::from_secs(2);

/// Frames, or small groups of them, that are sent at once.
const FRAMES: usize = 50;

/// More than any allowance has.
const ROUNDS: usize = 60;
