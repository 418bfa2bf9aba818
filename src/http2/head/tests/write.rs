//! What is written, read again.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::*;
use crate::http2::Opening;
use crate::http2::hpack::{Decoder, Encoder};

const OPENING: Opening<'static> = Opening {
    is_https: false,
    ends: true,
    length: None,
    te_trailers: false,
    protocol: None,
};

/// Fields, the length of the body, and what is written of them.
type LengthCase<'a> = (Lines<'a>, Option<u64>, &'a str);

/// What it is about, a status, fields, the length of the body, whether none follows, what is
/// written.
type ResponseCase<'a> = (&'a str, u16, Lines<'a>, Option<u64>, bool, &'a str);

/// Names and values that a block has, each in a line.
fn block(write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> String {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    write(&mut encoder, &mut out);
    let mut lines = Vec::new();
    let read = Decoder::new(0).decode(&out, &mut Vec::new(), |name, value| {
        let (name, value) = (name.escape_ascii(), value.escape_ascii());
        lines.push(format!("{name}: {value}|"));
    });
    assert_eq!(read, Ok(()));
    lines.concat()
}

fn fields(lines: Lines<'_>) -> Fields {
    let line = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    lines.iter().map(line).collect()
}

fn written_request(
    method: Method,
    uri: &'static str,
    lines: Lines<'_>,
    opening: Opening<'_>,
) -> String {
    let parts = RequestParts {
        method,
        uri: Uri::from_static(uri),
        version: Version::HTTP_11,
        headers: fields(lines),
    };
    block(|encoder, out| write_request(encoder, out, &parts, &opening))
}

fn written_response(status: u16, lines: Lines<'_>, length: Option<u64>, bodiless: bool) -> String {
    let parts = ResponseParts {
        status: StatusCode::from_u16(status).expect("a status"),
        version: Version::HTTP_11,
        headers: fields(lines),
    };
    block(|encoder, out| write_response(encoder, out, &parts, length, bodiless))
}

#[test]
fn a_request() {
    let lines = [
        ("a", "1"),
        ("host", "h:80"),
        ("connection", "a"),
        ("keep-alive", "1"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("cookie", "a; b"),
        ("host", "other"),
    ];
    let opening = Opening {
        te_trailers: true,
        ..OPENING
    };
    assert_eq!(
        written_request(Method::GET, "/a?b", &lines, opening),
        ":method: GET|:scheme: http|:authority: h:80|:path: /a?b|a: 1|expect: 100-continue|\
         cookie: a; b|te: trailers|"
    );
}

#[test]
fn targets() {
    let host = &[("host", "h:1")];
    let https = Opening {
        is_https: true,
        ..OPENING
    };
    assert_eq!(
        written_request(Method::OPTIONS, "*", host, https),
        ":method: OPTIONS|:scheme: https|:authority: h:1|:path: *|"
    );
    assert_eq!(
        written_request(Method::GET, "/", &[], OPENING),
        ":method: GET|:scheme: http|:path: /|",
        "nobody has given it an authority"
    );
    assert_eq!(
        written_request(Method::GET, "/", &[("host", "")], OPENING),
        ":method: GET|:scheme: http|:path: /|"
    );
    assert_eq!(
        written_request(Method::CONNECT, "t:443", host, OPENING),
        ":method: CONNECT|:authority: t:443|",
        "RFC 9113 §8.5"
    );
    let websocket = Opening {
        protocol: Some(b"websocket"),
        ends: false,
        ..https
    };
    for method in [Method::CONNECT, Method::GET] {
        assert_eq!(
            written_request(method, "/chat", host, websocket),
            ":method: CONNECT|:protocol: websocket|:scheme: https|:authority: h:1|:path: /chat|",
            "RFC 8441 §4"
        );
    }
}

/// RFC 9110 §8.6: once, and as the framing says.
#[test]
fn lengths_of_requests() {
    let cases: [LengthCase<'_>; 6] = [
        (&[], Some(3), "content-length: 3|"),
        (
            &[("content-length", "3"), ("a", "b")],
            Some(3),
            "content-length: 3|a: b|",
        ),
        (
            &[("content-length", "4"), ("a", "b")],
            Some(3),
            "a: b|content-length: 3|",
        ),
        (
            &[("content-length", "3"), ("content-length", "3")],
            Some(3),
            "content-length: 3|",
        ),
        (&[("content-length", "3")], None, ""),
        (&[("content-length", "0")], Some(0), "content-length: 0|"),
    ];
    for (lines, length, expected) in cases {
        let opening = Opening { length, ..OPENING };
        let text = written_request(Method::POST, "/", lines, opening);
        assert_eq!(
            text,
            format!(":method: POST|:scheme: http|:path: /|{expected}")
        );
    }
}

#[test]
fn responses() {
    let length = &[("content-length", "5")];
    let cases: &[ResponseCase<'_>] = &[
        (
            "as it stands",
            200,
            length,
            Some(5),
            false,
            "content-length: 5|",
        ),
        ("added", 200, &[], Some(5), false, "content-length: 5|"),
        ("another", 200, length, Some(4), false, "content-length: 4|"),
        ("unknown", 200, length, None, false, ""),
        ("HEAD", 200, length, Some(0), true, "content-length: 5|"),
        ("HEAD without one", 200, &[], Some(0), true, ""),
        ("304", 304, length, None, false, "content-length: 5|"),
        ("204", 204, length, Some(0), false, ""),
        ("interim", 103, length, None, true, ""),
        (
            "of a connection",
            200,
            &[("connection", "close"), ("x", "y")],
            None,
            false,
            "x: y|",
        ),
        (
            "of a connection",
            426,
            &[("upgrade", "h2c"), ("te", "a")],
            None,
            false,
            "",
        ),
        (
            "of a connection",
            200,
            &[("keep-alive", "1"), ("trailer", "x")],
            None,
            false,
            "trailer: x|",
        ),
        ("white space", 200, &[("x", " y ")], None, false, "x: y|"),
    ];
    for (what, status, lines, length, bodiless, expected) in cases {
        let text = written_response(*status, lines, *length, *bodiless);
        assert_eq!(text, format!(":status: {status}|{expected}"), "{what}");
    }
}

#[test]
fn trailers() {
    let mut map = HeaderMap::new();
    map.insert("connection", HeaderValue::from_static("close"));
    map.insert("content-length", HeaderValue::from_static("5"));
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    assert!(
        !write_trailers(&mut encoder, &mut out, &map),
        "none are left"
    );
    assert!(out.is_empty());
    map.insert("grpc-status", HeaderValue::from_static("0"));
    map.append("x", HeaderValue::from_static("1"));
    map.append("x", HeaderValue::from_static("2"));
    let text = block(|encoder, out| assert!(write_trailers(encoder, out, &map)));
    assert_eq!(text, "grpc-status: 0|x: 1|x: 2|");
}

/// What was read is written so that it is read again.
#[test]
fn there_and_back() {
    let lines = [
        GET,
        &[
            ("cookie", "a"),
            ("x", "y"),
            ("cookie", "b"),
            ("te", "trailers"),
        ],
    ]
    .concat();
    let head = request(&lines).expect("well-formed");
    let opening = Opening {
        is_https: head.is_https,
        ends: head.ends,
        length: head.length,
        te_trailers: head.te_trailers,
        protocol: head.protocol.as_deref(),
    };
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    write_request(&mut encoder, &mut out, &head.parts, &opening);
    let mut reader = RequestReader::new(&SETTINGS);
    let read = Decoder::new(0).decode(&out, &mut Vec::new(), |name, value| {
        reader.take(name, value);
    });
    assert_eq!(read, Ok(()));
    let again = reader.finish(false).expect("well-formed");
    assert_eq!(text(&again.parts.headers), text(&head.parts.headers));
    assert_eq!(again.parts.uri, head.parts.uri);
    assert!(again.te_trailers && again.is_https);
}
