//! CONNECT over HTTP/2 (RFC 9113 §8.5): a stream that is a tunnel, where a route allows it.

use std::net::TcpStream;

use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::frame::{Frame, code, flag, kind};
use crate::support::h2::{H2, StreamEnd};
use crate::support::message::Broken;

const TO: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "open:443")];

fn before(endpoint: &Endpoint) -> (Evenkeel, H2<TcpStream>) {
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n\
         [route.tunnel]\nhosts = [\"open\"]\nupstream = \"u\"\nconnect = true\n\
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
