//! CONNECT over HTTP/2 (RFC 9113 §8.5): a stream that is a tunnel, where a route allows it.

use std::net::TcpStream;
use std::time::Duration;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::frame::{Frame, code, flag, kind};
use crate::support::h2::{H2, StreamEnd};
use crate::support::message::Broken;

const TO: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "open:443")];

fn before(endpoint: &Endpoint) -> (Evenkeel, H2<TcpStream>) {
    before_with(endpoint, "")
}

/// The same with these lines at the listener.
fn before_with(endpoint: &Endpoint, lines: &str) -> (Evenkeel, H2<TcpStream>) {
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n\
         {lines}[route.tunnel]\nhosts = [\"open\"]\nupstream = \"u\"\nconnect = true\n\
         [upstream.u]\nendpoints = [\"{address}\"]\n"
    ));
    let client = H2::connect(proxy.address("web"));
    (proxy, client)
}

fn open(client: &mut H2<TcpStream>) -> u32 {
    let id = client.open(&TO, false);
    let head = client.expect(kind::HEADERS, id);
    assert_eq!(head.fields[0], (":status".to_owned(), "200".to_owned()));
    assert_eq!(head.flags & flag::END_STREAM, 0);
    id
}

#[test]
fn it_is_a_tunnel_where_a_route_allows_it() {
    let endpoint = Endpoint::sends_back();
    let (proxy, mut client) = before(&endpoint);
    let refused = client.open(&[TO[0], (":authority", "a:443")], false);
    let answer = client.message(refused);
    assert_eq!(answer.status, 405);
    assert_eq!(endpoint.connections(), 0);
    let id = open(&mut client);
    for text in ["GET / HTTP/1.1\r\n\r\n", "\0\u{1}"] {
        client.send(&Frame::data(id, text, false));
        assert_eq!(client.expect(kind::DATA, id).payload, text.as_bytes());
    }
    assert_eq!(endpoint.raw()[0], b"GET / HTTP/1.1\r\n\r\n\0\x01");
    client.send(&Frame::data(id, "", true));
    assert_eq!(client.message(id).end, StreamEnd::Whole);
    let lines = proxy.access_lines(2);
    let sizes = ["http.request.body.size", "http.response.body.size"];
    assert_eq!(sizes.map(|size| lines[1][size].as_u64()), [Some(20); 2]);
    assert_eq!(lines[1]["end"], "ok");
    assert_eq!(lines[1]["http.request.method"], "CONNECT");
    assert_eq!(lines[1]["http.response.status_code"], 200);
}

#[test]
fn halves_end_one_by_one() {
    let endpoint = Endpoint::start(|peer| {
        peer.send("first");
        peer.finish();
        peer.drain();
    });
    let (_proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    let said = client.message(id);
    assert_eq!(
        (said.text().as_str(), said.end),
        ("first", StreamEnd::Whole)
    );
    client.send(&Frame::data(id, "then", true));
    assert_eq!(
        endpoint.wait_for_end(),
        Broken::Truncated("then".to_owned())
    );
}

#[test]
fn a_connection_that_breaks_is_a_connect_error() {
    let endpoint = Endpoint::start(|peer| {
        peer.bytes(2);
        peer.reset();
    });
    let (_proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.send(&Frame::data(id, "go", false));
    client.expect_reset(id, code::CONNECT_ERROR);

    let endpoint = Endpoint::start(Peer::drain);
    let (_proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.send(&Frame::reset(id, code::CANCEL));
    endpoint.wait_for_end();
    client.sync();
}

#[test]
fn fields_behind_it_are_malformed() {
    let endpoint = Endpoint::start(Peer::drain);
    let (_proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.send(&Frame::headers(id, &[("a", "b")], true));
    client.expect_reset(id, code::PROTOCOL_ERROR);
    endpoint.wait_for_end();
}

/// Waits until nothing is held for a tunnel any more.
fn assert_let_go(proxy: &Evenkeel) {
    eventually("nothing is in flight", || {
        let held = proxy.metric("evenkeel_endpoint_in_flight", &["upstream=\"u\""]);
        let open = proxy.metric("evenkeel_endpoint_connections", &["upstream=\"u\""]);
        (held == 0 && open == 0).then_some(())
    });
}

/// Sends until no window comes back any more.
fn fill(client: &mut H2<TcpStream>, id: u32) {
    let (mut window, mut silent) = (65_535, 0);
    while silent < 5 {
        while window >= 16 * 1024 {
            client.send(&Frame::data(id, [b'x'; 16 * 1024], false));
            window -= 16 * 1024;
            silent = 0;
        }
        client.sync();
        while let Some(more) = client.take_kept(kind::WINDOW_UPDATE, id) {
            window += more.number_at(0) as usize;
        }
        pause(Duration::from_millis(20));
        silent += 1;
    }
}

/// How many tunnels have ended like this.
fn ended(proxy: &Evenkeel, result: &str) -> u64 {
    let result = format!("result=\"{result}\"");
    let labels = ["listener=\"web\"", "upstream=\"u\"", &*result];
    proxy.metric("evenkeel_l4_sessions_total", &labels)
}

#[test]
fn its_end_and_its_bytes_are_counted() {
    let endpoint = Endpoint::sends_back();
    let (proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.send(&Frame::data(id, "hello", false));
    assert_eq!(client.expect(kind::DATA, id).payload, b"hello");
    // While it lasts.
    eventually("the bytes are counted", || {
        let bytes =
            |direction| proxy.metric("evenkeel_l4_bytes_total", &["upstream=\"u\"", direction]);
        let (sent, received) = (bytes("direction=\"sent\""), bytes("direction=\"received\""));
        (sent == 5 && received == 5).then_some(())
    });
    assert_eq!(ended(&proxy, "ok"), 0);
    client.send(&Frame::data(id, "", true));
    assert_eq!(client.message(id).end, StreamEnd::Whole);
    eventually("its end is counted", || {
        (ended(&proxy, "ok") == 1).then_some(())
    });
}

#[test]
fn a_reset_is_heard_while_the_endpoint_does_not_read() {
    let endpoint = Endpoint::never_reads();
    let (proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    fill(&mut client, id);
    client.send(&Frame::reset(id, code::CANCEL));
    assert_let_go(&proxy);
    eventually("it is counted", || {
        (ended(&proxy, "client_reset") == 1).then_some(())
    });
    // The end of all of the connection is one of each stream.
    let id = open(&mut client);
    fill(&mut client, id);
    drop(client);
    assert_let_go(&proxy);
}

#[test]
fn a_reset_is_heard_while_neither_side_reads() {
    // What it sends back fills the other direction as well.
    let endpoint = Endpoint::sends_back();
    let (proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.is_polite = false;
    fill(&mut client, id);
    client.send(&Frame::reset(id, code::CANCEL));
    assert_let_go(&proxy);
}

#[test]
fn a_reset_is_heard_after_half_of_it_has_ended() {
    let endpoint = Endpoint::start(|peer| {
        peer.remainder();
        peer.send("half");
        peer.wait_for_end();
    });
    let (proxy, mut client) = before(&endpoint);
    let id = open(&mut client);
    client.send(&Frame::data(id, "question", true));
    assert_eq!(client.expect(kind::DATA, id).payload, b"half");
    client.send(&Frame::reset(id, code::CANCEL));
    assert_let_go(&proxy);
}

#[test]
fn a_stream_that_was_reset_gives_its_place_back_at_once() {
    let endpoint = Endpoint::never_reads();
    let (_proxy, mut client) = before_with(&endpoint, "http2 = { max_streams = 1 }\n");
    let id = open(&mut client);
    fill(&mut client, id);
    client.send(&Frame::reset(id, code::CANCEL));
    client.sync();
    open(&mut client);
}
