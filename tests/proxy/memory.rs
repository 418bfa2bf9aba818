//! However much passes through and however slowly it is taken, the proxy holds little of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::clock::{PATIENCE, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::tls::{Authority, Hello};

/// What the program has in RAM, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: usize,
    /// The most that it ever was: no sample can miss it.
    pub(crate) peak: usize,
}

pub(crate) fn memory(proxy: &Evenkeel) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("it runs");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: Option<usize> = number.and_then(|number| number.parse().ok());
        kibibytes.expect("Linux says so") * 1024
    };
    Memory {
        now: bytes("VmRSS:"),
        peak: bytes("VmHWM:"),
    }
}

/// A server that does this with each of its connections. Plain sockets, since what passes here is
/// too much for the harness, which remembers every byte.
fn server(behaviour: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    // Ends with the process of the tests: it holds nothing that anybody waits for.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behaviour = behaviour.clone();
            thread::spawn(move || behaviour(stream));
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the proxy accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends so many bytes; a peer that goes away shows in what it did not get.
fn send(stream: &mut TcpStream, mut length: usize) {
    let piece = vec![b'a'; 64 * 1024];
    while length > 0 {
        let part = length.min(piece.len());
        if stream.write_all(&piece[..part]).is_err() {
            return;
        }
        length -= part;
    }
}

/// Takes bytes far more slowly than loopback brings them, until there are so many or an end.
fn take_slowly(stream: &mut TcpStream, length: usize) -> usize {
    let mut piece = vec![0; 256 * 1024];
    let mut taken = 0;
    while taken < length {
        let part = piece.len().min(length - taken);
        match stream.read(&mut piece[..part]) {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
        pause(PAUSE);
    }
    taken
}

/// Reads up to the end of a head, and nothing behind it.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("a head is text")
}

/// A server of one large download and one large upload.
fn large() -> SocketAddr {
    server(|mut stream| {
        loop {
            let request = head(&mut stream);
            if request.starts_with("GET /small ") {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
            } else if request.starts_with("GET ") {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()));
                send(&mut stream, LARGE);
            } else if request.starts_with("POST ") {
                let taken = take_slowly(&mut stream, LARGE).to_string();
                let length = taken.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{taken}");
                drop(stream.write_all(answer.as_bytes()));
            } else {
                return;
            }
        }
    })
}

/// A proxy that has served a request, so that what it needs once is there, and its memory then.
fn warm(endpoint: SocketAddr) -> (Evenkeel, Memory) {
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{endpoint}\"]\n"
    ));
    let mut client = proxy.client();
    for _ in 0..10 {
        client.send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    let before = memory(&proxy);
    (proxy, before)
}

pub(crate) fn assert_bounded(proxy: &Evenkeel, before: Memory) {
    let after = memory(proxy);
    let grown = after.peak.saturating_sub(before.now);
    assert!(grown < BOUND, "{grown} bytes more: {before:?}, {after:?}");
}

#[test]
fn a_response_to_a_slow_reader_is_not_kept() {
    let (proxy, before) = warm(large());
    let mut client = connect(proxy.address("web"));
    client
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("the proxy reads");
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    assert_eq!(take_slowly(&mut client, LARGE), LARGE);
    assert_bounded(&proxy, before);
}

#[test]
fn a_request_to_a_slow_endpoint_is_not_kept() {
    let (proxy, before) = warm(large());
    let mut client = connect(proxy.address("web"));
    let request = format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    client.write_all(request.as_bytes()).expect("it reads");
    send(&mut client, LARGE);
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    let mut count = vec![0; LARGE.to_string().len()];
    client.read_exact(&mut count).expect("the count");
    assert_eq!(String::from_utf8_lossy(&count), LARGE.to_string());
    assert_bounded(&proxy, before);
}

#[test]
fn many_slow_readers_at_once_are_not_kept_either() {
    // Each may hold its buffers, and they must be small: 32 readers within the same bound.
    let (proxy, before) = warm(large());
    let address = proxy.address("web");
    let readers: Vec<JoinHandle<usize>> = (0..32)
        .map(|_| {
            thread::spawn(move || {
                let mut client = connect(address);
                client
                    .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                    .expect("the proxy reads");
                head(&mut client);
                take_slowly(&mut client, LARGE / 32)
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().expect("no reader failed"), LARGE / 32);
    }
    assert_bounded(&proxy, before);
}

#[test]
fn a_relay_keeps_nothing_in_either_direction() {
    // The first byte says which way the rest goes.
    let endpoint = server(|mut stream| {
        let mut direction = [0];
        if stream.read_exact(&mut direction).is_err() {
            return;
        }
        if direction == *b"d" {
            send(&mut stream, LARGE);
        } else {
            let taken = take_slowly(&mut stream, LARGE).to_string();
            drop(stream.write_all(taken.as_bytes()));
        }
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nto = [\"{endpoint}\"]\n"
    ));
    let mut warm = connect(proxy.address("web"));
    warm.write_all(b"u").expect("it reads");
    drop(warm);
    let before = memory(&proxy);

    let mut client = connect(proxy.address("web"));
    client.write_all(b"d").expect("it reads");
    assert_eq!(take_slowly(&mut client, LARGE), LARGE);

    let mut client = connect(proxy.address("web"));
    client.write_all(b"u").expect("it reads");
    send(&mut client, LARGE);
    let mut count = vec![0; LARGE.to_string().len()];
    client.read_exact(&mut count).expect("the count");
    assert_eq!(String::from_utf8_lossy(&count), LARGE.to_string());
    assert_bounded(&proxy, before);
}

/// Hundreds of times what the proxy may hold.
const LARGE: usize = 256 * 1024 * 1024;

/// What it may hold more than before.
const BOUND: usize = 8 * 1024 * 1024;

/// After each piece of at most 256 KiB: loopback is tens of times faster.
const PAUSE: Duration = Duration::from_millis(1);

#[test]
fn memory_is_not_taken_by_huge_pages() {
    let proxy = Evenkeel::start("[listener.web]\nbind = \"@web\"\nto = [\"127.0.0.1:9\"]\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("it runs");
    let enabled = status
        .lines()
        .find_map(|line| line.strip_prefix("THP_enabled:"));
    // A kernel without them says nothing.
    assert!(
        enabled.is_none_or(|enabled| enabled.trim() == "0"),
        "{enabled:?}"
    );
}

/// A session that waits keeps its keys, and what rustls needs to go on: not a buffer each.
#[test]
fn a_session_that_waits_holds_little() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let proxy = Evenkeel::start_among(
        &files,
        "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nrespond = { body = \"x\" }\n[listener.web.tls]\n\
         certificates = [{ cert = \"a.pem\", key = \"a.key\" }]\n",
    );
    let caller = Hello::to("shop.test", &authority).caller();
    let begin = |number: usize| -> Vec<_> {
        let sessions = (0..number).map(|_| {
            let mut client = caller.begin(proxy.address("web"));
            assert_eq!(client.get("/").status, 200);
            client
        });
        sessions.collect()
    };
    let warm = begin(20);
    let before = memory(&proxy).now;
    let waiting = begin(WAITING);
    let each = memory(&proxy).now.saturating_sub(before) / WAITING;
    assert!(each < 17 * 1024, "{each} bytes");
    drop((warm, waiting));
}

/// A connection of HTTP/2 that waits keeps its tables and its tasks: no buffer, and no stream.
#[test]
fn an_idle_connection_of_http2_holds_little() {
    let proxy = Evenkeel::start(
        "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.all]\nrespond = { body = \"x\" }\n",
    );
    let each = held_by_each(&proxy, || H2::connect(proxy.address("web")));
    assert!(each < 24 * 1024, "{each} bytes");
}

#[test]
fn an_idle_connection_of_http2_within_tls_holds_little() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let proxy = Evenkeel::start_among(
        &files,
        "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nrespond = { body = \"x\" }\n[listener.web.tls]\n\
         certificates = [{ cert = \"a.pem\", key = \"a.key\" }]\n",
    );
    let hello = Hello::to("shop.test", &authority);
    let each = held_by_each(&proxy, || H2::begin(&hello, proxy.address("web")));
    assert!(each < 24 * 1024, "{each} bytes");
}

/// A TCP session at rest holds its two sockets, its task and its limits: no buffer, and no pipe,
/// also when it has carried much.
#[test]
fn an_idle_tcp_session_holds_little() {
    let endpoint = sends_back();
    let held = || {
        let proxy = Evenkeel::start(&format!(
            "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\n\
             to = [\"{endpoint}\"]\n"
        ));
        held_by_each_session(&proxy, || connect(proxy.address("web")))
    };
    // What the allocator has at hand differs from start to start by some pages.
    let least = (0..3).map(|_| held()).min();
    assert!(
        least.is_some_and(|each| each <= 2 * 1024),
        "{least:?} bytes"
    );
}

/// Where TLS ends it holds besides what rustls needs to go on: its keys, and nothing that was read
/// or is to be written.
#[test]
fn an_idle_tcp_session_within_tls_holds_little() {
    let authority = Authority::new();
    let files = authority.certify(&["db.test"]).files("a");
    let endpoint = sends_back();
    let proxy = Evenkeel::start_among(
        &files,
        &format!(
            "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\n\
             to = [\"{endpoint}\"]\n[listener.web.tls]\n\
             certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n"
        ),
    );
    let caller = Hello::to("db.test", &authority).caller();
    let begin = || caller.begin(proxy.address("web")).into_stream();
    let each = held_by_each_session(&proxy, begin);
    assert!(each <= 16 * 1024, "{each} bytes");
}

/// A server that sends everything back.
fn sends_back() -> SocketAddr {
    server(|mut stream| {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            if stream.write_all(&piece[..count]).is_err() {
                return;
            }
        }
    })
}

/// What a session costs that has carried much, to a server that sends it back.
fn held_by_each_session<S: Read + Write>(proxy: &Evenkeel, begin: impl Fn() -> S) -> usize {
    let begin = |number: usize| -> Vec<S> {
        let sessions = (0..number).map(|_| {
            let mut client = begin();
            let mut bytes = vec![b'a'; 128 * 1024];
            client.write_all(&bytes).expect("it reads");
            client.read_exact(&mut bytes).expect("all comes back");
            client
        });
        sessions.collect()
    };
    // Enough that what is made once is there: pipes, pages of each size.
    let warm = begin(100);
    let before = memory(proxy).now;
    let waiting = begin(WAITING);
    let each = memory(proxy).now.saturating_sub(before) / WAITING;
    tell(each);
    drop((warm, waiting));
    each
}

/// What a connection costs once it has carried a few requests at once.
fn held_by_each<S: Read + Write>(proxy: &Evenkeel, begin: impl Fn() -> H2<S>) -> usize {
    let begin = |number: usize| -> Vec<H2<S>> {
        let clients = (0..number).map(|_| {
            let mut client = begin();
            let ids: Vec<u32> = (0..10).map(|_| client.ask("/")).collect();
            for id in ids {
                assert_eq!(client.message(id).status, 200);
            }
            client.sync();
            client
        });
        clients.collect()
    };
    let warm = begin(20);
    let before = memory(proxy).now;
    let waiting = begin(WAITING);
    let each = memory(proxy).now.saturating_sub(before) / WAITING;
    tell(each);
    drop((warm, waiting));
    each
}

#[expect(clippy::print_stderr, reason = "a figure to be looked at")]
fn tell(each: usize) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {each} bytes each");
}

/// Enough that what the program holds anyhow does not count.
const WAITING: usize = 400;
