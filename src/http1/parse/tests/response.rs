//! What responses are read as, and which are refused.

use http::{Method, Version};
use proptest::prelude::*;

use super::{LIMITS, lines};
use crate::http1::{
    FieldError, Framing, FramingError, Limits, ResponseError, ResponseHead, parse_response,
    resume_response,
};
use crate::message::Value;

fn read_for(method: &Method, text: impl AsRef<[u8]>) -> ResponseHead {
    let text = text.as_ref();
    match parse_response(text, method, LIMITS) {
        Ok(Some(head)) => head,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

fn read(text: impl AsRef<[u8]>) -> ResponseHead {
    read_for(&Method::GET, text)
}

fn refused(text: impl AsRef<[u8]>) -> ResponseError {
    let text = text.as_ref();
    match parse_response(text, &Method::GET, LIMITS) {
        Err(error) => error,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

#[test]
fn an_ordinary_response_comes_out_as_it_went_in() {
    let text = "HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: a\r\nContent-Length: 3\r\n\
                set-cookie: b\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nabc";
    let head = read(text);
    assert_eq!(
        (head.parts.status.as_u16(), head.parts.version),
        (200, Version::HTTP_11)
    );
    assert_eq!(
        lines(&head.parts.headers),
        [
            "server: x",
            "set-cookie: a",
            "content-length: 3",
            "set-cookie: b"
        ]
    );
    assert_eq!(head.framing, Framing::Length(3));
    assert!(head.persistent);
    assert_eq!(head.upgrade, None);
    assert_eq!(head.size, text.len() - 3);
}

/// RFC 9112 §4, RFC 9110 §15.
#[test]
fn status_lines() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200 ", 200),
        ("HTTP/1.1 200", 200),
        ("HTTP/1.0 404 Not\tFound (\u{e9})", 404),
        ("HTTP/1.1 299 x", 299),
        ("HTTP/1.1 599 ", 599),
        ("HTTP/1.1 200  two spaces", 200),
    ] {
        assert_eq!(
            read(format!("{line}\r\n\r\n")).parts.status.as_u16(),
            status,
            "{line}"
        );
    }
    let malformed: &[&[u8]] = &[
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.10 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"200 OK",
        b"",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 O\x7fK",
        b"HTTP/1.1 200 O\rK",
    ];
    for line in malformed {
        let error = refused([line, b"\r\nA: b\r\n\r\n".as_slice()].concat());
        assert_eq!(error, ResponseError::Line, "{}", line.escape_ascii());
    }
    for status in ["000", "099", "600", "999"] {
        let error = refused(format!("HTTP/1.1 {status} x\r\n\r\n"));
        assert_eq!(error, ResponseError::Status, "{status}");
    }
}

/// RFC 9112 §2.2, §5: as strict as towards clients.
#[test]
fn field_lines_that_are_refused() {
    let cases: &[(&[u8], FieldError)] = &[
        (b"A: b\n", FieldError::LineEnd),
        (b"A: b\r\n\n", FieldError::LineEnd),
        (b"A: b\rC: d\r\n", FieldError::Value),
        (b"A: b\0\r\n", FieldError::Value),
        (b"A: b\r\n c\r\n", FieldError::Name),
        (b"A : b\r\n", FieldError::Name),
        (b" A: b\r\n", FieldError::Name),
        (b": b\r\n", FieldError::Name),
        (b"A\r\n", FieldError::Name),
        (b"A\xff: b\r\n", FieldError::Name),
    ];
    for (field, error) in cases {
        let text = [b"HTTP/1.1 200 OK\r\n", *field, b"\r\n"].concat();
        assert_eq!(
            refused(&text),
            ResponseError::Field(*error),
            "{}",
            field.escape_ascii()
        );
    }
    for text in ["HTTP/1.1 200 OK\nA: b\r\n\r\n", "HTTP/1.1 200 OK\n\n"] {
        assert_eq!(refused(text), ResponseError::Field(FieldError::LineEnd));
    }
}

/// RFC 9112 §6.3.
#[test]
fn framing() {
    let connect = Method::CONNECT;
    let cases = [
        (Method::GET, "200", "", Framing::UntilClose),
        (
            Method::GET,
            "200",
            "Content-Length: 0\r\n",
            Framing::Length(0),
        ),
        (
            Method::GET,
            "205",
            "Content-Length: 7\r\n",
            Framing::Length(7),
        ),
        (
            Method::GET,
            "404",
            "Transfer-Encoding: Chunked\r\n",
            Framing::Chunked,
        ),
        (Method::HEAD, "200", "Content-Length: 7\r\n", Framing::None),
        (
            Method::HEAD,
            "200",
            "Transfer-Encoding: chunked\r\n",
            Framing::None,
        ),
        (Method::HEAD, "200", "", Framing::None),
        (Method::GET, "304", "Content-Length: 7\r\n", Framing::None),
        (Method::GET, "304", "", Framing::None),
        (Method::GET, "204", "", Framing::None),
        (Method::GET, "100", "", Framing::None),
        (Method::GET, "103", "Link: a\r\n", Framing::None),
        (connect.clone(), "200", "", Framing::None),
        (
            connect.clone(),
            "200",
            "Content-Length: 7\r\nTransfer-Encoding: x\r\n",
            Framing::None,
        ),
        (connect, "407", "Content-Length: 7\r\n", Framing::Length(7)),
    ];
    for (method, status, fields, framing) in cases {
        let head = read_for(&method, format!("HTTP/1.1 {status} x\r\n{fields}\r\n"));
        assert_eq!(head.framing, framing, "{method} {status} {fields}");
        assert_eq!(head.persistent, framing != Framing::UntilClose);
    }
}

/// RFC 9110 §8.6: HEAD and 304 tell the length that GET would have had.
#[test]
fn lengths_that_stay_and_lengths_that_go() {
    for (method, status, kept) in [
        (Method::HEAD, "200", true),
        (Method::GET, "304", true),
        (Method::GET, "204", false),
        (Method::GET, "103", false),
        (Method::CONNECT, "200", false),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 007\r\n\r\n");
        let head = read_for(&method, text);
        let read = head
            .parts
            .headers
            .get("content-length")
            .map(Value::as_bytes);
        assert_eq!(read, kept.then_some(&b"7"[..]), "{method} {status}");
    }
}

/// RFC 9112 §6.1, §6.3(5): such a response may not be relayed.
#[test]
fn framing_that_is_refused() {
    use FramingError::{
        Coding, CodingInHttp10, Length, LengthAndCoding, RepeatedLength, UnknownCoding,
    };
    let cases = [
        ("1.1", "Content-Length: 5, 5\r\n", Length),
        ("1.1", "Content-Length: -1\r\n", Length),
        ("1.1", "Content-Length: \r\n", Length),
        ("1.1", "Content-Length: 18446744073709551616\r\n", Length),
        (
            "1.1",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            RepeatedLength,
        ),
        (
            "1.1",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            RepeatedLength,
        ),
        (
            "1.1",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            LengthAndCoding,
        ),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            LengthAndCoding,
        ),
        ("1.1", "Transfer-Encoding: identity\r\n", Coding),
        ("1.1", "Transfer-Encoding: chunked, gzip\r\n", Coding),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Coding,
        ),
        ("1.1", "Transfer-Encoding: gzip, chunked\r\n", UnknownCoding),
        ("1.0", "Transfer-Encoding: chunked\r\n", CodingInHttp10),
    ];
    for (version, fields, error) in cases {
        for status in ["200", "204", "304"] {
            let error_read = refused(format!("HTTP/{version} {status} x\r\n{fields}\r\n"));
            assert_eq!(
                error_read,
                ResponseError::Framing(error),
                "{version} {status} {fields}"
            );
        }
    }
}

/// RFC 9112 §9.3; what was declared but cannot come makes the rest of the connection doubtful.
#[test]
fn persistence() {
    let cases = [
        ("1.1", "200", "Content-Length: 0\r\n", true),
        (
            "1.1",
            "200",
            "Content-Length: 0\r\nConnection: Close\r\n",
            false,
        ),
        (
            "1.1",
            "200",
            "Content-Length: 0\r\nConnection: \"keep-alive\"\r\n",
            false,
        ),
        ("1.1", "200", "", false),
        ("1.0", "200", "Content-Length: 0\r\n", false),
        (
            "1.0",
            "200",
            "Content-Length: 0\r\nConnection: keep-alive\r\n",
            true,
        ),
        ("1.0", "200", "Connection: keep-alive\r\n", false),
        ("1.1", "204", "", true),
        ("1.1", "204", "Content-Length: 0\r\n", true),
        ("1.1", "204", "Content-Length: 5\r\n", false),
        ("1.1", "204", "Transfer-Encoding: chunked\r\n", false),
        ("1.1", "304", "Content-Length: 5\r\n", true),
    ];
    for (version, status, fields, persistent) in cases {
        let head = read(format!("HTTP/{version} {status} x\r\n{fields}\r\n"));
        assert_eq!(head.persistent, persistent, "{version} {status} {fields}");
    }
}

/// RFC 9110 §7.6.1, §7.8, §15.5.22.
#[test]
fn fields_of_the_connection_stay_behind() {
    let head = read(
        "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: x-hop, upgrade\r\nX-Hop: 1\r\nTE: a\r\n\
         Upgrade: h2,h2c\r\nProxy-Connection: a\r\nContent-Length: 0\r\nTrailer: b\r\n\r\n",
    );
    assert_eq!(
        lines(&head.parts.headers),
        ["a: 1", "content-length: 0", "trailer: b"]
    );
    assert_eq!(head.upgrade, None);

    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n";
    let switched = read(format!("HTTP/1.1 101 x\r\n{upgrade}\r\n"));
    assert_eq!(*switched.upgrade.expect("a protocol"), "websocket");
    assert_eq!(lines(&switched.parts.headers), ["sec-websocket-accept: x"]);
    for text in [
        format!("HTTP/1.0 101 x\r\n{upgrade}\r\n"),
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n".to_owned(),
        "HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
    ] {
        assert_eq!(read(&text).upgrade, None, "{text}");
    }

    let required = read("HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: a/1\r\n\r\n");
    assert_eq!(lines(&required.parts.headers), ["upgrade: a/1"]);
    assert_eq!(required.upgrade, None);
}

#[test]
fn nonsense_and_endless_heads_are_refused_early() {
    let limits = Limits {
        head: 40,
        fields: 2,
    };
    let cases: &[(&[u8], ResponseError)] = &[
        (b"S", ResponseError::Line),
        (b"HTTP/2", ResponseError::Line),
        (b"\r\n", ResponseError::Line),
        (b"HTTP/1.1 700 x\r\n", ResponseError::Status),
        (
            b"HTTP/1.1 200 x\n",
            ResponseError::Field(FieldError::LineEnd),
        ),
        (
            b"HTTP/1.1 200 x\r\nA: b\rc",
            ResponseError::Field(FieldError::LineEnd),
        ),
        (
            b"HTTP/1.1 200 xxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ResponseError::HeadTooLarge,
        ),
        (
            b"HTTP/1.1 200 x\r\nA: bbbbbbbbbbbbbbbbbbbbbb\r\n\r\n",
            ResponseError::HeadTooLarge,
        ),
        (
            b"HTTP/1.1 200 x\r\nA:\r\nB:\r\nC:\r\n\r\n",
            ResponseError::Field(FieldError::TooMany),
        ),
    ];
    for (text, error) in cases {
        let result = parse_response(text, &Method::GET, limits);
        assert_eq!(result.err(), Some(*error), "{}", text.escape_ascii());
    }
    for text in ["", "H", "HTTP/1.", "HTTP/1.1 200 x\r\nA: b\r\n\r"] {
        let result = parse_response(text.as_bytes(), &Method::GET, limits);
        assert!(matches!(result, Ok(None)), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_any_split_reads_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        is_head in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let start: &[u8] = if is_head { b"HTTP/1.1 200 OK\r\nA: b\r\n" } else { b"" };
        let text = [start, &bytes, b"\r\n\r\n"].concat();
        let facts = |result: Result<Option<ResponseHead>, ResponseError>| match result {
            Ok(head) => Ok(head.map(|head| format!("{head:?}"))),
            Err(_) => Err(()),
        };
        let whole = facts(parse_response(&text, &Method::GET, LIMITS));
        let cut = cut.index(text.len());
        let split = match facts(parse_response(&text[..cut], &Method::GET, LIMITS)) {
            Ok(None) => facts(resume_response(&text, cut, &Method::GET, LIMITS)),
            other => other,
        };
        prop_assert_eq!(split, whole);
    }
}
