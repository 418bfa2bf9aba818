//! What an endpoint may say, and what becomes of what it may not (RFC 9112 §4 to §6).
//!
//! A head that cannot be trusted becomes a 502, and the connection that it came on is given up:
//! nobody knows where the next response on it would begin.

use crate::cases::{Case, Faults, Relayed, get, ok, relay};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A response that is relayed: its name, its bytes, and the status and body that the client gets.
type Good<'a> = (&'a str, Vec<u8>, u16, &'a str);

/// The response is relayed whole, with this status and body. With a body that ends with the
/// connection, the endpoint closes.
fn assert_relayed(cases: &[Good<'_>]) {
    let mut faults = Faults::default();
    for (name, bytes, status, body) in cases {
        let outcome = relay(&Endpoint::answers_and_closes(bytes)).and_then(|got| match got {
            Relayed::Whole(got, text) if got == *status && text == *body => Ok(()),
            other => Err(format!("{other:?}")),
        });
        faults.check(name, bytes, outcome);
    }
    faults.report();
}

/// The response becomes a 502, and the connection that it came on is not used again.
fn assert_bad_gateway(cases: &[Case<'_>]) {
    let mut faults = Faults::default();
    for (name, bytes) in cases {
        let endpoint = Endpoint::answers(bytes);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get(""));
        let outcome = match client.try_response_to("GET") {
            Ok(response) if response.status == 502 => Ok(()),
            other => Err(format!("{other:?}")),
        };
        faults.check(name, bytes, outcome);
        // The endpoint itself would have kept it.
        endpoint.wait_for_end();
    }
    faults.report();
}

/// The response is one of the two that RFC 9112 §5 leaves a proxy: a 502, or cleaned. What the
/// client gets has been through a parser that takes neither lone line ends nor folds.
fn assert_cleaned(cases: &[Case<'_>]) {
    let mut faults = Faults::default();
    for (name, bytes) in cases {
        let outcome = relay(&Endpoint::answers_and_closes(bytes)).and_then(|got| match got {
            Relayed::Whole(502, _) => Ok(()),
            Relayed::Whole(200, text) if text == "ok" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        faults.check(name, bytes, outcome);
    }
    faults.report();
}

/// A whole message from lines.
fn message(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

#[test]
fn good_responses_are_relayed() {
    assert_relayed(&[
        ("a length", ok("Content-Length: 5", "hello"), 200, "hello"),
        ("a length of nothing", ok("Content-Length: 0", ""), 200, ""),
        (
            "chunks",
            ok(
                "Transfer-Encoding: chunked",
                "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            ),
            200,
            "hello",
        ),
        (
            "chunks in capitals",
            ok("TRANSFER-ENCODING: CHUNKED", "5\r\nhello\r\n0\r\n\r\n"),
            200,
            "hello",
        ),
        (
            "chunks with extensions",
            ok(
                "Transfer-Encoding: chunked",
                "5;a=b\r\nhello\r\n0;c\r\n\r\n",
            ),
            200,
            "hello",
        ),
        ("to the end", ok("X-A: b", "hello"), 200, "hello"),
        ("nothing to the end", ok("X-A: b", ""), 200, ""),
        (
            "HTTP/1.0 with a length",
            message("HTTP/1.0 200 OK\nContent-Length: 5\n\nhello"),
            200,
            "hello",
        ),
        (
            "HTTP/1.0 to the end",
            message("HTTP/1.0 200 OK\n\nhello"),
            200,
            "hello",
        ),
    ]);
}

#[test]
fn every_status_is_relayed() {
    assert_relayed(&[
        (
            "no reason",
            message("HTTP/1.1 200 \nContent-Length: 5\n\nhello"),
            200,
            "hello",
        ),
        (
            "a long reason",
            message("HTTP/1.1 200 All is well\nContent-Length: 5\n\nhello"),
            200,
            "hello",
        ),
        (
            "8 bits in the reason",
            b"HTTP/1.1 200 \xe9\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            200,
            "hello",
        ),
        (
            "an unknown status",
            message("HTTP/1.1 299 Odd\nContent-Length: 5\n\nhello"),
            299,
            "hello",
        ),
        (
            "an error",
            message("HTTP/1.1 404 Not Found\nContent-Length: 5\n\nhello"),
            404,
            "hello",
        ),
        (
            "an endpoint's own 500",
            message("HTTP/1.1 500 Oh\nContent-Length: 5\n\nhello"),
            500,
            "hello",
        ),
        (
            "an endpoint's own 502",
            message("HTTP/1.1 502 Oh\nContent-Length: 5\n\nhello"),
            502,
            "hello",
        ),
        (
            "the last status",
            message("HTTP/1.1 599 Oh\nContent-Length: 5\n\nhello"),
            599,
            "hello",
        ),
    ]);
}

#[test]
fn statuses_that_mean_something_are_relayed() {
    assert_relayed(&[
        ("204", message("HTTP/1.1 204 No Content\n\n"), 204, ""),
        (
            "304 with the length of what it stands for",
            message("HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n"),
            304,
            "",
        ),
        (
            "205 with nothing",
            message("HTTP/1.1 205 Reset\nContent-Length: 0\n\n"),
            205,
            "",
        ),
        (
            "an upgrade that was not granted",
            ok(
                "Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 5",
                "hello",
            ),
            200,
            "hello",
        ),
        (
            "interim responses before it",
            message("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
            200,
            "hello",
        ),
    ]);
}

#[test]
fn a_head_that_is_not_http_is_a_bad_gateway() {
    assert_bad_gateway(&[
        ("nothing like it", b"hello, world\r\n\r\n".to_vec()),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("a name", message("ICY 200 OK\nContent-Length: 2\n\nok")),
        (
            "lower case",
            message("http/1.1 200 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "HTTP/2.0",
            message("HTTP/2.0 200 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "HTTP/0.9",
            message("HTTP/0.9 200 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "two digits of a version",
            message("HTTP/1.10 200 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "two digits",
            message("HTTP/1.1 20 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "four digits",
            message("HTTP/1.1 2000 OK\nContent-Length: 2\n\nok"),
        ),
        ("no digits", message("HTTP/1.1 OK\nContent-Length: 2\n\nok")),
        (
            "letters",
            message("HTTP/1.1 2x0 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "a sign",
            message("HTTP/1.1 +20 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "a status below 100",
            message("HTTP/1.1 099 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "a space before it",
            message(" HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        ),
        (
            "two spaces",
            message("HTTP/1.1  200 OK\nContent-Length: 2\n\nok"),
        ),
    ]);
}

#[test]
fn a_head_with_a_bad_field_is_a_bad_gateway() {
    assert_bad_gateway(&[
        (
            "a NUL in the reason",
            message("HTTP/1.1 200 O\0K\nContent-Length: 2\n\nok"),
        ),
        (
            "a NUL in a value",
            ok("X-A: b\0c\r\nContent-Length: 2", "ok"),
        ),
        ("a NUL in a name", ok("X-\0A: b\r\nContent-Length: 2", "ok")),
        ("no colon", ok("X-A\r\nContent-Length: 2", "ok")),
        ("an empty name", ok(": b\r\nContent-Length: 2", "ok")),
        ("a space in a name", ok("X A: b\r\nContent-Length: 2", "ok")),
        (
            "8 bits in a name",
            ok(b"X-\xe9: b\r\nContent-Length: 2", "ok"),
        ),
        (
            "a space before the first field",
            message("HTTP/1.1 200 OK\n X-A: b\nContent-Length: 2\n\nok"),
        ),
        (
            "more fields of the connection than are kept apart",
            ok(
                format!(
                    "Connection: {}\r\nX-16: secret\r\nContent-Length: 2",
                    (0..17)
                        .map(|at| format!("x-{at}"))
                        .collect::<Vec<_>>()
                        .join(",")
                ),
                "ok",
            ),
        ),
        (
            "101 that nobody asked for",
            message(
                "HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: websocket\n\n",
            ),
        ),
        (
            "a head without an end",
            ok(
                format!("X-A: {}\r\nContent-Length: 2", "b".repeat(300_000)),
                "ok",
            ),
        ),
        (
            "fields without an end",
            ok(
                format!("{}Content-Length: 2", "X-A: b\r\n".repeat(20_000)),
                "ok",
            ),
        ),
    ]);
}

#[test]
fn a_doubtful_length_is_a_bad_gateway() {
    assert_bad_gateway(&[
        ("a minus", ok("Content-Length: -5", "hello")),
        ("a plus", ok("Content-Length: +5", "hello")),
        ("a word", ok("Content-Length: five", "hello")),
        ("nothing", ok("Content-Length:", "hello")),
        ("hexadecimal", ok("Content-Length: 0x5", "hello")),
        (
            "2^64 + 5",
            ok("Content-Length: 18446744073709551621", "hello"),
        ),
        (
            "two that differ",
            ok("Content-Length: 5\r\nContent-Length: 6", "hello!"),
        ),
        ("a list that differs", ok("Content-Length: 5, 6", "hello!")),
        (
            "a length and a coding",
            ok(
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        (
            "a coding and a length",
            ok(
                "Transfer-Encoding: chunked\r\nContent-Length: 5",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
    ]);
}

#[test]
fn a_doubtful_coding_is_a_bad_gateway() {
    assert_bad_gateway(&[
        (
            "a coding that nobody knows",
            ok("Transfer-Encoding: xchunked", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "a coding that was not accepted",
            ok(
                "Transfer-Encoding: gzip, chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        ("identity", ok("Transfer-Encoding: identity", "hello")),
        (
            "chunked twice",
            ok(
                "Transfer-Encoding: chunked, chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        (
            "chunked not last",
            ok(
                "Transfer-Encoding: chunked, gzip",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        (
            "a vertical tab",
            ok("Transfer-Encoding: \x0bchunked", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "two lines",
            ok(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
    ]);
}

#[test]
fn doubtful_lines_are_refused_or_cleaned() {
    assert_cleaned(&[
        (
            "a space before the colon",
            ok("X-A : b\r\nContent-Length: 2", "ok"),
        ),
        (
            "a space before the colon of the length",
            ok("Content-Length : 2", "ok"),
        ),
        ("a fold", ok("X-A: b\r\n c\r\nContent-Length: 2", "ok")),
        (
            "a fold that hides a field",
            ok("X-A: b\r\n Content-Length: 9\r\nContent-Length: 2", "ok"),
        ),
        (
            "lone line feeds",
            b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok".to_vec(),
        ),
        (
            "a lone line feed between fields",
            ok("X-A: b\nX-B: c\r\nContent-Length: 2", "ok"),
        ),
        (
            "a lone carriage return",
            ok("X-A: b\rc\r\nContent-Length: 2", "ok"),
        ),
        (
            "a lone carriage return that hides a field",
            ok("X-A: b\rSet-Cookie: c\r\nContent-Length: 2", "ok"),
        ),
        (
            "a control character",
            ok("X-A: b\x01c\r\nContent-Length: 2", "ok"),
        ),
        (
            "equal lengths",
            ok("Content-Length: 2\r\nContent-Length: 2", "ok"),
        ),
        ("a list of equal lengths", ok("Content-Length: 2, 2", "ok")),
        (
            "no reason, nor the space before it",
            message("HTTP/1.1 200\nContent-Length: 2\n\nok"),
        ),
        (
            "a coding in HTTP/1.0",
            message("HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n"),
        ),
    ]);
}

#[test]
fn a_value_cannot_split_a_response() {
    let endpoint = Endpoint::answers_and_closes(
        "HTTP/1.1 200 OK\r\nX-A: b\r\rHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get("Connection: close"));
    let all = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
    assert!(all.starts_with("HTTP/1.1 502 "), "{all}");
}
