//! The harness, judged: a test that rests on a lenient parser or a tame bad peer proves nothing.

use std::io::ErrorKind;
use std::net::TcpStream;

use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::message::{Broken, End, Framing, Head, Wire};

#[test]
fn the_parser_of_heads_is_strict() {
    for bytes in [
        "HTTP/1.1 200 OK\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\rz\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
    ] {
        let got = Head::parse(bytes.as_bytes());
        assert!(matches!(got, Err(Broken::Malformed(_))), "{got:?}");
    }
    for bytes in [
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        assert!(
            Head::parse(bytes.as_bytes())
                .and_then(|head| head.status())
                .is_err()
        );
    }
}

#[test]
fn the_parser_of_framing_has_no_doubts() {
    let framing = |lines: &str| {
        Head::parse(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes())
            .and_then(|head| head.response_framing("GET"))
    };
    assert_eq!(framing("Content-Length: 5"), Ok(Framing::Length(5)));
    assert_eq!(framing("Transfer-Encoding: chunked"), Ok(Framing::Chunked));
    assert_eq!(framing("X: y"), Ok(Framing::UntilClose));
    for lines in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: +5",
        "Transfer-Encoding: gzip, chunked",
    ] {
        assert!(framing(lines).is_err(), "{lines}");
    }
}

#[test]
fn the_parser_of_bodies_sees_what_is_missing() {
    let body = |bytes: &str, framing| Wire::new(bytes.as_bytes()).body(framing);
    for (bytes, framing, end) in [
        ("hello", Framing::Length(5), End::Framed),
        ("hell", Framing::Length(5), End::Truncated),
        ("5\r\nhello\r\n0\r\n\r\n", Framing::Chunked, End::Framed),
        ("5\r\nhello\r\n0\r\n", Framing::Chunked, End::Truncated),
        ("5\r\nhel", Framing::Chunked, End::Truncated),
        ("hello", Framing::UntilClose, End::Closed),
    ] {
        assert_eq!(
            body(bytes, framing).map(|body| body.end),
            Ok(end),
            "{bytes:?}"
        );
    }
    for bytes in ["5\nhello\r\n0\r\n\r\n", "x\r\n", "5\r\nhello!\r\n0\r\n\r\n"] {
        assert!(
            matches!(body(bytes, Framing::Chunked), Err(Broken::Malformed(_))),
            "{bytes:?}"
        );
    }
}

#[test]
fn endpoints_behave_as_told() {
    let ask = |endpoint: &Endpoint| {
        let mut client = Client::connect(endpoint.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response_to("GET")
    };
    let echoed = ask(&Endpoint::echo()).expect("an answer");
    assert_eq!(echoed.body.text(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");

    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let reset = ask(&Endpoint::resets_after(format!("{head}he"))).expect("a head");
    assert_eq!(
        (reset.body.end, reset.body.text().as_str()),
        (End::Truncated, "he")
    );
    let closed = ask(&Endpoint::answers_and_closes(format!("{head}he"))).expect("a head");
    assert_eq!(closed.body.end, End::Truncated);
    assert_eq!(ask(&Endpoint::closes_unanswered()), Err(Broken::Closed));

    let refused = TcpStream::connect(Endpoint::refuses().address());
    assert_eq!(
        refused.map_err(|error| error.kind()).err(),
        Some(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn endpoints_remember_only_whole_requests() {
    let endpoint = Endpoint::echo();
    let mut client = Client::connect(endpoint.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    client.abort();
    assert!(matches!(endpoint.wait_for_end(), Broken::Truncated(_)));
    assert_eq!(endpoint.request().body.text(), "hello");
    assert_eq!(endpoint.connections(), 1);
}
