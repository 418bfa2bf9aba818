//! Layer 4: bytes that nobody reads, from a listener straight to an upstream.

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Broken;
use crate::support::proxy_header::{Said, UNIQUE_ID, take, v2};

#[test]
fn bytes_pass_unread() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    for bytes in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
    ] {
        client.send(bytes);
        assert_eq!(client.bytes(bytes.len()), bytes);
    }
    let large: Vec<u8> = (0..4_000_000_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    let sender = large.clone();
    let mut writer = client.twin();
    let thread = std::thread::spawn(move || {
        writer.send(sender);
    });
    assert!(
        client.bytes(large.len()) == large,
        "the bytes changed on their way"
    );
    thread.join().expect("all was sent");
}

#[test]
fn an_endpoint_may_speak_first() {
    let endpoint = Endpoint::start(|peer| {
        peer.send("220 ready\r\n");
        peer.send_all_back();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    assert_eq!(client.bytes(11), b"220 ready\r\n");
}

#[test]
fn each_half_ends_by_itself() {
    // The client has finished; the endpoint answers afterwards.
    let endpoint = Endpoint::start(|peer| {
        let all = peer.remainder();
        peer.send(all);
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("hello").finish();
    assert_eq!(client.read_to_end(), b"hello");
    // The endpoint has finished; the client goes on.
    let endpoint = Endpoint::start(|peer| {
        peer.send("bye");
        peer.finish();
        peer.drain();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    assert_eq!(client.read_to_end(), b"bye");
    client.send("still here").finish();
    endpoint.wait_for_end();
    assert_eq!(endpoint.raw().concat(), b"still here");
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let (down, up) = (Endpoint::refuses(), Endpoint::sends_back());
    let proxy = Evenkeel::relaying_to(&[&down, &up], "");
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
    }
}

#[test]
fn without_an_endpoint_the_connection_ends() {
    let down = Endpoint::refuses();
    let proxy = Evenkeel::relaying_to(&[&down], "");
    // It says nothing: a write that meets the reset takes it away from who reads.
    let mut client = proxy.client();
    assert!(
        client.is_reset(),
        "an end would say that there was nothing to tell"
    );
}

#[test]
fn a_reset_reaches_the_other_side() {
    let endpoint = Endpoint::start(|peer| {
        let hello = peer.bytes(5);
        peer.send(hello);
        peer.tell_end();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client.abort();
    assert!(matches!(endpoint.wait_for_end(), Broken::Truncated(_)));

    let endpoint = Endpoint::start(|peer| {
        peer.bytes(5);
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("hello");
    assert!(client.is_reset());
}

#[test]
fn silence_ends_a_connection() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(
        &[&endpoint],
        "[defaults.timeouts]\ntunnel_idle = \"200ms\"\n",
    );
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    assert!(client.is_reset(), "what came is not the whole");
    endpoint.wait_for_end();
}

#[test]
fn bytes_are_counted() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client.finish();
    assert!(client.is_closed());
    eventually("the bytes are counted", || {
        let metrics = proxy.admin("/metrics").body.text();
        let counted =
            |line: &&str| line.starts_with("evenkeel_l4_bytes_total{") && line.ends_with(" 5");
        (metrics.lines().filter(counted).count() == 2).then_some(())
    });
}

#[test]
fn a_session_has_an_id_that_its_endpoint_and_the_log_have() {
    let endpoint = Endpoint::start(|peer| {
        if take(peer).is_some() {
            peer.send_all_back();
        }
    });
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         proxy_protocol = \"accepted\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         timeouts = {{ proxy_header = \"100ms\" }}\n\
         [upstream.app]\nproxy_protocol = \"v2\"\nendpoints = [\"{address}\"]\n"
    ));
    let told = |nth: usize| {
        let said = Said::parse(&endpoint.raw()[nth]);
        let id = said.tlv(UNIQUE_ID).expect("always told");
        String::from_utf8(id.to_vec()).expect("it is text")
    };
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
        client.finish();
        assert!(client.is_closed());
    }
    let lines = proxy.access_lines(2);
    let ids = [told(0), told(1)];
    assert_ne!(ids[0], ids[1]);
    for (line, id) in lines.iter().zip(&ids) {
        assert_eq!(line["request_id"], **id);
        assert_eq!(id.len(), 32, "{id}");
    }
    // Of a connection that has one, it stays.
    let mut client = proxy.client();
    let header = v2(
        "192.0.2.7:56324",
        "198.51.100.1:443",
        &[(UNIQUE_ID, b"front-1")],
    );
    client.send([&header[..], b"hello"].concat());
    assert_eq!(client.bytes(5), b"hello");
    client.finish();
    assert!(client.is_closed());
    assert_eq!(proxy.access_lines(3)[2]["request_id"], "front-1");
    assert_eq!(told(2), "front-1");
}
