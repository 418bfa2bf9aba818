//! What is written, to the byte.

use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::{
    RequestOptions, ResponseOptions, encode_chunk_head, encode_chunk_tail, encode_interim,
    encode_last_chunk, encode_request, encode_response,
};
use crate::http1::{Framing, ResponseFraming};
use crate::message::{Fields, RequestParts, ResponseParts, Value};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().expect(value));
    }
    map
}

fn request(method: Method, uri: &str, fields: &[(&'static str, &'static str)]) -> RequestParts {
    RequestParts {
        method,
        uri: uri.parse::<Uri>().expect(uri),
        version: Version::HTTP_11,
        headers: Fields::from(&map(&[&[("host", "a")], fields].concat())),
    }
}

fn response(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseParts {
    ResponseParts {
        status: StatusCode::from_u16(status).expect("a status"),
        version: Version::HTTP_11,
        headers: Fields::from(&map(fields)),
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before ".to_vec();
    write(&mut out);
    String::from_utf8(out)
        .expect("ASCII")
        .split_off("before ".len())
}

fn plain(parts: &RequestParts, framing: Framing) -> String {
    text(|out| encode_request(out, parts, framing, RequestOptions::default()))
}

fn answer(parts: &ResponseParts, framing: ResponseFraming, options: ResponseOptions<'_>) -> String {
    text(|out| encode_response(out, parts, framing, options))
}

/// Fields that only a mistake or an attack puts among the fields.
const HOP: &[(&str, &str)] = &[
    ("connection", "close, a"),
    ("keep-alive", "5"),
    ("proxy-connection", "close"),
    ("te", "gzip"),
    ("transfer-encoding", "gzip"),
    ("http2-settings", "a"),
    ("upgrade", "h2c"),
];

#[test]
fn a_number_is_told_where_it_is_written_plainly() {
    let is =
        |text: &'static [u8], number| super::is_number(Value::new(text).expect("a value"), number);
    for number in [0, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX] {
        let text: &[u8] = number.to_string().leak().as_bytes();
        assert!(is(text, number), "{number}");
        assert!(!is(text, number ^ 1), "{number}");
    }
    for (text, number) in [
        (&b""[..], 0),
        (b"00", 0),
        (b"05", 5),
        (b"15", 5),
        (b"5", 15),
        (b"+5", 5),
        (b"5 ", 5),
        (b"18446744073709551616", 0),
    ] {
        assert!(!is(text, number), "{text:?}");
    }
}

#[test]
fn request_lines() {
    for (method, uri, line) in [
        (Method::GET, "/a?b=c", "GET /a?b=c"),
        (Method::OPTIONS, "*", "OPTIONS *"),
        (Method::CONNECT, "a:1", "CONNECT a:1"),
        (Method::GET, "http://a/b", "GET /b"),
        (Method::GET, "http://a", "GET /"),
    ] {
        let written = plain(&request(method, uri, &[]), Framing::None);
        assert_eq!(written, format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n"));
    }
}

#[test]
fn fields_keep_their_order_and_the_connection_s_are_left_out() {
    let mut fields = vec![("x-b", "1")];
    fields.extend_from_slice(HOP);
    fields.extend_from_slice(&[("accept", "*/*"), ("x-b", "2"), ("expect", "100-continue")]);
    let parts = request(Method::GET, "/", &fields);
    assert_eq!(
        plain(&parts, Framing::None),
        "GET / HTTP/1.1\r\nhost: a\r\nx-b: 1\r\nx-b: 2\r\naccept: */*\r\n\
         expect: 100-continue\r\n\r\n"
    );
}

#[test]
fn a_request_is_framed_once() {
    let with = request(
        Method::POST,
        "/",
        &[("content-length", "7"), ("content-length", "8"), ("a", "b")],
    );
    let without = request(Method::POST, "/", &[("a", "b")]);
    let line = "POST / HTTP/1.1\r\nhost: a\r\n";
    for (parts, framing, fields) in [
        (&with, Framing::Length(7), "content-length: 7\r\na: b\r\n"),
        (&with, Framing::Length(5), "a: b\r\nContent-Length: 5\r\n"),
        (
            &without,
            Framing::Length(5),
            "a: b\r\nContent-Length: 5\r\n",
        ),
        (
            &without,
            Framing::Length(0),
            "a: b\r\nContent-Length: 0\r\n",
        ),
        (
            &with,
            Framing::Chunked,
            "a: b\r\nTransfer-Encoding: chunked\r\n",
        ),
        (&with, Framing::None, "a: b\r\n"),
        (&with, Framing::UntilClose, "a: b\r\n"),
    ] {
        assert_eq!(
            plain(parts, framing),
            format!("{line}{fields}\r\n"),
            "{framing:?}"
        );
    }
}

/// RFC 9112 §3.2.
#[test]
fn a_request_has_one_host() {
    let mut parts = request(Method::GET, "/", &[("host", "b")]);
    assert_eq!(
        plain(&parts, Framing::None),
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    );
    parts.headers = Fields::new();
    assert_eq!(
        plain(&parts, Framing::None),
        "GET / HTTP/1.1\r\nHost: \r\n\r\n"
    );
}

/// RFC 9110 §7.8, §10.1.4: each names its field in `Connection`.
#[test]
fn what_a_request_asks_of_its_connection() {
    let parts = request(Method::GET, "/", &[]);
    let websocket = "websocket".parse().expect("a value");
    for (upgrade, te_trailers, fields) in [
        (None, true, "Connection: TE\r\nTE: trailers\r\n"),
        (
            Some(&websocket),
            false,
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
        ),
        (
            Some(&websocket),
            true,
            "Connection: upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n",
        ),
    ] {
        let options = RequestOptions {
            upgrade,
            te_trailers,
        };
        let written = text(|out| encode_request(out, &parts, Framing::None, options));
        assert_eq!(
            written,
            format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
        );
    }
}

#[test]
fn status_lines() {
    for (status, line) in [
        (200, "HTTP/1.1 200 OK\r\n\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\n\r\n"),
        (299, "HTTP/1.1 299 \r\n\r\n"),
    ] {
        let parts = response(status, &[]);
        let written = answer(
            &parts,
            ResponseFraming::Bodiless,
            ResponseOptions::default(),
        );
        assert_eq!(written, line);
    }
}

#[test]
fn a_response_is_framed_once() {
    use ResponseFraming::{Bodiless, Chunked, Length, UntilClose};
    let mut fields = vec![
        ("a", "b"),
        ("content-length", "7"),
        ("content-length", "8"),
        ("c", "d"),
    ];
    fields.extend_from_slice(HOP);
    for (status, framing, expected) in [
        (200, Length(7), "a: b\r\ncontent-length: 7\r\nc: d\r\n"),
        (200, Length(5), "a: b\r\nc: d\r\nContent-Length: 5\r\n"),
        (
            200,
            Chunked,
            "a: b\r\nc: d\r\nTransfer-Encoding: chunked\r\n",
        ),
        (200, UntilClose, "a: b\r\nc: d\r\nConnection: close\r\n"),
        (200, Bodiless, "a: b\r\ncontent-length: 7\r\nc: d\r\n"),
        (304, Bodiless, "a: b\r\ncontent-length: 7\r\nc: d\r\n"),
        (304, Chunked, "a: b\r\ncontent-length: 7\r\nc: d\r\n"),
        (204, Bodiless, "a: b\r\nc: d\r\n"),
        (204, Length(0), "a: b\r\nc: d\r\n"),
        (204, UntilClose, "a: b\r\nc: d\r\n"),
    ] {
        let written = answer(
            &response(status, &fields),
            framing,
            ResponseOptions::default(),
        );
        let (_, written) = written.split_once("\r\n").expect("a status line");
        assert_eq!(written, format!("{expected}\r\n"), "{status} {framing:?}");
    }
    let parts = response(200, &[]);
    let written = answer(&parts, Length(0), ResponseOptions::default());
    assert_eq!(written, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

/// RFC 9112 §9.3, §9.6; RFC 9110 §2.5 for the version.
#[test]
fn what_a_response_says_of_its_connection() {
    let http_10 = Version::HTTP_10;
    let websocket = "websocket".parse().expect("a value");
    let default = ResponseOptions::default();
    let closing = ResponseOptions {
        close: true,
        ..default
    };
    let old = ResponseOptions {
        version: http_10,
        ..default
    };
    let old_kept = ResponseOptions {
        keep_alive_1_0: true,
        ..old
    };
    let switching = ResponseOptions {
        upgrade: Some(&websocket),
        ..default
    };
    let (length, close) = (ResponseFraming::Length(0), ResponseFraming::UntilClose);
    for (options, framing, expected) in [
        (default, length, ""),
        (default, close, "Connection: close\r\n"),
        (closing, length, "Connection: close\r\n"),
        (old, length, "Connection: close\r\n"),
        (old_kept, length, "Connection: keep-alive\r\n"),
        (old_kept, close, "Connection: close\r\n"),
        (
            ResponseOptions {
                close: true,
                ..old_kept
            },
            length,
            "Connection: close\r\n",
        ),
    ] {
        let written = answer(&response(200, &[]), framing, options);
        let connection = written.replace("Content-Length: 0\r\n", "");
        assert_eq!(
            connection,
            format!("HTTP/1.1 200 OK\r\n{expected}\r\n"),
            "{options:?}"
        );
    }
    assert_eq!(
        answer(
            &response(101, &[("a", "b")]),
            ResponseFraming::Bodiless,
            switching
        ),
        "HTTP/1.1 101 Switching Protocols\r\na: b\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
    // RFC 9110 §15.5.22.
    let required = response(426, &[("upgrade", "a/1")]);
    assert_eq!(
        answer(&required, length, closing),
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: a/1\r\nContent-Length: 0\r\n\
         Connection: close, upgrade\r\n\r\n"
    );
}

/// RFC 9110 §15.2, §8.6.
#[test]
fn interim_responses() {
    let mut fields = vec![("link", "</a>"), ("content-length", "5")];
    fields.extend_from_slice(HOP);
    let written = text(|out| encode_interim(out, &response(103, &fields)));
    assert_eq!(written, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    let written = text(|out| encode_interim(out, &response(100, &[])));
    assert_eq!(written, "HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn chunks() {
    for (length, head) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0x1234, "1234\r\n"),
        (64 * 1024, "10000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(text(|out| encode_chunk_head(out, length)), head);
    }
    assert_eq!(text(encode_chunk_tail), "\r\n");
    assert_eq!(text(|out| encode_last_chunk(out, None)), "0\r\n\r\n");
    let trailers = map(&[
        ("a", "b"),
        ("content-length", "5"),
        ("host", "c"),
        ("a", "d"),
    ]);
    let written = text(|out| encode_last_chunk(out, Some(&trailers)));
    assert_eq!(written, "0\r\na: b\r\na: d\r\n\r\n");
}
