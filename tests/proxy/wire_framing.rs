//! Where the body of a request ends (RFC 9112 §6, §7).
//!
//! The body's length is what two recipients must agree about before anything else: every request
//! smuggling is a disagreement about it. Whatever two readers could read in two ways is refused.

use crate::cases::{
    Forwarded, Refusal, assert_body_refused, assert_forwarded, assert_refused, chunked, post,
};
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Broken;

const BAD: &[u16] = &[400];

/// For a coding that we could only decline to know.
const BAD_CODING: &[u16] = &[400, 501];

#[test]
fn a_length_is_one_number() {
    let length = |value: &str| post(format!("Content-Length: {value}"), "hello");
    let cases: &[Refusal<'_>] = &[
        ("a plus", length("+5"), BAD),
        ("a minus", length("-5"), BAD),
        ("a minus zero", length("-0"), BAD),
        ("hexadecimal", length("0x5"), BAD),
        ("a fraction", length("5.0"), BAD),
        ("an exponent", length("5e0"), BAD),
        ("a space within", length("5 5"), BAD),
        ("an underscore", length("5_0"), BAD),
        ("a quote", length("\"5\""), BAD),
        ("a semicolon", length("5;"), BAD),
        ("a word", length("five"), BAD),
        ("nothing", length(""), BAD),
        ("a comma", length("5,"), BAD),
        ("a list of different ones", length("5, 6"), BAD),
        ("a list with a word", length("5, x"), BAD),
        ("2^64", length("18446744073709551616"), BAD),
        ("2^64 + 5", length("18446744073709551621"), BAD),
        ("forty digits", length(&"9".repeat(40)), BAD),
        (
            "two that differ",
            post("Content-Length: 5\r\nContent-Length: 6", "hello"),
            BAD,
        ),
        (
            "two that differ, the other way",
            post("Content-Length: 6\r\nContent-Length: 5", "hello"),
            BAD,
        ),
        (
            "two, one of them bad",
            post("Content-Length: 5\r\nContent-Length: x", "hello"),
            BAD,
        ),
        (
            "digits of another script",
            post("Content-Length: \u{665}", "hello"),
            BAD,
        ),
        ("a NUL", length("5\0"), BAD),
        ("a vertical tab", length("\x0b5"), BAD),
        (
            "a space before the colon",
            post("Content-Length : 5", "hello"),
            BAD,
        ),
        ("a folded one", post("Content-Length:\r\n 5", "hello"), BAD),
    ];
    assert_refused(cases);
}

#[test]
fn a_coding_is_exactly_chunked() {
    let coding = |value: &str| post(format!("Transfer-Encoding: {value}"), "0\r\n\r\n");
    let cases: &[Refusal<'_>] = &[
        ("another word", coding("xchunked"), BAD_CODING),
        ("a prefix", coding("chunke"), BAD_CODING),
        ("identity", coding("identity"), BAD_CODING),
        ("gzip", coding("gzip"), BAD_CODING),
        ("gzip before", coding("gzip, chunked"), BAD_CODING),
        ("identity before", coding("identity, chunked"), BAD_CODING),
        ("identity behind", coding("chunked, identity"), BAD_CODING),
        ("gzip behind", coding("chunked, gzip"), BAD_CODING),
        ("twice", coding("chunked, chunked"), BAD_CODING),
        ("a parameter", coding("chunked;a=b"), BAD_CODING),
        ("quotes", coding("\"chunked\""), BAD_CODING),
        ("nothing", coding(""), BAD_CODING),
        ("a comma before", coding(",chunked"), BAD_CODING),
        ("a comma behind", coding("chunked,"), BAD_CODING),
        ("a vertical tab before", coding("\x0bchunked"), BAD_CODING),
        ("a form feed behind", coding("chunked\x0c"), BAD_CODING),
        ("a NUL behind", coding("chunked\0"), BAD_CODING),
        ("8 bits before", coding("\u{ff}chunked"), BAD_CODING),
        (
            "two lines",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            BAD_CODING,
        ),
        (
            "two lines, one of them another",
            post(
                "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            BAD_CODING,
        ),
        (
            "two lines, the other behind",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
                "0\r\n\r\n",
            ),
            BAD_CODING,
        ),
        (
            "a space before the colon",
            post("Transfer-Encoding : chunked", "0\r\n\r\n"),
            BAD,
        ),
        (
            "a folded one",
            post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"),
            BAD,
        ),
        (
            "one hidden in a fold",
            post("X-A: b\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone line feed before it",
            post("X-A: b\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            BAD,
        ),
    ];
    assert_refused(cases);
}

#[test]
fn a_length_and_a_coding_exclude_each_other() {
    let cases: &[Refusal<'_>] = &[
        ("the length first", post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
        ("the coding first", post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), BAD),
        ("a length of nothing", post("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
        ("a bad coding", post("Content-Length: 5\r\nTransfer-Encoding: identity", "hello"), BAD_CODING),
        ("a bad length", post("Content-Length: x\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
        ("a length that Connection names", post("Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
        ("a coding that Connection names", post("Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), BAD),
        ("both, with GET", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), BAD),
    ];
    assert_refused(cases);
}

#[test]
fn a_chunk_size_is_exact() {
    let cases: &[Refusal<'_>] = &[
        (
            "a hexadecimal prefix",
            chunked("0x5\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        ("a plus", chunked("+5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a minus", chunked("-5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a space before", chunked(" 5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a tab before", chunked("\t5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("an underscore", chunked("0_5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a comma", chunked("5,5\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a letter", chunked("g\r\nhello\r\n0\r\n\r\n"), BAD),
        ("a quote", chunked("\"5\"\r\nhello\r\n0\r\n\r\n"), BAD),
        ("no size", chunked("\r\nhello\r\n0\r\n\r\n"), BAD),
        (
            "only an extension",
            chunked(";a\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "2^64",
            chunked("10000000000000000\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "2^64 + 5",
            chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "many digits",
            chunked(format!("{}5\r\nhello\r\n0\r\n\r\n", "f".repeat(64))),
            BAD,
        ),
        (
            "a size of another script",
            chunked("\u{665}\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
    ];
    assert_body_refused(cases);
}

#[test]
fn a_chunk_ends_its_lines_exactly() {
    let cases: &[Refusal<'_>] = &[
        (
            "a NUL behind the size",
            chunked("5\0\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone line feed behind the size",
            chunked("5\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone carriage return behind the size",
            chunked("5\rhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "two carriage returns behind the size",
            chunked("5\r\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
    ];
    assert_body_refused(cases);
}

#[test]
fn a_chunk_extension_is_exact_and_short() {
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(128 * 1024));
    let cases: &[Refusal<'_>] = &[
        (
            "a lone line feed in an extension",
            chunked("5;a\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a line feed that hides a chunk",
            chunked("5;a\n\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone carriage return in an extension",
            chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a NUL in an extension",
            chunked("5;a\0\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        ("an extension of 128 kB", chunked(extension), BAD),
    ];
    assert_body_refused(cases);
}

#[test]
fn a_chunk_is_as_long_as_it_says() {
    let cases: &[Refusal<'_>] = &[
        (
            "nothing behind the data",
            chunked("5\r\nhello0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone line feed behind the data",
            chunked("5\r\nhello\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone carriage return behind the data",
            chunked("5\r\nhello\r0\r\n\r\n"),
            BAD,
        ),
        (
            "more data than the size says",
            chunked("5\r\nhello!\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "less data than the size says",
            chunked("6\r\nhello\r\n0\r\n\r\n"),
            BAD,
        ),
        (
            "a lone line feed behind the last size",
            chunked("5\r\nhello\r\n0\n\r\n"),
            BAD,
        ),
        (
            "a lone line feed at the end",
            chunked("5\r\nhello\r\n0\r\n\n"),
            BAD,
        ),
        (
            "a last chunk with a minus",
            chunked("5\r\nhello\r\n-0\r\n\r\n"),
            BAD,
        ),
    ];
    assert_body_refused(cases);
}

#[test]
fn trailers_are_exact_and_few() {
    let trailers = format!("0\r\nX-A: {}\r\n\r\n", "b".repeat(128 * 1024));
    let many_trailers = format!("0\r\n{}\r\n", "X-A: b\r\n".repeat(5_000));
    let cases: &[Refusal<'_>] = &[
        (
            "a trailer without a colon",
            chunked("0\r\nX-A\r\n\r\n"),
            BAD,
        ),
        (
            "a trailer with a space before the colon",
            chunked("0\r\nX-A : b\r\n\r\n"),
            BAD,
        ),
        (
            "a folded trailer",
            chunked("0\r\nX-A: b\r\n c\r\n\r\n"),
            BAD,
        ),
        (
            "a trailer with a NUL",
            chunked("0\r\nX-A: b\0\r\n\r\n"),
            BAD,
        ),
        (
            "a trailer with a lone line feed",
            chunked("0\r\nX-A: b\n\r\n\r\n"),
            BAD,
        ),
        ("a trailer of 128 kB", chunked(trailers), &[400, 431]),
        ("5,000 trailers", chunked(many_trailers), &[400, 431]),
    ];
    assert_body_refused(cases);
}

#[test]
fn a_body_is_forwarded_with_its_framing() {
    let start = "POST / HTTP/1.1";
    let host = "host: a";
    let request = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let cases: &[Forwarded<'_>] = &[
        (
            "a length",
            post("Content-Length: 5", "hello"),
            &[start, host, "content-length: 5"],
        ),
        (
            "a length of nothing",
            post("Content-Length: 0", ""),
            &[start, host, "content-length: 0"],
        ),
        (
            "a length with zeros before it",
            post("Content-Length: 0005", "hello"),
            &[start, host, "content-length: 5"],
        ),
        (
            "chunks",
            chunked("5\r\nhello\r\n0\r\n\r\n"),
            &[start, host, "transfer-encoding: chunked"],
        ),
        (
            "chunks, in capitals",
            post("TRANSFER-ENCODING: Chunked", "0\r\n\r\n"),
            &[start, host, "transfer-encoding: chunked"],
        ),
        (
            "a length that Connection names",
            post("Connection: content-length\r\nContent-Length: 5", "hello"),
            &[start, host, "content-length: 5"],
        ),
        (
            "chunks that Connection names",
            post(
                "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            &[start, host, "transfer-encoding: chunked"],
        ),
        (
            "a GET with a body",
            request("GET / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
            &["GET / HTTP/1.1", host, "content-length: 5"],
        ),
        (
            "a GET with chunks",
            request("GET / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n"),
            &["GET / HTTP/1.1", host, "transfer-encoding: chunked"],
        ),
        (
            "a HEAD with a body",
            request("HEAD / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
            &["HEAD / HTTP/1.1", host, "content-length: 5"],
        ),
        (
            "a DELETE with a body",
            request("DELETE / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
            &["DELETE / HTTP/1.1", host, "content-length: 5"],
        ),
        (
            "an OPTIONS with a body",
            request("OPTIONS * HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello"),
            &["OPTIONS * HTTP/1.1", host, "content-length: 5"],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn chunks_are_taken_apart_and_put_together() {
    let cases: &[(&str, &str, &str)] = &[
        ("one", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("several", "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello"),
        ("none", "0\r\n\r\n", ""),
        (
            "zeros before the size",
            "0005\r\nhello\r\n000\r\n\r\n",
            "hello",
        ),
        (
            "a size in capitals",
            "A\r\n0123456789\r\n0\r\n\r\n",
            "0123456789",
        ),
        (
            "a size in lower case",
            "a\r\n0123456789\r\n0\r\n\r\n",
            "0123456789",
        ),
        ("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"),
        (
            "an extension in quotes",
            "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "data that looks like chunks",
            "6\r\n0\r\n\r\n0\r\n0\r\n\r\n",
            "0\r\n\r\n0",
        ),
    ];
    for (name, sent, meant) in cases {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(chunked(sent));
        assert_eq!(client.response().status, 200, "{name}");
        let request = endpoint.request();
        assert_eq!(request.body.text(), *meant, "{name}");
        assert!(request.chunked, "{name}");
    }
}

#[test]
fn trailers_are_forwarded_and_never_become_fields() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(chunked(
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: evil\r\nTransfer-Encoding: x\r\n\
         Authorization: Basic YTpi\r\nConnection: x-a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    ));
    assert_eq!(client.response().status, 200);
    let request = endpoint.request();
    assert_eq!(request.body.text(), "hello");
    assert_eq!(request.head.value("host"), Some("a"));
    assert_eq!(request.head.value("content-length"), None);
    assert_eq!(request.head.value("authorization"), None);
    assert_eq!(request.head.value("x-sum"), None);
    // What concerns framing, routing or identity is not let through behind the body either.
    let names: Vec<String> = request
        .body
        .trailers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    assert!(names.iter().all(|name| name == "x-sum"), "{names:?}");
}

#[test]
fn a_body_that_is_a_request_is_a_body() {
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = inner.len();
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "BREW"] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{inner}"
        ));
        assert_eq!(client.response_to(method).status, 200, "{method}");
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 200, "{method}");
        let requests = endpoint.requests();
        let targets: Vec<&str> = requests.iter().map(Request::target).collect();
        assert_eq!(targets, ["/", "/next"], "{method}");
        assert_eq!(requests[0].body.text(), inner, "{method}");
    }
}

#[test]
fn a_post_without_framing_has_no_body() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().status, 200);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body.text(), "");
}

#[test]
fn a_body_that_ends_early_is_never_whole_for_the_endpoint() {
    for (name, bytes) in [
        ("a length", post("Content-Length: 10", "hello")),
        ("chunks", chunked("5\r\nhello\r\n")),
        ("within a chunk", chunked("a\r\nhello")),
        ("within a size", chunked("5\r\nhello\r\n1")),
        (
            "before the end of the trailers",
            chunked("5\r\nhello\r\n0\r\nX-A: b\r\n"),
        ),
    ] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(bytes).finish();
        let rest = client.read_to_end();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{name}");
        // The head may not have been forwarded at all; if it was, the message must not look whole.
        if endpoint.connections() > 0 {
            let end = endpoint.wait_for_end();
            assert!(
                matches!(end, Broken::Truncated(_) | Broken::Closed),
                "{name}: {end:?}"
            );
        }
        assert!(endpoint.requests().is_empty(), "{name}");
    }
}

#[test]
fn equal_lengths_leave_as_one_or_not_at_all() {
    for lines in [
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
    ] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(post(lines, "hello"));
        match client.response().status {
            200 => assert_eq!(endpoint.request().head.values("content-length"), ["5"]),
            status => {
                assert_eq!(status, 400, "{lines}");
                assert!(endpoint.requests().is_empty(), "{lines}");
            }
        }
    }
}
