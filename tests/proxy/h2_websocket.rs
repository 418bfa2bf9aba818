//! WebSocket over HTTP/2 (RFC 8441): what its endpoint is asked, and what its client is told.

use std::net::TcpStream;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustix::process::Signal;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::{Endpoint, Peer, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{Frame, code, flag, kind, setting};
use crate::support::h2::{H2, Message, StreamEnd};
use crate::support::message::Broken;

/// A listener that takes WebSockets, with these lines behind it.
fn config(to: &str, lines: &str) -> String {
    format!(
        "[shutdown]\ngrace = \"0s\"\ndrain = \"1s\"\n\
         [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nhttp2 = {{ websocket = true }}\n\
         [route.all]\nupstream = \"app\"\n{lines}\n[upstream.app]\n{to}\n"
    )
}

fn before(endpoint: &Endpoint, lines: &str) -> Evenkeel {
    let to = format!("endpoints = [\"{}\"]", endpoint.address());
    Evenkeel::start(&config(&to, lines))
}

fn client(proxy: &Evenkeel) -> H2<TcpStream> {
    H2::connect(proxy.address("web"))
}

/// The head of a client that asks for a WebSocket, and more fields.
fn asking<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = request_with("CONNECT", "/chat", &[("sec-websocket-version", "13")]);
    fields.insert(1, (":protocol", "websocket"));
    fields.extend(more);
    fields
}

/// Grants what was asked, with the answer that RFC 6455 §4.2.2 wants and these lines.
fn grant(peer: &mut Peer, request: &Request, lines: &str) {
    let key = request.head.value("sec-websocket-key").expect("a key");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref());
    peer.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    ));
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = digits[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

/// Grants all that is asked, then does this.
fn granting(then: impl Fn(&mut Peer) + Send + Sync + 'static) -> Endpoint {
    Endpoint::start(move |peer| {
        if let Some(request) = peer.request() {
            grant(peer, &request, "Sec-WebSocket-Protocol: chat\r\n");
            then(peer);
        }
    })
}

/// Opens a WebSocket.
fn open(client: &mut H2<TcpStream>) -> u32 {
    let id = client.open(&asking(&[]), false);
    let head = client.expect(kind::HEADERS, id);
    assert_eq!(head.fields[0], (":status".to_owned(), "200".to_owned()));
    assert_eq!(head.flags & flag::END_STREAM, 0);
    id
}

/// Bytes of a stream, this many.
fn bytes(client: &mut H2<TcpStream>, id: u32, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend_from_slice(&client.expect(kind::DATA, id).payload);
    }
    all
}

fn refused(client: &mut H2<TcpStream>, fields: &[(&str, &str)]) -> Message {
    let id = client.open(fields, false);
    client.message(id)
}

#[test]
fn it_is_announced_where_it_is_taken() {
    let endpoint = Endpoint::echo();
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    client.sync();
    assert_eq!(client.setting(setting::ENABLE_CONNECT_PROTOCOL), Some(1));

    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n"
    ));
    let mut client = H2::connect(proxy.address("web"));
    client.sync();
    assert_eq!(client.setting(setting::ENABLE_CONNECT_PROTOCOL), None);
    let id = client.open(&asking(&[]), false);
    client.expect_reset(id, code::PROTOCOL_ERROR);
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn an_endpoint_is_asked_as_by_a_client_of_http_1_1() {
    let endpoint = granting(Peer::send_all_back);
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let more = [
        ("origin", "http://a"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat, other"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let id = client.open(&asking(&more), false);
    let head = client.expect(kind::HEADERS, id);
    assert_eq!(head.flags & flag::END_STREAM, 0);
    let names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(head.fields[0], (":status".to_owned(), "200".to_owned()));
    assert!(
        head.fields
            .contains(&("sec-websocket-protocol".to_owned(), "chat".to_owned()))
    );
    for name in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "content-length",
    ] {
        assert!(!names.contains(&name), "{name}");
    }

    let request = endpoint.request();
    assert_eq!((request.method(), request.target()), ("GET", "/chat"));
    assert_eq!(request.head.values("host"), ["a"]);
    assert_eq!(request.head.list("connection"), ["upgrade"]);
    assert_eq!(request.head.list("upgrade"), ["websocket"]);
    assert_eq!(request.head.values("sec-websocket-version"), ["13"]);
    assert_eq!(request.head.values("origin"), ["http://a"]);
    assert_eq!(
        request.head.values("sec-websocket-protocol"),
        ["chat, other"]
    );
    assert_eq!(
        request.head.values("sec-websocket-extensions"),
        ["permessage-deflate"]
    );
    assert_eq!(request.head.value("sec-websocket-accept"), None);
    let keys = request.head.values("sec-websocket-key");
    assert_eq!((keys.len(), keys[0].len()), (1, 24));
    assert_ne!(keys[0], more[1].1);
    for name in ["content-length", "transfer-encoding"] {
        assert_eq!(request.head.value(name), None, "{name}");
    }

    for text in [
        &b"\x81\x85\0\0\0\0hello"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0",
    ] {
        client.send(&Frame::data(id, text, false));
        assert_eq!(bytes(&mut client, id, text.len()), text);
    }
    client.send(&Frame::data(id, "", true));
    assert_eq!(client.message(id).end, StreamEnd::Whole);
    let lines = proxy.access_lines(1);
    let sizes = ["http.request.body.size", "http.response.body.size"];
    assert_eq!(sizes.map(|size| lines[0][size].as_u64()), [Some(30); 2]);
    assert_eq!(lines[0]["end"], "ok");
    assert_eq!(lines[0]["http.request.method"], "GET");
    assert_eq!(lines[0]["http.response.status_code"], 200);
    assert_eq!(lines[0]["network.protocol.version"], "2");
}

#[test]
fn what_comes_before_the_answer_waits_for_it() {
    let endpoint = Endpoint::start(|peer| {
        let Some(request) = peer.request() else {
            return;
        };
        assert!(peer.socket().set_nonblocking(true).is_ok());
        let nothing = std::io::Read::read(&mut peer.socket(), &mut [0]);
        assert!(peer.socket().set_nonblocking(false).is_ok());
        assert!(nothing.is_err(), "{nothing:?} came before the tunnel");
        grant(peer, &request, "");
        peer.send_all_back();
    });
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(&asking(&[]), false);
    client.send(&Frame::data(id, "early", false));
    assert_eq!(bytes(&mut client, id, 5), b"early");
}

#[test]
fn a_grant_that_is_none_to_this_request_is_a_bad_gateway() {
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "Connection: Upgrade\r\nUpgrade: other\r\n",
        "",
    ] {
        let endpoint = Endpoint::answers(format!("HTTP/1.1 101 X\r\n{lines}\r\n"));
        let proxy = before(&endpoint, "");
        let answer = refused(&mut client(&proxy), &asking(&[]));
        assert_eq!(
            (answer.status, answer.end),
            (502, StreamEnd::Whole),
            "{lines}"
        );
        let status = answer.field("proxy-status").expect("a reason");
        assert!(
            status.contains("error=http_upgrade_failed") || lines.is_empty(),
            "{status}"
        );
        endpoint.wait_for_end();
    }
}

#[test]
fn no_is_said_in_an_ordinary_answer() {
    let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let endpoint = Endpoint::answers(forbidden);
    let lines = "[route.fixed]\npath = \"/fixed\"\nrespond = { status = 401 }\n\
                 [route.hello]\npath = \"/hello\"\nrespond = { body = \"hello\" }\n";
    let proxy = before(&endpoint, lines);
    let mut client = client(&proxy);
    let answer = refused(&mut client, &asking(&[]));
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    assert_eq!(answer.end, StreamEnd::Whole);
    let to = |path| {
        let mut fields = asking(&[]);
        fields
            .iter_mut()
            .find(|(name, _)| *name == ":path")
            .expect("a path")
            .1 = path;
        fields
    };
    assert_eq!(refused(&mut client, &to("/fixed")).status, 401);
    // A client takes any 2xx for a WebSocket that is open.
    assert_eq!(refused(&mut client, &to("/hello")).status, 502);
    let mut unknown = asking(&[]);
    unknown[1].1 = "connect-udp";
    assert_eq!(refused(&mut client, &unknown).status, 501);
    assert_eq!(endpoint.requests().len(), 1);
    assert_eq!(client.get("/hello").text(), "hello");

    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let answer = refused(&mut self::client(&proxy), &asking(&[]));
    assert_eq!((answer.status, answer.end), (502, StreamEnd::Whole));
}

#[test]
fn an_endpoint_of_http_2_alone_is_a_bad_gateway_with_its_reason() {
    let endpoint = H2Endpoint::says("hello");
    let to = format!(
        "endpoints = [\"{}\"]\nprotocol = \"h2c\"",
        endpoint.address()
    );
    let proxy = Evenkeel::start(&config(&to, ""));
    assert_eq!(refused(&mut client(&proxy), &asking(&[])).status, 502);
}

#[test]
fn either_half_may_end_before_the_other() {
    let endpoint = granting(|peer| {
        let all = peer.remainder();
        peer.send(all);
    });
    let proxy = before(&endpoint, "");
    let mut one = client(&proxy);
    let id = open(&mut one);
    one.send(&Frame::data(id, "hello", true));
    let answer = one.message(id);
    assert_eq!(
        (answer.text().as_str(), answer.end),
        ("hello", StreamEnd::Whole)
    );

    let endpoint = granting(|peer| {
        peer.send("bye");
        peer.finish();
        peer.drain();
    });
    let proxy = before(&endpoint, "");
    let mut other = client(&proxy);
    let id = open(&mut other);
    let answer = other.message(id);
    assert_eq!(
        (answer.text().as_str(), answer.end),
        ("bye", StreamEnd::Whole)
    );
    other.send(&Frame::data(id, "late", true));
    assert_eq!(
        endpoint.wait_for_end(),
        Broken::Truncated("late".to_owned())
    );
    other.sync();
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let endpoint = granting(Peer::drain);
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = open(&mut client);
    client.send(&Frame::reset(id, code::CANCEL));
    endpoint.wait_for_end();

    let endpoint = granting(|peer| {
        peer.bytes(2);
        peer.reset();
    });
    let proxy = before(&endpoint, "");
    let mut client = self::client(&proxy);
    let id = open(&mut client);
    client.send(&Frame::data(id, "go", false));
    client.expect_reset(id, code::CANCEL);
    client.sync();
}

#[test]
fn fields_have_no_place_in_a_tunnel() {
    let endpoint = granting(Peer::drain);
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = open(&mut client);
    client.send(&Frame::headers(id, &[("a", "b")], true));
    client.expect_reset(id, code::PROTOCOL_ERROR);
    endpoint.wait_for_end();
}

#[test]
fn silence_ends_a_tunnel() {
    let endpoint = granting(Peer::drain);
    let proxy = before(&endpoint, "timeouts = { tunnel_idle = \"300ms\" }");
    let mut client = client(&proxy);
    let id = open(&mut client);
    client.expect_reset(id, code::CANCEL);
    endpoint.wait_for_end();
    client.sync();
}

#[test]
fn a_side_that_does_not_read_holds_the_other_back() {
    // The client gives no window back: its endpoint fills what there is, and then waits.
    let endpoint = granting(|peer| while peer.try_send(b"x".repeat(64 * 1024)) {});
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = open(&mut client);
    client.is_polite = false;
    let first = bytes(&mut client, id, 65_535);
    assert_eq!(first.len(), 65_535);
    client.sync();
    // No byte more than the window, and all others still have theirs.
    client.send(&Frame::window_update(0, 10));
    client.send(&Frame::window_update(id, 10));
    assert_eq!(bytes(&mut client, id, 10).len(), 10);
    client.sync();
    assert!(client.take_kept(kind::DATA, id).is_none());
    client.send(&Frame::reset(id, code::CANCEL));

    // The endpoint does not read: what its client has sent is given no window back for.
    let endpoint = granting(|peer| {
        peer.wait_for_release();
        peer.drain();
    });
    let proxy = before(&endpoint, "");
    let mut client = self::client(&proxy);
    let id = open(&mut client);
    let (mut window, mut sent) = (64 * 1024, 0);
    while window >= 16 * 1024 {
        client.send(&Frame::data(id, [b'x'; 16 * 1024], false));
        (window, sent) = (window - 16 * 1024, sent + 16 * 1024);
        client.sync();
        pause(Duration::from_millis(20));
        client.sync();
        while let Some(more) = client.take_kept(kind::WINDOW_UPDATE, id) {
            window += more.number_at(0) as usize;
        }
        assert!(sent < 64 * 1024 * 1024, "nobody holds it back");
    }
    endpoint.release("");
    client.send(&Frame::data(id, "", true));
    eventually("all of it arrives", || {
        let there = endpoint.raw().iter().map(Vec::len).sum::<usize>();
        (there > sent).then_some(())
    });
}

#[test]
fn many_tunnels_share_a_connection_with_requests() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/chat" {
                grant(peer, &request, "");
                return peer.send_all_back();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let ids: Vec<u32> = (0..50).map(|_| open(&mut client)).collect();
    for round in 0..3 {
        for id in &ids {
            client.send(&Frame::data(*id, format!("{id} {round}"), false));
        }
        for id in ids.iter().rev() {
            let text = format!("{id} {round}");
            assert_eq!(bytes(&mut client, *id, text.len()), text.as_bytes());
        }
        assert_eq!(client.get("/").text(), "hello");
    }
    for id in &ids {
        client.send(&Frame::data(*id, "", true));
        assert_eq!(client.message(*id).end, StreamEnd::Whole);
    }
    assert_eq!(endpoint.connections(), 51);
}

#[test]
fn a_large_message_passes_in_both_directions() {
    let endpoint = granting(Peer::send_all_back);
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = open(&mut client);
    let mut came = Vec::new();
    let message: Vec<u8> = (0..1024 * 1024_u32).map(|n| n.to_le_bytes()[1]).collect();
    for piece in message.chunks(16 * 1024) {
        client.send(&Frame::data(id, piece, false));
        came.extend(bytes(&mut client, id, piece.len()));
    }
    assert!(came == message);
}

#[test]
fn reloads_leave_tunnels_alone_and_a_drain_cuts_them_at_its_end() {
    let endpoint = granting(Peer::send_all_back);
    let mut proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = open(&mut client);
    for round in 0..3 {
        let lines = format!("[route.r{round}]\npath = \"/{round}\"\nrespond = {{ status = 204 }}");
        let to = format!("endpoints = [\"{}\"]", endpoint.address());
        proxy.reload(&config(&to, &lines));
        client.send(&Frame::data(id, "still here", false));
        assert_eq!(bytes(&mut client, id, 10), b"still here");
    }
    proxy.signal(Signal::TERM);
    client.expect_goaway(code::NO_ERROR);
    client.send(&Frame::data(id, "and now", false));
    assert_eq!(bytes(&mut client, id, 7), b"and now");
    assert!(client.is_closed());
    endpoint.wait_for_end();
    proxy.wait_for_exit();
}

/// By default a route leaves places of its listener to others, and a connection has one for all its
/// tunnels.
#[test]
fn tunnels_of_one_connection_have_one_place_of_their_route() {
    let endpoint = granting(Peer::send_all_back);
    let to = format!("endpoints = [\"{}\"]", endpoint.address());
    let text = config(&to, "[route.more]\npath = \"/more\"\nupstream = \"app\"");
    let text = text.replace("@web\"", "@web\"\nmax_connections = 20");
    let proxy = Evenkeel::start(&text);
    let mut clients = [(); 15].map(|()| client(&proxy));
    let first = [(); 4].map(|()| open(&mut clients[0]));
    let others: Vec<u32> = clients[1..].iter_mut().map(open).collect();
    let mut more = client(&proxy);
    assert_eq!(refused(&mut more, &asking(&[])).status, 503);
    more.expect_goaway(code::NO_ERROR);
    assert!(more.is_closed());
    // The place comes back with the last of them.
    for id in &first[1..] {
        clients[0].send(&Frame::reset(*id, code::CANCEL));
    }
    clients[0].sync();
    assert_eq!(refused(&mut client(&proxy), &asking(&[])).status, 503);
    clients[0].send(&Frame::reset(first[0], code::CANCEL));
    eventually("there is a place", || {
        let mut next = client(&proxy);
        let id = next.open(&asking(&[]), false);
        let head = next.frame_that(|frame| (frame.kind, frame.stream) == (kind::HEADERS, id));
        let head = head.ok()?;
        (head.fields[0].1 == "200").then_some(())
    });
    clients[1].send(&Frame::data(others[0], "still", false));
    assert_eq!(bytes(&mut clients[1], others[0], 5), b"still");
}
