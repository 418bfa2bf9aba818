//! What goes through a session: the same as through a socket, and an end that cannot be forged.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::cases::{get, ok, post};
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::{Broken, End};
use crate::support::tls::{Authority, Hello, Session, listener};

/// A proxy that ends TLS, and whoever certified it.
struct Secured {
    authority: Authority,
    proxy: Evenkeel,
}

impl Secured {
    fn before(endpoint: &Endpoint) -> Self {
        Self::with("", endpoint)
    }

    /// With these lines in front of its configuration.
    fn with(lines: &str, endpoint: &Endpoint) -> Self {
        let authority = Authority::new();
        let files = authority.certify(&["shop.test"]).files("a");
        let config = format!("{lines}{}", listener(endpoint.address(), &["a"], ""));
        let proxy = Evenkeel::start_among(&files, &config);
        Self { authority, proxy }
    }

    fn client(&self) -> Client<Session> {
        Hello::to("shop.test", &self.authority).begin(self.proxy.address("web"))
    }

    fn speaking(&self, version: &'static SupportedProtocolVersion) -> Client<Session> {
        let hello = Hello {
            versions: &[version],
            ..Hello::to("shop.test", &self.authority)
        };
        hello.begin(self.proxy.address("web"))
    }
}

/// Bytes of which no two stretches are alike.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes()[..5]);
    }
    bytes.truncate(length);
    bytes
}

fn in_chunks(bytes: &[u8], size: usize) -> Vec<u8> {
    let chunk = |chunk: &[u8]| {
        let head = format!("{:x}\r\n", chunk.len());
        [head.as_bytes(), chunk, b"\r\n"].concat()
    };
    let mut all: Vec<u8> = bytes.chunks(size).flat_map(chunk).collect();
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

#[test]
fn requests_follow_each_other_on_one_session() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        for path in ["/a", "/b", "/c"] {
            let response = client.get(path);
            assert_eq!(response.status, 200);
            assert!(response.body.text().starts_with(&format!("GET {path} ")));
        }
        client.send("HEAD /d HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response_to("HEAD");
        assert_eq!(response.status, 200);
        assert_ne!(response.head.value("content-length"), Some("0"));
        client.send(b"GET /e HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
        for number in 0..20 {
            let body = client.response().body.text();
            assert!(body.starts_with("GET /e "), "{number}: {body}");
        }
        client.send(get("Connection: close"));
        let response = client.response();
        assert_eq!(response.head.list("connection"), ["close"]);
        assert!(client.says_goodbye());
    }
}

#[test]
fn a_large_body_passes_both_ways_to_the_byte() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            let data = request.body.data;
            let answer = if request.chunked {
                ok("Transfer-Encoding: chunked", in_chunks(&data, 30_000))
            } else {
                ok(format!("Content-Length: {}", data.len()), &data)
            };
            peer.send(answer);
        }
    });
    let secured = Secured::before(&endpoint);
    let sent = noise(6_000_000);
    let length = format!("Content-Length: {}", sent.len());
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        client.send(post(&length, &sent));
        let response = client.response();
        assert!(response.body.data == sent, "by its length");
        let chunks = in_chunks(&sent, 70_001);
        client.send(post("Transfer-Encoding: chunked", chunks));
        let response = client.response();
        assert_eq!(
            response.head.value("transfer-encoding"),
            Some("chunked"),
            "{:?}",
            response.head
        );
        assert!(response.body.data == sent, "in chunks");
        assert_eq!(response.body.end, End::Framed);
    }
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.body.data == sent));
}

/// A record holds 16 KiB: what is a byte more or less comes in other pieces.
#[test]
fn bodies_about_the_size_of_records_pass() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            let data = request.body.data;
            peer.send(ok(format!("Content-Length: {}", data.len()), &data));
        }
    });
    let secured = Secured::before(&endpoint);
    let noise = noise(70_000);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        for records in 1..=4 {
            for size in (records * 16_384 - 3)..=(records * 16_384 + 3) {
                let body = &noise[..size];
                client.send(post(format!("Content-Length: {size}"), body));
                assert!(client.response().body.data == body, "{size}");
            }
        }
    }
}

#[test]
fn a_request_in_records_of_one_byte_is_a_request() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        for byte in post("Content-Length: 5\r\nX-A: b", "hello") {
            client.send([byte]);
        }
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(response.body.text().ends_with("\r\n\r\nhello"));
    }
}

/// What the client does not take yet is held back, at the proxy and at the endpoint, and not lost.
#[test]
fn a_client_that_reads_late_gets_all() {
    let body = noise(8_000_000);
    let answers = [
        ok(format!("Content-Length: {}", body.len()), &body),
        ok("Transfer-Encoding: chunked", in_chunks(&body, 50_000)),
        ok("Connection: close", &body),
    ];
    for answer in answers {
        let endpoint = Endpoint::answers_and_closes(&answer);
        let secured = Secured::before(&endpoint);
        let mut client = secured.client();
        client.send(get("Connection: close"));
        pause(Duration::from_millis(300));
        let response = client.response();
        assert!(response.is_whole(), "{:?}", response.head);
        assert!(response.body.data == body, "{:?}", response.head);
        if response.body.end == End::Framed {
            assert!(client.says_goodbye());
        }
    }
}

#[test]
fn a_tunnel_carries_both_ways() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let secured = Secured::before(&endpoint);
    let noise = noise(3_000_000);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        client.send(get("Connection: Upgrade\r\nUpgrade: websocket"));
        assert_eq!(client.response().status, 101);
        for piece in noise.chunks(100_003) {
            client.send(piece);
            assert!(client.bytes(piece.len()) == piece);
        }
        client.send("last words").finish();
        assert_eq!(client.bytes(10), b"last words");
        assert!(client.says_goodbye());
    }
    assert_eq!(endpoint.ends(), [Broken::Closed, Broken::Closed]);
}

/// Neither way waits for the other: the client reads nothing until it has sent everything.
#[test]
fn a_tunnel_is_two_streams() {
    let noise = noise(8_000_000);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = port.local_addr().expect("a bound address");
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let config = listener(address, &["a"], "");
    let proxy = Evenkeel::start_among(&files, &config);
    for version in VERSIONS {
        thread::scope(|scope| {
            scope.spawn(|| speaks_and_listens(&port, &noise));
            let hello = Hello {
                versions: &[version],
                ..Hello::to("shop.test", &authority)
            };
            let mut client = hello.begin(proxy.address("web"));
            client.send(get("Connection: Upgrade\r\nUpgrade: websocket"));
            assert_eq!(client.response().status, 101);
            client.send(&noise);
            assert!(client.bytes(noise.len()) == noise);
            client.finish();
            assert!(client.says_goodbye());
        });
    }
}

/// Grants an upgrade, and then sends these bytes while it expects the same ones.
fn speaks_and_listens(port: &TcpListener, noise: &[u8]) {
    let (mut stream, _) = port.accept().expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend_from_slice(&byte);
    }
    let grant = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(grant.as_bytes()).expect("it is read");
    let mut reader = stream.try_clone().expect("a spare descriptor");
    thread::scope(|scope| {
        scope.spawn(|| stream.write_all(noise).expect("it is read"));
        let mut received = Vec::new();
        let read = reader.read_to_end(&mut received);
        read.expect("an orderly end");
        assert!(received == noise);
    });
}

#[test]
fn a_tunnel_that_one_side_ends_is_ended() {
    let endpoint = Endpoint::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbye");
    });
    let secured = Secured::before(&endpoint);
    let mut client = secured.client();
    client.send(get("Connection: Upgrade\r\nUpgrade: websocket"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(3), b"bye");
    assert!(client.says_goodbye());
}

#[test]
fn a_response_until_close_ends_with_a_goodbye() {
    let body = noise(300_000);
    let endpoint = Endpoint::answers_and_closes(ok("X-A: b", &body));
    let secured = Secured::before(&endpoint);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let response = client.response();
        // A session that were only cut would be `Truncated`.
        assert_eq!(response.body.end, End::Closed);
        assert!(response.body.data == body);
    }
}

#[test]
fn a_body_that_was_cut_does_not_look_whole() {
    let cut = noise(40_000);
    let chunk = in_chunks(&cut, 40_000);
    let unfinished = &chunk[..chunk.len() - 5];
    for (name, endpoint, request) in [
        (
            "by its length",
            Endpoint::answers_and_closes(ok("Content-Length: 50000", &cut)),
            get(""),
        ),
        (
            "in chunks",
            Endpoint::answers_and_closes(ok("Transfer-Encoding: chunked", unfinished)),
            get(""),
        ),
        (
            "in chunks, which the client does not know",
            Endpoint::answers_and_closes(ok("Transfer-Encoding: chunked", unfinished)),
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "until close, with a reset",
            Endpoint::resets_after(ok("X-A: b", &cut)),
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_vec(),
        ),
    ] {
        for version in VERSIONS {
            let secured = Secured::before(&endpoint);
            let mut client = secured.speaking(version);
            client.send(&request);
            let head = client.head().expect("a head");
            assert_eq!(head.status(), Ok(200), "{name}");
            client.read_to_end();
            assert!(client.is_cut(), "{name}");
        }
    }
}

#[test]
fn a_client_that_has_said_all_is_answered() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            let answer = peer.wait_for_release();
            peer.send(answer);
        }
    });
    let secured = Secured::before(&endpoint);
    let mut client = secured.client();
    client.send(get("")).finish();
    eventually("the endpoint has the request", || {
        (!endpoint.requests().is_empty()).then_some(())
    });
    endpoint.release(ok("Content-Length: 5", "hello"));
    assert_eq!(client.response().body.text(), "hello");
    assert!(client.says_goodbye());
}

#[test]
fn a_client_that_breaks_off_is_waited_for_no_longer() {
    let endpoint = Endpoint::stalls_after("");
    let secured = Secured::before(&endpoint);
    let mut client = secured.client();
    client.send(get(""));
    eventually("the endpoint has the request", || {
        (!endpoint.requests().is_empty()).then_some(())
    });
    client.abort();
    endpoint.wait_for_end();
}

#[test]
fn keys_may_be_renewed() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    let mut client = secured.speaking(&TLS13);
    for _ in 0..5 {
        client.renew_keys();
        assert_eq!(client.get("/").status, 200);
        client.renew_keys();
        client.send(post("Content-Length: 5", "hello"));
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn half_a_request_is_none_however_the_client_ends() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    for says_so in [true, false] {
        let mut client = secured.client();
        client.send(post("Content-Length: 10", "01234"));
        eventually("half of it is there", || {
            endpoint.raw().last()?.ends_with(b"01234").then_some(())
        });
        if says_so {
            client.finish();
        } else {
            client.cut();
        }
        eventually("the endpoint is told", || {
            let ends = endpoint.ends();
            (ends.len() == endpoint.connections()).then_some(())
        });
    }
    assert_eq!(endpoint.requests().len(), 0);
    for end in endpoint.ends() {
        assert!(
            !matches!(end, Broken::Closed | Broken::Silent(_)),
            "{end:?}"
        );
    }
}

#[test]
fn a_client_that_leaves_between_requests_is_no_fault() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    let mut client = secured.client();
    assert_eq!(client.get("/").status, 200);
    client.finish();
    assert!(client.says_goodbye());
    let mut client = secured.client();
    assert_eq!(client.get("/").status, 200);
    client.cut();
    client.read_to_end();
    eventually("nobody is connected", || {
        (secured.proxy.metric("evenkeel_connections", &[]) == 0).then_some(())
    });
    let lines = secured.proxy.access_lines(2);
    assert!(lines.iter().all(|line| line["end"] == "ok"), "{lines:?}");
}

#[test]
fn endpoints_and_logs_are_told_that_it_was_https() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    for version in VERSIONS {
        let mut client = secured.speaking(version);
        // Nobody here is trusted to say otherwise.
        client.send(get("X-Forwarded-Proto: http"));
        assert_eq!(client.response().status, 200);
    }
    for request in endpoint.requests() {
        assert_eq!(request.head.value("x-forwarded-proto"), Some("https"));
        assert_eq!(request.head.value("x-forwarded-for"), Some("127.0.0.1"));
    }
    let lines = secured.proxy.access_lines(2);
    for (line, version) in lines.iter().zip(["1.3", "1.2"]) {
        assert_eq!(line["url.scheme"], "https", "{line}");
        assert_eq!(line["client.address"], "127.0.0.1", "{line}");
        assert_eq!(line["tls.protocol.version"], version, "{line}");
    }
}

#[test]
fn refusals_reach_the_client_before_the_end() {
    let endpoint = Endpoint::echo();
    let secured = Secured::before(&endpoint);
    let mut client = secured.client();
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert!(client.says_goodbye());
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn many_sessions_at_once_do_not_mix() {
    let endpoint = Endpoint::echo();
    let secured = Secured::with("workers = 2\n", &endpoint);
    let secured = &secured;
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                let mut client = secured.client();
                for turn in 0..20 {
                    let path = format!("/{number}/{turn}");
                    let body = client.get(&path).body.text();
                    assert!(body.starts_with(&format!("GET {path} ")), "{body}");
                }
            });
        }
    });
}

#[test]
fn a_drain_lets_requests_end_and_says_goodbye() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            let rest = peer.wait_for_release();
            peer.send(rest);
        }
    });
    let mut secured = Secured::with("[shutdown]\ngrace = \"0s\"\n", &endpoint);
    let address = secured.proxy.address("web");
    let mut resting = VERSIONS.map(|version| secured.speaking(version));
    let mut client = secured.client();
    client.send(get(""));
    assert_eq!(client.head().and_then(|head| head.status()), Ok(200));
    // Whoever has not finished its handshake holds nothing up.
    let _stalled = Client::connect(address);
    secured.proxy.signal(Signal::TERM);
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    for client in &mut resting {
        assert!(client.says_goodbye());
    }
    endpoint.release("56789");
    assert_eq!(client.bytes(10), b"0123456789");
    assert!(client.says_goodbye());
    assert!(secured.proxy.wait_for_exit().success());
    let log = secured.proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

#[test]
fn what_a_drain_cuts_does_not_look_whole() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\n\r\n01234");
            drop(peer.wait_for_release());
        }
    });
    let lines = "[shutdown]\ngrace = \"0s\"\ndrain = \"300ms\"\n";
    let mut secured = Secured::with(lines, &endpoint);
    let mut client = secured.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().and_then(|head| head.status()), Ok(200));
    assert_eq!(client.bytes(5), b"01234");
    secured.proxy.signal(Signal::TERM);
    assert!(client.is_cut());
    assert!(secured.proxy.wait_for_exit().success());
    endpoint.release("");
}
