//! Upgrades: a tunnel only where both sides agreed to one (RFC 9110 §7.8).

use crate::cases::get;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13";

#[test]
fn a_granted_upgrade_is_a_tunnel() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(ASK));
    let response = client.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.head.list("connection"), ["upgrade"]);
    assert_eq!(response.head.list("upgrade"), ["websocket"]);
    let request = endpoint.request();
    assert_eq!(request.head.list("connection"), ["upgrade"]);
    assert_eq!(request.head.list("upgrade"), ["websocket"]);
    assert!(request.head.value("sec-websocket-key").is_some());
    // Bytes that are no HTTP, and some that are.
    for bytes in [&b"\x81\x05hello"[..], b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0"] {
        client.send(bytes);
        assert_eq!(client.bytes(bytes.len()), bytes);
    }
}

#[test]
fn content_of_no_length_is_no_body() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(format!("{ASK}\r\nContent-Length: 0")));
    assert_eq!(client.response().status, 101);
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
}

#[test]
fn bytes_sent_with_the_request_wait_for_the_grant() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send([get(ASK), b"early".to_vec()].concat());
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(5), b"early");
}

#[test]
fn a_tunnel_ends_with_either_side() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(ASK));
    assert_eq!(client.response().status, 101);
    client.abort();
    endpoint.wait_for_end();

    let endpoint = Endpoint::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbye");
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(ASK));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.read_to_end(), b"bye");
}

#[test]
fn half_of_a_tunnel_may_end() {
    let endpoint = Endpoint::start(|peer| {
        peer.request();
        peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        let all = peer.remainder();
        peer.send(all);
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(ASK));
    assert_eq!(client.response().status, 101);
    client.send("hello").finish();
    assert_eq!(client.read_to_end(), b"hello");
}

#[test]
fn an_upgrade_that_is_not_granted_is_http() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ] {
        let endpoint = Endpoint::answers(answer);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(get(ASK));
            assert_ne!(client.response().status, 101);
        }
        assert_eq!(endpoint.requests().len(), 3);
    }
}

#[test]
fn an_upgrade_that_was_not_asked_for_is_a_bad_gateway() {
    for (asked, granted) in [
        ("X-A: b", "websocket"),
        ("Upgrade: websocket", "websocket"),
        (ASK, "h2c"),
        (ASK, "other"),
        (ASK, "websocket, other"),
    ] {
        let endpoint = Endpoint::upgrades_to(granted);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get(asked));
        assert_eq!(client.response().status, 502, "{asked}: {granted}");
        endpoint.wait_for_end();
    }
}

#[test]
fn a_request_with_a_body_asks_for_no_upgrade() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(format!("{ASK}\r\nContent-Length: 5")));
    client.send("hello");
    assert_eq!(client.response().status, 502);
    endpoint.wait_for_end();
}

#[test]
fn a_grant_without_its_protocol_is_a_bad_gateway() {
    for lines in ["X-A: b", "Connection: upgrade", "Upgrade:"] {
        let endpoint = Endpoint::answers(format!("HTTP/1.1 101 X\r\n{lines}\r\n\r\n"));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get(ASK));
        assert_eq!(client.response().status, 502, "{lines}");
    }
}

#[test]
fn http_1_0_is_never_upgraded() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{ASK}\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    assert_eq!(endpoint.request().head.value("upgrade"), None);
}
