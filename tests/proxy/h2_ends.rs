//! How connections of HTTP/2 end: told beforehand, with their streams finished, or for a reason.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{Frame, PREFACE, code, flag, kind, setting};
use crate::support::h2::{H2, StreamEnd};

/// The highest number of a stream: it says that nothing is refused yet.
const ALL: u32 = 0x7fff_ffff;

/// Begins its answer, and ends it when it is told to.
fn gradual() -> Endpoint {
    Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            let rest = peer.wait_for_release();
            peer.send(rest);
        }
    })
}

fn config(endpoint: &Endpoint, lines: &str) -> String {
    let address = endpoint.address();
    format!(
        "[shutdown]\ngrace = \"0s\"\n\
         [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n{lines}"
    )
}

fn client(proxy: &Evenkeel) -> H2<TcpStream> {
    H2::connect(proxy.address("web"))
}

/// A client with half an answer, and its stream.
fn half_answered(proxy: &Evenkeel) -> (H2<TcpStream>, u32) {
    let mut client = client(proxy);
    let id = client.ask("/slow");
    let head = client.expect(kind::HEADERS, id);
    client.expect(kind::DATA, id);
    assert_eq!(head.flags & flag::END_STREAM, 0);
    (client, id)
}

#[test]
fn in_a_drain_streams_are_finished() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let (mut client, id) = half_answered(&proxy);
    proxy.signal(Signal::TERM);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, ALL);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, id);
    // What comes now has surely not been looked at, and the client may ask somebody else.
    let late = client.ask("/");
    endpoint.release("56789");
    let rest = client.expect(kind::DATA, id);
    assert_eq!(rest.payload, b"56789");
    assert_ne!(rest.flags & flag::END_STREAM, 0);
    assert_eq!(client.message(late).end, StreamEnd::Closed);
    assert!(client.is_closed());
    assert!(proxy.wait_for_exit().success());
    assert!(proxy.log().contains("nothing was cut"));
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn in_a_drain_connections_at_rest_end() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let mut used = client(&proxy);
    assert_eq!(used.get("/").status, 200);
    proxy.signal(Signal::TERM);
    used.expect_goaway(code::NO_ERROR);
    assert!(used.is_closed());
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn during_grace_it_is_said_at_once() {
    let endpoint = gradual();
    let text = config(&endpoint, "").replace("\"0s\"", "\"4s\"");
    let mut proxy = Evenkeel::start(&text);
    let mut open = client(&proxy);
    assert_eq!(open.get("/").status, 200);
    proxy.signal(Signal::TERM);
    assert_eq!(open.expect_goaway(code::NO_ERROR).0, ALL);
    let mut new = client(&proxy);
    assert_eq!(new.get("/").status, 200, "accepting goes on");
    assert_eq!(new.expect_goaway(code::NO_ERROR).0, ALL);
    assert!(open.is_closed());
    assert!(new.is_closed());
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn what_takes_too_long_in_a_drain_is_cut() {
    let endpoint = gradual();
    let lines = config(&endpoint, "").replace("[shutdown]", "[shutdown]\ndrain = \"1500ms\"");
    let mut proxy = Evenkeel::start(&lines);
    let (mut client, _) = half_answered(&proxy);
    proxy.signal(Signal::TERM);
    assert!(client.is_closed());
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("\"cut\":1,\"cut_requests\":1"), "{log}");
}

#[test]
fn a_reload_cuts_nothing_and_is_followed_by_the_next_stream() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let (mut client, id) = half_answered(&proxy);
    let route = "[route.new]\npath = \"/new\"\nrespond = { body = \"new\" }\n";
    proxy.reload(&config(&endpoint, route));
    assert_eq!(client.get("/new").text(), "new");
    endpoint.release("56789");
    assert_eq!(client.expect(kind::DATA, id).payload, b"56789");
    client.sync();
}

#[test]
fn a_listener_that_goes_lets_its_streams_finish() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let (mut client, id) = half_answered(&proxy);
    let other = "[listener.other]\nbind = \"@other\"\nto = [\"127.0.0.1:1\"]\n";
    proxy.reload(other);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, ALL);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, id);
    endpoint.release("56789");
    assert_eq!(client.expect(kind::DATA, id).payload, b"56789");
    assert!(client.is_closed());
}

#[test]
fn connections_are_counted_while_they_last() {
    let endpoint = gradual();
    let both = config(&endpoint, "").replace("[\"h2c\"]", "[\"http/1.1\", \"h2c\"]");
    let proxy = Evenkeel::start(&both);
    let connections = || proxy.metric("evenkeel_http2_connections", &["listener=\"web\""]);
    let (client, _) = half_answered(&proxy);
    assert_eq!(connections(), 1);
    let spoken = |word: &str| {
        let protocol = format!("protocol=\"{word}\"");
        proxy.metric("evenkeel_connections", &["listener=\"web\"", &protocol])
    };
    let mut other = proxy.client();
    other.send("GET / HTTP/1.1\r\n");
    eventually("each is known", || {
        ((spoken("http1"), spoken("http2")) == (1, 1)).then_some(())
    });
    drop(client);
    eventually("it has ended", || (connections() == 0).then_some(()));
    eventually("it alone", || {
        ((spoken("http1"), spoken("http2")) == (1, 0)).then_some(())
    });
    drop(other);
    let all = || proxy.metric("evenkeel_connections", &["listener=\"web\""]);
    eventually("all of it has", || (all() == 0).then_some(()));
}

#[test]
fn a_connection_without_streams_is_not_kept_for_ever() {
    let endpoint = gradual();
    let lines = "timeouts = { client_idle = \"300ms\" }\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let mut client = client(&proxy);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, 1);
    assert!(client.is_closed());
    // One with a stream is.
    let (mut client, id) = half_answered(&proxy);
    crate::support::clock::pause(std::time::Duration::from_millis(600));
    endpoint.release("56789");
    assert_eq!(client.expect(kind::DATA, id).payload, b"56789");
}

#[test]
fn a_client_is_asked_whether_it_is_still_there() {
    let endpoint = gradual();
    let lines = "http2 = { keepalive_interval = \"300ms\", keepalive_timeout = \"300ms\" }\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let (mut gone, gone_id) = half_answered(&proxy);
    gone.is_polite = false;
    gone.expect_goaway(code::NO_ERROR);
    assert_eq!(gone.message(gone_id).end, StreamEnd::Closed);
    assert!(gone.is_closed());
    let (mut there, _) = half_answered(&proxy);
    for _ in 0..3 {
        there.expect(kind::PING, 0);
    }
    there.sync();
}

#[test]
fn an_old_connection_makes_way_for_a_new_one() {
    let endpoint = gradual();
    let lines = "http2 = { max_age = \"1s\" }\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let (mut client, id) = half_answered(&proxy);
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, ALL);
    let next = client.ask("/");
    assert_eq!(client.message(next).status, 200, "it was told beforehand");
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, next);
    endpoint.release("56789");
    assert_eq!(client.expect(kind::DATA, id).payload, b"56789");
    assert!(client.is_closed());
}

#[test]
fn a_client_has_what_it_was_told() {
    let endpoint = gradual();
    let lines = "http2 = { max_streams = 2, stream_window = \"32KiB\" }\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let mut client = client(&proxy);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.max_streams(), Some(2));
    assert_eq!(
        client.setting(setting::INITIAL_WINDOW_SIZE),
        Some(32 * 1024)
    );
    let (one, two) = (client.ask("/slow"), client.ask("/slow"));
    client.expect(kind::DATA, one);
    client.expect(kind::DATA, two);
    let third = client.ask("/");
    client.expect_reset(third, code::REFUSED_STREAM);
    client.send(&Frame::reset(one, code::CANCEL));
    eventually("there is room for another", || {
        (client.get("/").status == 200).then_some(())
    });
}

#[test]
fn heads_have_little_time() {
    let endpoint = gradual();
    let lines = "timeouts = { request_head = \"300ms\" }\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    // Half a preface, a preface alone, half a head, and one whose end does not come.
    let mut client = H2::over(TcpStream::connect(proxy.address("web")).expect("a connection"));
    client.send_bytes(&PREFACE[..10]);
    assert!(client.is_closed());
    let mut client = H2::over(TcpStream::connect(proxy.address("web")).expect("a connection"));
    client.is_polite = false; // an acknowledgement would be its first SETTINGS
    client.send_bytes(PREFACE);
    client.expect_goaway(code::PROTOCOL_ERROR);
    assert!(client.is_closed());
    let head = Frame::headers(1, &request("GET", "/"), true);
    let mut unended = head.clone();
    unended.flags &= !flag::END_HEADERS;
    for bytes in [&head.bytes()[..20], &unended.bytes()] {
        let mut client = self::client(&proxy);
        client.is_polite = false; // what it says about settings would not be a part of the head
        client.send_bytes(bytes);
        client.expect_goaway(code::ENHANCE_YOUR_CALM);
        assert!(client.is_closed());
    }
    let lines = proxy.access_lines(4);
    let is_late = |line: &serde_json::Value| line["http.response.status_code"] == 408;
    assert!(lines.iter().all(is_late), "{lines:?}");
}

#[test]
fn a_client_that_takes_nothing_loses_its_stream_alone() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    );
    let endpoint = Endpoint::answers(answer);
    let lines = "[defaults.timeouts]\nbody_idle = \"300ms\"\n";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let stream = TcpStream::connect(proxy.address("web")).expect("a connection");
    let mut client = H2::client_with(stream, &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let stalled = client.ask("/");
    client.expect(kind::HEADERS, stalled);
    let taken = client.ask("/");
    client.send(&Frame::window_update(taken, 1_000_000));
    assert_eq!(client.message(taken).body.len(), 100_000);
    let end = client.message(stalled).end;
    assert_eq!(end, StreamEnd::Reset(code::CANCEL));
    let lines = proxy.access_lines(2);
    let ends: Vec<_> = lines.iter().map(|line| &line["end"]).collect();
    assert!(ends.iter().any(|end| *end == "timeout"), "{lines:?}");
    client.sync();
}

/// What was said of the request passes on; what was said of the connection to the endpoint does
/// not.
#[test]
fn a_reset_by_an_endpoint_reaches_the_client_with_its_reason() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            let code = request
                .field(":path")
                .and_then(|path| path[1..].parse().ok());
            peer.begin_answer(request.id, 200, &[], false);
            peer.send(&Frame::data(request.id, "half", false));
            peer.send(&Frame::reset(request.id, code.expect("a code")));
        }
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = H2::connect(proxy.address("web"));
    for (said, heard) in [
        (code::CANCEL, code::CANCEL),
        (code::ENHANCE_YOUR_CALM, code::ENHANCE_YOUR_CALM),
        (code::NO_ERROR, code::INTERNAL_ERROR),
        (code::PROTOCOL_ERROR, code::INTERNAL_ERROR),
        (code::FLOW_CONTROL_ERROR, code::INTERNAL_ERROR),
    ] {
        let id = client.ask(&format!("/{said}"));
        client.expect_reset(id, heard);
    }
}

#[test]
fn a_reload_reaches_connections_that_are_open() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let mut client = client(&proxy);
    let long = "a".repeat(2000);
    let long = request_with("GET", "/", &[("x-long", long.as_str())]);
    let id = client.open(&long, true);
    assert_eq!(client.message(id).status, 200);
    // Limits of heads hold at once.
    proxy.reload(&config(&endpoint, "max_head_size = \"1KiB\"\n"));
    let id = client.open(&long, true);
    assert_eq!(client.message(id).status, 431);
    // So does an age, which counts from the beginning.
    proxy.reload(&config(&endpoint, "http2 = { max_age = \"1s\" }\n"));
    assert_eq!(client.expect_goaway(code::NO_ERROR).0, ALL);
}

#[test]
fn what_a_client_was_told_stands_until_it_comes_anew() {
    let endpoint = gradual();
    let mut proxy = Evenkeel::start(&config(&endpoint, ""));
    let (mut client, id) = half_answered(&proxy);
    proxy.reload(&config(&endpoint, "http2 = { max_streams = 7 }\n"));
    let mut anew = H2::connect(proxy.address("web"));
    assert_eq!(anew.get("/").status, 200);
    assert_eq!(anew.max_streams(), Some(7));
    let many: Vec<u32> = (0..20).map(|_| client.ask("/")).collect();
    for next in many {
        assert_eq!(client.message(next).status, 200);
    }
    endpoint.release("56789");
    assert_eq!(client.expect(kind::DATA, id).payload, b"56789");
}
