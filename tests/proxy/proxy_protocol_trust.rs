//! What a PROXY header lends to the client that it is about: no trust that is the proxy's own, the
//! TLS that ended in front, an id, and a trace of the way in the log.

use serde_json::Value as Json;

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::proxy_header::{AUTHORITY, SSL, UNIQUE_ID, block, v1, v2};

const SOURCE: &str = "192.0.2.7:56324";
const DESTINATION: &str = "198.51.100.1:443";

/// A listener that trusts the loopback network and clients of Unix sockets, before an endpoint.
fn start(endpoint: &Endpoint, lines: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nproxy_protocol = \"required\"\n\
         trusted_proxies = [\"127.0.0.0/8\", \"unix\"]\n{lines}\n\
         [route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ))
}

/// Asks once on a connection that begins with this header, and returns the status.
fn ask(proxy: &Evenkeel, header: &[u8], fields: &str) -> u16 {
    let mut client = proxy.client();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    client.send([header, request.as_bytes()].concat());
    client.response().status
}

/// A field of the last request that an endpoint got.
fn field(endpoint: &Endpoint, name: &str) -> Option<String> {
    let requests = endpoint.requests();
    let head = &requests.last().expect("a request").head;
    head.value(name).map(str::to_owned)
}

const FORGED: &str = "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n\
                      X-Request-Id: forged\r\nX-Client-Cert-Subject: CN=admin\r\n";

#[test]
fn nobody_has_the_trust_of_a_proxy_that_does_not_know_him() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "forwarded = true");
    let nobody = [&[0; 8][..], &[0xdc, 4, 1, 0xbb]].concat();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 10.1.2.3 x\r\n".to_vec(),
        block([0x21, 0x00], &[]),
        v1("0.0.0.0:0", "0.0.0.0:0"),
        v1("0.0.0.0:7", DESTINATION),
        v1("[::]:7", "[2001:db8::1]:443"),
        v1("[::ffff:0.0.0.0]:7", "[2001:db8::1]:443"),
        block([0x21, 0x11], &nobody),
        v2("[::]:0", "[2001:db8::1]:443", &[]),
    ] {
        let name = header.escape_ascii().to_string();
        let fields = format!("{FORGED}Forwarded: for=10.1.2.3\r\n");
        assert_eq!(ask(&proxy, &header, &fields), 200, "{name}");
        let field = |one| field(&endpoint, one);
        assert_eq!(
            field("x-forwarded-for").as_deref(),
            Some("127.0.0.1"),
            "{name}"
        );
        assert_eq!(
            field("x-forwarded-proto").as_deref(),
            Some("http"),
            "{name}"
        );
        assert_ne!(field("x-request-id").as_deref(), Some("forged"), "{name}");
        assert_eq!(field("x-client-cert-subject"), None, "{name}");
        let forwarded = field("forwarded").expect("it is sent");
        assert!(!forwarded.contains("10.1.2.3"), "{name}: {forwarded}");
    }
    let lines = proxy.access_lines(9);
    let is_the_proxy = |line: &Json| line["client.address"] == "127.0.0.1";
    assert!(lines.iter().all(is_the_proxy), "{lines:?}");
}

#[test]
fn a_proxy_that_comes_for_itself_keeps_its_trust() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    assert_eq!(ask(&proxy, &block([0x20, 0x00], &[]), FORGED), 200);
    let field = |one| field(&endpoint, one);
    assert_eq!(
        field("x-forwarded-for").as_deref(),
        Some("10.1.2.3, 127.0.0.1")
    );
    assert_eq!(field("x-client-cert-subject").as_deref(), Some("CN=admin"));
    // Whoever came to it by a Unix socket came by none of ours, although `unix` is trusted here.
    assert_eq!(ask(&proxy, &block([0x21, 0x31], &[0; 216]), FORGED), 200);
    assert_eq!(self::field(&endpoint, "x-forwarded-for"), None);
    assert_eq!(self::field(&endpoint, "x-client-cert-subject"), None);
}

#[test]
fn tls_that_ended_in_front_counts() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "redirect_to_https = true");
    for (header, status) in [
        (v2(SOURCE, DESTINATION, &[(SSL, &[1, 0, 0, 0, 1])]), 200),
        (block([0x21, 0x00], &[SSL, 0, 5, 1, 0, 0, 0, 1]), 200),
        (v2(SOURCE, DESTINATION, &[(SSL, &[0, 0, 0, 0, 1])]), 308),
        (v2(SOURCE, DESTINATION, &[]), 308),
        (v1(SOURCE, DESTINATION), 308),
    ] {
        // The client's own word counts for nothing.
        let fields = "X-Forwarded-Proto: https\r\n";
        assert_eq!(
            ask(&proxy, &header, fields),
            status,
            "{}",
            header.escape_ascii()
        );
        if status == 200 {
            let scheme = field(&endpoint, "x-forwarded-proto");
            assert_eq!(scheme.as_deref(), Some("https"));
        }
    }
    let lines = proxy.access_lines(5);
    let schemes: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["url.scheme"].as_str())
        .collect();
    assert_eq!(schemes, ["https", "https", "http", "http", "http"]);
}

#[test]
fn the_first_request_has_the_id_that_its_connection_was_given() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    let header = v2(SOURCE, DESTINATION, &[(UNIQUE_ID, b"front-1")]);
    let mut client = proxy.client();
    client.send([&header, &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]].concat());
    assert_eq!(
        client.response().head.value("x-request-id"),
        Some("front-1")
    );
    assert_eq!(field(&endpoint, "x-request-id").as_deref(), Some("front-1"));
    // No two requests have the same.
    let second = client.get("/");
    let second = second.head.value("x-request-id").expect("always sent");
    assert_eq!(second.len(), 32, "{second}");
    let bad = v2(SOURCE, DESTINATION, &[(UNIQUE_ID, b"a\r\nX-Evil: 1")]);
    assert_eq!(ask(&proxy, &bad, ""), 200);
    assert_eq!(field(&endpoint, "x-evil"), None);
    let line = &proxy.access_lines(3)[0];
    assert_eq!(line["request_id"], "front-1");
}

#[test]
fn the_log_tells_through_whom_a_client_came() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    let ways = [
        (v1(SOURCE, DESTINATION), "192.0.2.7", Some("127.0.0.1")),
        (
            b"PROXY UNKNOWN\r\n".to_vec(),
            "127.0.0.1",
            Some("127.0.0.1"),
        ),
        (block([0x21, 0x31], &[0; 216]), "unix:", Some("127.0.0.1")),
        (block([0x20, 0x00], &[]), "127.0.0.1", None),
    ];
    for (nth, (header, client, through)) in ways.into_iter().enumerate() {
        assert_eq!(ask(&proxy, &header, ""), 200);
        let line = proxy.access_lines(nth + 1).pop().expect("a line");
        assert_eq!(line["client.address"], client, "{line}");
        assert_eq!(line["network.peer.address"].as_str(), through, "{line}");
    }
}

#[test]
fn the_log_of_a_session_tells_what_the_proxy_knew() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nproxy_protocol = \"required\"\nprotocols = [\"tcp\"]\n\
         trusted_proxies = [\"127.0.0.0/8\"]\nto = [\"{}\"]\n",
        endpoint.address()
    ));
    let tlvs: &[(u8, &[u8])] = &[(AUTHORITY, b"db.test"), (UNIQUE_ID, b"front-1")];
    let mut client = proxy.client();
    client.send([&v2(SOURCE, DESTINATION, tlvs), &b"hello"[..]].concat());
    assert_eq!(client.bytes(5), b"hello");
    drop(client);
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(line["client.address"], "192.0.2.7", "{line}");
    assert_eq!(line["network.peer.address"], "127.0.0.1", "{line}");
    assert_eq!(line["server.address"], "db.test", "{line}");
    assert_eq!(line["request_id"], "front-1", "{line}");
}

#[test]
fn who_is_refused_is_an_event() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "timeouts = { proxy_header = \"200ms\" }");
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send("PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n");
        assert!(client.is_closed());
    }
    assert!(proxy.client().is_closed(), "in time");
    let told = || -> Vec<Json> {
        let events = proxy.admin_json("/v1/events");
        let events = events["events"].as_array().expect("a list").clone();
        let is_it = |event: &Json| event["event"] == "proxy_header_refused";
        events.into_iter().filter(is_it).collect()
    };
    let told = eventually("both reasons are told", || {
        Some(told()).filter(|told| told.len() >= 2)
    });
    assert_eq!(told.len(), 2, "once for each: {told:?}");
    assert_eq!(told[0]["result"], "malformed", "{told:?}");
    assert_eq!(told[0]["peer"], "127.0.0.1");
    assert_eq!(told[0]["listener"], "web");
    let why = told[0]["why"].as_str().expect("text");
    assert!(
        why.starts_with("127.0.0.1: the PROXY header is malformed"),
        "{why}"
    );
    assert_eq!(told[1]["result"], "timeout", "{told:?}");
}
