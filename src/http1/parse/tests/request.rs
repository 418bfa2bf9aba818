//! The fields of requests: framing, connection, and which are refused.

use http::{Method, StatusCode, Version};

use super::{lines, read, refused};
use crate::http1::{FieldError, Framing, FramingError, RequestError};

/// A request of HTTP/1.1 with further field lines.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_browser_s_request_comes_out_as_it_went_in() {
    let text = "GET /a/b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nUser-Agent: x (y; z)\r\n\
                Accept: */*\r\nsec-ch-ua: \"A\";v=\"1\"\r\nX-Own: 1\r\nCookie: a=b; c=d\r\n\r\nrest";
    let head = read(text);
    assert_eq!(head.parts.method, Method::GET);
    assert_eq!(head.parts.uri, "/a/b?c=d");
    assert_eq!(head.parts.version, Version::HTTP_11);
    assert_eq!(
        lines(&head.parts.headers),
        [
            "host: example.org:8080",
            "user-agent: x (y; z)",
            "accept: */*",
            "sec-ch-ua: \\\"A\\\";v=\\\"1\\\"",
            "x-own: 1",
            "cookie: a=b; c=d",
        ]
    );
    assert_eq!(head.framing, Framing::None);
    assert!(head.persistent && !head.expect_continue && !head.te_trailers);
    assert_eq!(head.upgrade, None);
    assert_eq!(head.size, text.len() - "rest".len());
}

/// RFC 9112 §2.2, §5: line ends, names, colons, folding, control bytes.
#[test]
fn field_lines_that_are_refused() {
    let cases: &[(&[u8], FieldError)] = &[
        (b"A: b\n", FieldError::LineEnd),
        (b"A: b\nC: d\r\n", FieldError::LineEnd),
        (b"A: b\r\n\n", FieldError::LineEnd),
        (b"A:\n", FieldError::LineEnd),
        (b"A: b\r", FieldError::LineEnd),
        (b"A: b\rC: d\r\n", FieldError::Value),
        (b"A: b\r\r\n", FieldError::Value),
        (b"A:\rb\r\n", FieldError::Value),
        (b"A: b\0\r\n", FieldError::Value),
        (b"A: b\x0bc\r\n", FieldError::Value),
        (b"A: b\x7f\r\n", FieldError::Value),
        (b"A: \x01\r\n", FieldError::Value),
        (b"A: b\r\n c\r\n", FieldError::Name),
        (b"A: b\r\n\tc\r\n", FieldError::Name),
        (b"A:\r\n b\r\n", FieldError::Name),
        (b"A: b\r\n \r\n", FieldError::Name),
        (b"A : b\r\n", FieldError::Name),
        (b"A\t: b\r\n", FieldError::Name),
        (b": b\r\n", FieldError::Name),
        (b"A\r\n", FieldError::Name),
        (b"A b\r\n", FieldError::Name),
        (b"A b: c\r\n", FieldError::Name),
        (b"A\0: b\r\n", FieldError::Name),
        (b"\xc4: b\r\n", FieldError::Name),
        (b"A(: b\r\n", FieldError::Name),
        (b"A\"b: c\r\n", FieldError::Name),
        (b"A/: b\r\n", FieldError::Name),
        (b"\rA: b\r\n", FieldError::LineEnd),
    ];
    for (field, error) in cases {
        let text = [b"GET / HTTP/1.1\r\nHost: a\r\n", *field, b"\r\n"].concat();
        assert_eq!(
            refused(&text),
            RequestError::Field(*error),
            "{}",
            field.escape_ascii()
        );
    }
    for field in [" A: b", "\tHost: evil", " "] {
        let text = format!("GET / HTTP/1.1\r\n{field}\r\nHost: a\r\n\r\n");
        assert_eq!(
            refused(&text),
            RequestError::Field(FieldError::Name),
            "{field}"
        );
    }
    for text in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\n\n",
        "GET / HTTP/1.1\r\n\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(text), RequestError::Field(FieldError::LineEnd));
    }
}

/// RFC 9110 §5.5: HTAB, SP, VCHAR and obs-text pass; white space around a value is not part of it.
#[test]
fn field_lines_that_are_kept() {
    let head = read(
        b"GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nBlank: \t \r\nPad:\t b\tc  \r\n\
          Text: \x80\xff\xc3\xa9\r\nContent_Length: 5\r\nX_Forwarded_For: 1\r\n!#$%&'*+-.^_`|~: 1\r\n\
          Twice: 1\r\ntwice: 2\r\n\r\n",
    );
    assert_eq!(
        lines(&head.parts.headers)[1..],
        [
            "empty: ",
            "blank: ",
            "pad: b\\tc",
            "text: \\x80\\xff\\xc3\\xa9",
            "content_length: 5",
            "x_forwarded_for: 1",
            "!#$%&'*+-.^_`|~: 1",
            "twice: 1",
            "twice: 2",
        ]
    );
    assert_eq!(head.framing, Framing::None);
}

/// RFC 9112 §6.3, RFC 9110 §8.6.
#[test]
fn framing() {
    let cases = [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("Content-Length: 5\r\n", Framing::Length(5)),
        ("content-length:\t5 \r\n", Framing::Length(5)),
        ("Content-Length: 0005\r\n", Framing::Length(5)),
        (
            "Content-Length: 18446744073709551615\r\n",
            Framing::Length(u64::MAX),
        ),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ("tRANSFER-ENCODING:  ChunKed \r\n", Framing::Chunked),
        (
            "Connection: Content-Length\r\nContent-Length: 5\r\n",
            Framing::Length(5),
        ),
        (
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            Framing::Chunked,
        ),
    ];
    for (fields, framing) in cases {
        for method in ["POST", "GET", "HEAD", "OPTIONS", "DELETE"] {
            let head = read(with(fields).replace("POST", method));
            assert_eq!(head.framing, framing, "{method} {fields}");
            let length = head.parts.headers.get("content-length");
            let expected = match framing {
                Framing::Length(length) => Some(length.to_string()),
                Framing::None | Framing::Chunked | Framing::UntilClose => None,
            };
            let length = length.map(|value| value.to_str().expect("digits"));
            assert_eq!(length, expected.as_deref(), "{fields}");
            assert!(!head.parts.headers.contains_key("transfer-encoding"));
        }
    }
}

/// RFC 9110 §8.6, RFC 9112 §6.3.
#[test]
fn lengths_that_are_refused() {
    use FramingError::{Length, RepeatedLength};
    let cases = [
        ("Content-Length:\r\n", Length),
        ("Content-Length: +5\r\n", Length),
        ("Content-Length: -5\r\n", Length),
        ("Content-Length: 5 5\r\n", Length),
        ("Content-Length: 5,\r\n", Length),
        ("Content-Length: 5, 5\r\n", Length),
        ("Content-Length: 5, 6\r\n", Length),
        ("Content-Length: 0x5\r\n", Length),
        ("Content-Length: 5a\r\n", Length),
        ("Content-Length: 5.0\r\n", Length),
        ("Content-Length: \"5\"\r\n", Length),
        ("Content-Length: \u{0665}\r\n", Length),
        ("Content-Length: 18446744073709551616\r\n", Length),
        ("Content-Length: 99999999999999999999999\r\n", Length),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", RepeatedLength),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", RepeatedLength),
    ];
    for (fields, error) in cases {
        let refused = refused(with(fields));
        assert_eq!(refused, RequestError::Framing(error), "{fields}");
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}

/// RFC 9112 §6.1, §6.3.
#[test]
fn codings_that_are_refused() {
    use FramingError::{Coding, LengthAndCoding, UnknownCoding};
    let cases = [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            LengthAndCoding,
        ),
        ("Transfer-Encoding:\r\n", Coding),
        ("Transfer-Encoding: xchunked\r\n", Coding),
        ("Transfer-Encoding: chunkedx\r\n", Coding),
        ("Transfer-Encoding: chunk\r\n", Coding),
        ("Transfer-Encoding: \"chunked\"\r\n", Coding),
        ("Transfer-Encoding: 'chunked'\r\n", Coding),
        ("Transfer-Encoding: chunked;a=b\r\n", Coding),
        ("Transfer-Encoding: chunked,\r\n", Coding),
        ("Transfer-Encoding: ,chunked\r\n", Coding),
        ("Transfer-Encoding: identity\r\n", Coding),
        ("Transfer-Encoding: gzip\r\n", Coding),
        ("Transfer-Encoding: chunked, identity\r\n", Coding),
        ("Transfer-Encoding: chunked, gzip\r\n", Coding),
        ("Transfer-Encoding: chunked, chunked\r\n", Coding),
        ("Transfer-Encoding: chunked chunked\r\n", Coding),
        ("Transfer-Encoding: a b, chunked\r\n", Coding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Coding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            Coding,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            Coding,
        ),
        ("Transfer-Encoding: chunked\u{a0}\r\n", Coding),
        ("Transfer-Encoding: gzip, chunked\r\n", UnknownCoding),
        ("Transfer-Encoding: a;b=c , Chunked\r\n", UnknownCoding),
    ];
    for (fields, error) in cases {
        let refused = refused(with(fields));
        assert_eq!(refused, RequestError::Framing(error), "{fields}");
        let status = if error == UnknownCoding {
            StatusCode::NOT_IMPLEMENTED
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!(refused.status(), status);
    }
    for field in [
        &b"Transfer-Encoding: \x0bchunked"[..],
        b"Transfer-Encoding: chunked\0",
    ] {
        let text = [b"POST / HTTP/1.1\r\nHost: a\r\n", field, b"\r\n\r\n"].concat();
        assert_eq!(refused(text), RequestError::Field(FieldError::Value));
    }
}

/// RFC 9112 §9.3.
#[test]
fn persistence() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: a, ,\tclose,\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: Close\r\n",
            false,
        ),
        ("1.1", "Connection:\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: 5\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ];
    for (version, fields, persistent) in cases {
        let head = read(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(head.persistent, persistent, "HTTP/{version} {fields}");
    }
}

/// RFC 9110 §7.6.1.
#[test]
fn fields_of_the_connection_stay_behind() {
    let head = read(with(
        "A: 1\r\nConnection: X-Secret, b , host, content-length, te\r\nX-Secret: 1\r\nB: 1\r\n\
         Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: websocket\r\n\
         HTTP2-Settings: AAA\r\nContent-Length: 0\r\nx-SECRET: 2\r\nTrailer: C\r\nZ: 1\r\n",
    ));
    assert_eq!(
        lines(&head.parts.headers),
        ["host: a", "a: 1", "content-length: 0", "trailer: C", "z: 1"]
    );
    assert!(head.te_trailers);
    assert_eq!(head.upgrade, None);
    for members in ["a b", "\"close\"", "close;a=b", "(close)", "\u{e4}"] {
        let error = refused(with(&format!("Connection: {members}\r\n")));
        assert_eq!(error, RequestError::Connection, "{members}");
    }
    let many = vec!["a"; 17].join(",");
    assert_eq!(
        refused(with(&format!("Connection: {many}\r\n"))),
        RequestError::Connection
    );
}

/// RFC 9110 §7.8; RFC 9113 §3.1 for `h2c`.
#[test]
fn upgrades() {
    let named = "Connection: keep-alive, Upgrade\r\n";
    let cases = [
        ("Upgrade: websocket\r\n", Some("websocket")),
        (
            "Upgrade: WebSocket, foo/2\r\nUpgrade: bar\r\n",
            Some("WebSocket, foo/2, bar"),
        ),
        ("Upgrade: h2c\r\nHTTP2-Settings: AAA\r\n", None),
        ("Upgrade: H2C, websocket\r\n", Some("websocket")),
        ("Upgrade: HTTP/2.0, h2\r\n", None),
        ("Upgrade: a b, /1, c/\r\n", None),
        ("Upgrade:\r\n", None),
        ("", None),
    ];
    for (fields, upgrade) in cases {
        let head = read(with(&format!("{named}{fields}")));
        let read = head
            .upgrade
            .as_ref()
            .map(|value| value.to_str().expect("ASCII"));
        assert_eq!(read, upgrade, "{fields}");
        assert_eq!(lines(&head.parts.headers), ["host: a"]);
    }
    let unnamed = read(with("Upgrade: websocket\r\n"));
    assert_eq!(unnamed.upgrade, None);
    let old = read("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.upgrade, None);
}

/// RFC 9110 §10.1.1, §10.1.4.
#[test]
fn expectations_and_te() {
    let expects = read(with("Expect: 100-Continue\r\nContent-Length: 5\r\n"));
    assert!(expects.expect_continue);
    assert_eq!(lines(&expects.parts.headers)[1], "expect: 100-Continue");
    assert!(
        read(with(
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
        ))
        .expect_continue
    );
    assert!(!read(with("Expect: 100-continue\r\n")).expect_continue);
    assert!(!read(with("Expect: 100-continue\r\nContent-Length: 0\r\n")).expect_continue);
    assert!(!read(with("Expect:\r\nContent-Length: 5\r\n")).expect_continue);
    for value in [
        "200-ok",
        "100-continue, a",
        "100-continue;a=b",
        "\"100-continue\"",
    ] {
        let error = refused(with(&format!("Expect: {value}\r\n")));
        assert_eq!(error.status(), StatusCode::EXPECTATION_FAILED, "{value}");
    }
    let old =
        read("POST / HTTP/1.0\r\nExpect: anything\r\nTE: trailers\r\nContent-Length: 5\r\n\r\n");
    assert!(!old.expect_continue && !old.te_trailers);
    assert_eq!(lines(&old.parts.headers), ["content-length: 5"]);

    for (value, welcome) in [
        ("trailers", true),
        ("gzip;q=0.5, Trailers", true),
        ("trailers;q=0", false),
        ("gzip", false),
        ("", false),
    ] {
        let head = read(with(&format!("TE: {value}\r\nConnection: TE\r\n")));
        assert_eq!(head.te_trailers, welcome, "{value}");
    }
}
