//! Request smuggling as it happened to others: the advisories of 2025 and 2026, replayed.
//!
//! Each test sends what the advisory describes, and proves by what the endpoint holds that no byte
//! of one message became another one.

use crate::cases::get;
use crate::support::client::Client;
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::message::find;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\n\r\n";

/// No request for the smuggled target was ever seen as a request, on any connection.
fn assert_not_smuggled(endpoint: &Endpoint) {
    let requests = endpoint.requests();
    let targets: Vec<&str> = requests.iter().map(Request::target).collect();
    assert!(!targets.contains(&"/smuggled"), "{targets:?}");
}

/// Answers until the proxy closes.
fn statuses(client: &mut Client) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Ok(response) = client.try_response_to("GET") {
        statuses.push(response.status);
    }
    statuses
}

/// CVE-2025-4366: an answer of the proxy's own (there from its cache) left the request's body
/// unread, so that it was taken for the next request.
#[test]
fn the_body_behind_an_answer_of_our_own_is_not_a_request() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         [route.fixed]\npath = \"=/fixed\"\nrespond = {{ status = 200, body = \"fixed\" }}\n\
         [route.moved]\npath = \"=/moved\"\nredirect = {{ host = \"b\" }}\n"
    ));
    let length = SMUGGLED.len();
    for target in ["/fixed", "/moved"] {
        for (lines, body) in [
            (format!("Content-Length: {length}"), SMUGGLED.to_owned()),
            (
                "Transfer-Encoding: chunked".to_owned(),
                format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
            ),
        ] {
            // The body comes later than the answer, or with its head.
            for split in [true, false] {
                let mut client = proxy.client();
                let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
                if split {
                    client.send(head).send(&body);
                } else {
                    client.send(format!("{head}{body}"));
                }
                client.send("GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let first = client.response();
                assert!([200, 308].contains(&first.status), "{first:?}");
                let next = statuses(&mut client);
                assert!(next.is_empty() || next == [200], "{next:?}");
                assert_not_smuggled(&endpoint);
            }
        }
    }
}

/// The same for the answers that refuse: no route, no method, an unwanted body.
#[test]
fn the_body_behind_a_refusal_is_not_a_request() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.known]\nhosts = [\"known\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let length = SMUGGLED.len();
    for head in [
        "POST / HTTP/1.1\r\nHost: unknown\r\n",
        "TRACE / HTTP/1.1\r\nHost: known\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: known\r\nMax-Forwards: 0\r\n",
        "POST / HTTP/1.1\r\nHost: unknown\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = proxy.client();
        client.send(format!("{head}Content-Length: {length}\r\n\r\n"));
        client.send(SMUGGLED.replace("Host: a", "Host: known"));
        client.send("GET /next HTTP/1.1\r\nHost: known\r\nConnection: close\r\n\r\n");
        let got = statuses(&mut client);
        assert!((1..=3).contains(&got.len()), "{head}: {got:?}");
        assert_not_smuggled(&endpoint);
    }
}

/// CVE-2026-2833: `Upgrade` made the proxy hand all further bytes through before the endpoint had
/// agreed, so that a request behind it ran unseen.
#[test]
fn bytes_behind_an_upgrade_wait_for_the_endpoint_s_consent() {
    for protocol in ["websocket", "foo", "h2c", "TLS/1.0"] {
        let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        let ask = get(format!("Connection: Upgrade\r\nUpgrade: {protocol}"));
        // Twice what a proxy must treat as two messages.
        client.send([ask, get("X-A: b\r\nConnection: close")].concat());
        assert_eq!(statuses(&mut client), [200, 200], "{protocol}");
        let requests = endpoint.requests();
        assert_eq!(requests.len(), 2);
        // The second went through all that requests go through.
        assert!(requests[1].head.value("via").is_some());
        assert!(requests[1].head.value("x-forwarded-for").is_some());
    }
}

/// The same with a body: its length counts, upgrade or not.
#[test]
fn an_upgrade_with_a_body_has_that_body() {
    let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let length = SMUGGLED.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\nContent-Length: {length}\r\n\r\n\
         {SMUGGLED}GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    let got = statuses(&mut client);
    assert!(got == [200, 200] || got == [400], "{got:?}");
    assert_not_smuggled(&endpoint);
}

/// CVE-2026-2835, first half: an HTTP/1.0 request without a length was read to the end of the
/// connection as its body.
#[test]
fn a_request_never_ends_with_the_connection() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n{SMUGGLED}\
         GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    // What follows was a request of its own, or was never read.
    let got = statuses(&mut client);
    assert!(got == [200] || got == [200, 200, 200], "{got:?}");
    let requests = endpoint.requests();
    assert_eq!(requests[0].body.text(), "");
    assert!(
        requests
            .iter()
            .all(|request| request.head.value("via").is_some())
    );
}

/// CVE-2026-2835, second half: HTTP/1.0 with `Transfer-Encoding`, alone and against a length.
#[test]
fn http_1_0_has_no_transfer_coding() {
    for lines in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
    ] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.0\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n{SMUGGLED}"
        ));
        let got = statuses(&mut client);
        assert!(got == [400] || got == [501], "{lines}: {got:?}");
        assert_eq!(endpoint.connections(), 0, "{lines}");
    }
}

/// CVE-2026-2835, third part: several codings, of which one reader sees the first and another the
/// last, so that a length beside them decides.
#[test]
fn several_codings_are_refused() {
    for lines in [
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n{SMUGGLED}"
        ));
        let got = statuses(&mut client);
        assert!(got == [400] || got == [501], "{lines}: {got:?}");
        assert_eq!(endpoint.connections(), 0, "{lines}");
    }
}

/// CVE-2026-2836 mixed hosts up. Without a cache there is no key, but routing and forwarding can
/// still disagree about which host was meant.
#[test]
fn the_host_that_routes_is_the_host_that_is_forwarded() {
    let (inner, outer) = (Endpoint::echo(), Endpoint::echo());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.inner]\nhosts = [\"inner\"]\nupstream = \"inner\"\n\
         [route.outer]\nhosts = [\"outer\"]\nupstream = \"outer\"\n\
         [upstream.inner]\nendpoints = [\"{}\"]\n[upstream.outer]\nendpoints = [\"{}\"]\n",
        inner.address(),
        outer.address()
    ));
    for bytes in [
        "GET http://outer/ HTTP/1.1\r\nHost: inner\r\n\r\n",
        "GET http://OUTER/ HTTP/1.1\r\nHost: inner\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: outer\r\nX-Forwarded-Host: inner\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: outer:80\r\nForwarded: host=inner\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: outer\r\nX-Host: inner\r\nX-HTTP-Host-Override: inner\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(client.response().status, 200, "{bytes}");
    }
    assert_eq!(inner.connections(), 0);
    for request in outer.requests() {
        let host = request
            .head
            .value("host")
            .unwrap_or_default()
            .to_ascii_lowercase();
        assert!(host.starts_with("outer"), "{host}");
        assert!(
            request
                .head
                .value("x-forwarded-host")
                .is_some_and(|host| !host.contains("inner"))
        );
    }
}

/// What 0.8.0 fixed beside the advisories: more bytes behind a body than its length says.
#[test]
fn bytes_behind_a_body_are_the_next_request_or_nothing() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello@@@");
    client.send(SMUGGLED);
    assert_eq!(statuses(&mut client), [200, 400]);
    let raw = endpoint.raw().concat();
    assert!(find(&raw, b"@@@").is_none());
    assert_not_smuggled(&endpoint);
}
