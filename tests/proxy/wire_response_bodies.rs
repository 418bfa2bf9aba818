//! Where the body of a response ends, and how a client sees that it did not (RFC 9112 §6 to §8).
//!
//! A client must be able to see whether a response is whole. So a body that breaks is cut visibly,
//! and bytes behind a response never become the next one.

use crate::cases::{Case, Faults, Relayed, get, line, ok, relay};
use crate::support::clock::{SILENCE, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::End;

/// The response is cut so that its recipient sees it, or becomes a 502 where nothing of it had
/// been relayed.
fn assert_cut(cases: &[Case<'_>]) {
    let mut faults = Faults::default();
    for (name, bytes) in cases {
        let outcome = relay(&Endpoint::answers_and_closes(bytes)).and_then(|got| match got {
            Relayed::Cut | Relayed::Whole(502, _) => Ok(()),
            Relayed::Whole(status, text) => Err(format!("whole: {status}, {text:?}")),
        });
        faults.check(name, bytes, outcome);
    }
    faults.report();
}

#[test]
fn a_body_that_breaks_is_cut() {
    let chunks = |body: &str| ok("Transfer-Encoding: chunked", body);
    assert_cut(&[
        ("a length, short", ok("Content-Length: 10", "hello")),
        ("a length, nothing", ok("Content-Length: 10", "")),
        ("chunks without the last", chunks("5\r\nhello\r\n")),
        ("chunks, cut within one", chunks("a\r\nhello")),
        ("chunks, cut within a size", chunks("5\r\nhello\r\n1")),
        (
            "chunks, cut before the trailers end",
            chunks("5\r\nhello\r\n0\r\n"),
        ),
        (
            "a size that is none",
            chunks("5\r\nhello\r\nxyz\r\n\r\n0\r\n\r\n"),
        ),
        ("a size with a sign", chunks("+5\r\nhello\r\n0\r\n\r\n")),
        ("a size in C's way", chunks("0x5\r\nhello\r\n0\r\n\r\n")),
        (
            "a size beyond 2^64",
            chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "a lone line feed behind a size",
            chunks("5\nhello\r\n0\r\n\r\n"),
        ),
        (
            "data longer than its size",
            chunks("5\r\nhello!\r\n0\r\n\r\n"),
        ),
        (
            "an endless extension",
            chunks(&format!(
                "5;{}\r\nhello\r\n0\r\n\r\n",
                "a".repeat(128 * 1024)
            )),
        ),
        (
            "a bad trailer",
            chunks("5\r\nhello\r\n0\r\nX-A : b\r\n\r\n"),
        ),
        (
            "a head that does not end",
            b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
        ),
        (
            "only an interim response",
            b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(),
        ),
    ]);
}

#[test]
fn a_reset_is_no_end() {
    for (name, bytes) in [
        ("nothing", Vec::new()),
        ("a part of the head", b"HTTP/1.1 200 OK\r\n".to_vec()),
        ("a part of a length", ok("Content-Length: 10", "hello")),
        (
            "a part of the chunks",
            ok("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ),
        (
            "a body that a close would have ended",
            ok("X-A: b", "hello"),
        ),
    ] {
        let got = relay(&Endpoint::resets_after(&bytes));
        let is_cut = matches!(got, Ok(Relayed::Cut | Relayed::Whole(502, _)));
        assert!(is_cut, "{name}: {got:?}");
    }
}

#[test]
fn bytes_behind_a_response_are_nobody_s() {
    let behind = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (name, method, first) in [
        (
            "a length",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "chunks",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "nothing",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "HEAD",
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        ),
        (
            "HEAD with its body",
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "HEAD with chunks",
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "204 with a body",
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "304",
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        ),
    ] {
        let endpoint = Endpoint::answers(format!("{first}{behind}"));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        for at in 1..=3 {
            client.send(format!("{method} /{at} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.response_to(method);
            assert!(
                !response.body.text().contains("evil"),
                "{name}: {response:?}"
            );
            assert_eq!(
                endpoint.connections(),
                at,
                "{name}: the connection was used again"
            );
        }
    }
}

#[test]
fn an_unasked_response_is_nobody_s() {
    // The endpoint speaks first, before any request and again behind each answer.
    let endpoint = Endpoint::start(|peer| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send(get(""));
        // Nothing tells an answer from what was sent before the question arrived, but no
        // connection may be used twice.
        drop(client.try_response_to("GET"));
        pause(SILENCE);
    }
    let requests = endpoint.requests();
    for connection in 0..endpoint.connections() {
        let on_it = requests
            .iter()
            .filter(|request| request.connection == connection);
        assert!(on_it.count() <= 1, "{requests:?}");
    }
}

#[test]
fn head_has_no_body_whatever_its_fields_say() {
    for lines in ["Content-Length: 5", "Transfer-Encoding: chunked", "X-A: b"] {
        let endpoint = Endpoint::answers(ok(lines, ""));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(line("HEAD / HTTP/1.1"));
            let response = client.response_to("HEAD");
            assert_eq!(response.status, 200, "{lines}");
            if lines.starts_with("Content-Length") {
                assert_eq!(response.head.value("content-length"), Some("5"));
            }
        }
        assert!(client.is_quiet(), "{lines}");
    }
}

#[test]
fn statuses_without_a_body_have_none() {
    for (status, lines) in [
        (204, "X-A: b"),
        (204, "Content-Length: 0"),
        (304, "X-A: b"),
        (304, "Content-Length: 5"),
        (304, "Transfer-Encoding: chunked"),
    ] {
        let head = format!("HTTP/1.1 {status} X\r\n{lines}\r\n\r\n");
        let endpoint = Endpoint::answers(head);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send(get(""));
            let response = client.response();
            assert_eq!(response.status, status);
            // RFC 9110 §8.6, RFC 9112 §6.1: neither belongs to a 204.
            if status == 204 {
                assert_eq!(
                    response.head.values("transfer-encoding"),
                    Vec::<&str>::new()
                );
                assert_eq!(response.head.values("content-length"), Vec::<&str>::new());
            }
        }
        assert!(client.is_quiet(), "{status} {lines}");
    }
}

#[test]
fn a_body_to_the_end_is_framed_for_a_connection_that_stays() {
    let endpoint = Endpoint::answers_and_closes(ok("X-A: b", "hello"));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(get(""));
        let response = client.response();
        assert_eq!(response.body.text(), "hello");
        if response.body.end == End::Closed {
            assert_eq!(response.head.list("connection"), ["close"]);
            return;
        }
    }
}

#[test]
fn trailers_of_a_response_are_relayed_and_never_become_fields() {
    let endpoint = Endpoint::answers(ok(
        "Trailer: X-Sum\r\nTransfer-Encoding: chunked",
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nTransfer-Encoding: x\r\n\r\n",
    ));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(get("Connection: TE\r\nTE: trailers"));
        let response = client.response();
        assert_eq!(response.body.text(), "hello");
        assert_eq!(response.head.value("x-sum"), None);
        assert_eq!(response.head.value("set-cookie"), None);
        assert_eq!(
            response.body.trailers,
            [("x-sum".to_owned(), "1".to_owned())]
        );
    }
}
