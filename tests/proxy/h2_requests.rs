//! Requests of HTTP/2 as one of HTTP/1.1 gets them: what RFC 9113 calls malformed is no request,
//! and what it allows is none that could be read in two ways.

use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::frame::{Frame, code, kind};
use crate::support::h2::{H2, StreamEnd};

type Bytes = &'static [u8];

/// Fields in their order.
type Lines = Vec<(Bytes, Bytes)>;

/// What a request has beside the usual, or instead of it.
type Changes<'a> = &'a [(Bytes, Bytes)];

/// A name, what a request has beside the usual or instead of it, and the request line and fields
/// that come of it: none of a name if the value is empty.
type Case<'a> = (&'a str, Changes<'a>, &'a str, &'a [(&'a str, &'a str)]);

fn before(endpoint: &Endpoint) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{}\"]\n",
        endpoint.address()
    ))
}

/// The usual pseudo-fields, with these in the place of those of the same name, or behind them.
fn lines(changes: &[(Bytes, Bytes)]) -> Lines {
    let mut lines: Lines = vec![
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ];
    for (name, value) in changes {
        match lines[..4].iter_mut().find(|(other, _)| other == name) {
            Some(line) => line.1 = value,
            None => lines.push((name, value)),
        }
    }
    lines
}

/// Each is reset with `PROTOCOL_ERROR`, no byte of it is forwarded, and the connection goes on.
fn assert_malformed(cases: &[(String, Lines)]) {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint);
    let mut failed = Vec::new();
    for (number, (name, lines)) in cases.iter().enumerate() {
        // On a connection of its own: there is a limit to how many one may send.
        let mut client = H2::connect(proxy.address("web"));
        let id = client.open(lines, true);
        let answer = client.message(id);
        if answer.end != StreamEnd::Reset(code::PROTOCOL_ERROR) {
            failed.push(format!("{name}: {answer:?}"));
            continue;
        }
        assert_eq!(client.get("/").text(), "hello", "{name}");
        assert_eq!(client.take_kept(kind::GOAWAY, 0), None, "{name}");
        assert_eq!(endpoint.requests().len(), number + 1 - failed.len());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for request in endpoint.requests() {
        assert_eq!(request.method(), "GET", "{request:?}");
    }
}

/// RFC 9113 §8.2.1, §8.2.2, §10.3.
#[test]
fn malformed_fields_are_no_part_of_any_request() {
    let cases = BAD_FIELDS.iter();
    let cases = cases.map(|(name, field, value)| ((*name).to_owned(), lines(&[(*field, *value)])));
    assert_malformed(&cases.collect::<Vec<_>>());
}

/// RFC 9113 §8.3.
#[test]
fn pseudo_fields_stand_first_once_and_all() {
    let usual = lines(&[]);
    let mut cases = Vec::new();
    for (number, (name, value)) in usual.iter().enumerate() {
        let of = String::from_utf8_lossy(name).into_owned();
        let mut without = usual.clone();
        without.remove(number);
        let mut behind = [&without[..], &[(&b"x"[..], &b"y"[..])]].concat();
        behind.push((name, value));
        let twice = [&usual[..], &[(name, value)]].concat();
        cases.push((format!("no {of}"), without));
        cases.push((format!("{of} behind a field"), behind));
        cases.push((format!("{of} twice"), twice));
    }
    for host in [&b"a"[..], b"b"] {
        let two: Lines = vec![(b"host", b"a"), (b"host", host)];
        cases.push(("two hosts".to_owned(), [&usual[..], &two[..]].concat()));
    }
    let two: Lines = vec![(b"content-length", b"0"), (b"content-length", b"1")];
    cases.push(("two lengths".to_owned(), [&usual[..], &two[..]].concat()));
    assert_malformed(&cases);
}

/// RFC 9113 §8.1.1: a length that is not the body's. The endpoint never has a whole request.
#[test]
fn a_length_that_is_not_the_body_s_is_no_request() {
    let end = |id| Frame::headers(id, &[("x-sum", "1")], true);
    for (name, length, pieces, has_trailers) in [
        ("H2.CL, too short", "10", &["hello"][..], false),
        ("H2.CL, too long", "3", &["hello"], false),
        (
            "H2.CL, of nothing",
            "0",
            &["GET /smuggled HTTP/1.1\r\n\r\n"],
            false,
        ),
        ("H2.CL, by a later piece", "5", &["hell", "o", "!"], false),
        ("H2.CL, with trailers", "10", &["hello"], true),
        ("H2.CL, of no piece", "5", &[], true),
    ] {
        let endpoint = Endpoint::echo();
        let proxy = before(&endpoint);
        let mut client = H2::connect(proxy.address("web"));
        let fields = request_with("POST", "/", &[("content-length", length)]);
        let id = client.open(&fields, false);
        for (number, piece) in pieces.iter().enumerate() {
            let ends = !has_trailers && number + 1 == pieces.len();
            client.send(&Frame::data(id, piece, ends));
        }
        if has_trailers {
            client.send(&end(id));
        }
        client.expect_reset(id, code::PROTOCOL_ERROR);
        client.sync();
        assert!(endpoint.requests().is_empty(), "{name}");
        assert_eq!(client.get("/").status, 200, "{name}");
        let requests = endpoint.requests();
        let targets: Vec<&str> = requests.iter().map(Request::target).collect();
        assert_eq!(targets, ["/"], "{name}");
    }
}

fn assert_translated(cases: &[Case<'_>], body: &str) {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint);
    let mut client = H2::connect(proxy.address("web"));
    for (name, changes, start, fields) in cases {
        let id = client.open(&lines(changes), body.is_empty());
        if !body.is_empty() {
            client.send(&Frame::data(id, body, true));
        }
        let answer = client.message(id);
        assert_eq!(
            (answer.status, answer.end),
            (200, StreamEnd::Whole),
            "{name}"
        );
        let request = endpoint.requests().pop().expect("a request");
        assert_eq!(request.head.start, *start, "{name}");
        assert_eq!(request.body.text(), body, "{name}");
        for (field, value) in *fields {
            let expected: &[&str] = if value.is_empty() { &[] } else { &[value] };
            assert_eq!(request.head.values(field), expected, "{name}");
        }
    }
    assert_eq!(endpoint.requests().len(), cases.len());
}

#[test]
fn what_is_allowed_becomes_what_can_be_read_in_one_way() {
    assert_translated(GOOD, "");
}

/// 0.CL, TE.0 and their like: a body is framed whatever its method (RFC 9112 §6).
#[test]
fn a_body_is_framed_whatever_its_method() {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "X-OWN"] {
        let start = format!("{method} / HTTP/1.1");
        let endpoint = Endpoint::answers("HTTP/1.1 204 No Content\r\n\r\n");
        let proxy = before(&endpoint);
        let mut client = H2::connect(proxy.address("web"));
        let length = SMUGGLED.len().to_string();
        for fields in [
            request(method, "/").to_vec(),
            request_with(method, "/", &[("content-length", &length)]),
        ] {
            let id = client.open(&fields, false);
            client.send(&Frame::data(id, SMUGGLED, true));
            assert_eq!(client.message(id).status, 204, "{method}");
            let request = endpoint.requests().pop().expect("a request");
            assert_eq!(request.head.start, start);
            assert_eq!(request.body.text(), SMUGGLED, "{method}");
        }
        let framings = endpoint.requests();
        let framings: Vec<_> = framings.iter().map(|request| request.chunked).collect();
        assert_eq!(framings, [true, false], "{method}");
    }
}

/// RFC 9110 §6.5.1: trailers say nothing about the message's framing, its target or its client.
#[test]
fn trailers_of_a_request_stay_behind_it() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint);
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request("POST", "/"), false);
    client.send(&Frame::data(id, "body", false));
    let trailers = [
        ("content-length", "1"),
        ("host", "evil"),
        ("authorization", "Basic eA=="),
        ("cookie", "a=b"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-sum", "1"),
    ];
    client.send(&Frame::headers(id, &trailers, true));
    assert_eq!(client.message(id).text(), "hello");
    let request = endpoint.request();
    assert_eq!(
        request.body.trailers,
        [("x-sum".to_owned(), "1".to_owned())]
    );
    assert_eq!(request.head.values("host"), ["a"]);
    assert_eq!(request.head.value("authorization"), None);

    for (name, value) in [
        (&b":path"[..], &b"/"[..]),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"X-Upper", b"1"),
        (b"x", b"1\r\ny: 2"),
    ] {
        let mut client = H2::connect(proxy.address("web"));
        let id = client.open(&self::request("POST", "/"), false);
        client.send(&Frame::data(id, "body", false));
        client.send(&Frame::headers(id, &[(name, value)], true));
        client.expect_reset(id, code::PROTOCOL_ERROR);
        client.sync();
    }
    assert_eq!(endpoint.requests().len(), 1, "no other one was whole");
}

/// RFC 9110 §10.1.1, §7.6.2, §9.3.8, and §8.1.1 of RFC 9113 with a body that nobody reads.
#[test]
fn what_is_answered_here_is_forwarded_to_nobody() {
    let endpoint = Endpoint::says("hello");
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.known]\nhosts = [\"a\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = H2::connect(proxy.address("web"));
    let cases: &[(Changes<'_>, u16)] = &[
        (&[(b":method", b"TRACE")], 405),
        (&[(b":method", b"TRACE"), (b"max-forwards", b"0")], 405),
        (&[(b":method", b"OPTIONS"), (b"max-forwards", b"0")], 200),
        (&[(b":authority", b"unknown")], 404),
        (
            &[(b":authority", b"unknown"), (b"expect", b"100-continue")],
            404,
        ),
    ];
    for (changes, status) in cases {
        let id = client.open(&lines(changes), false);
        client.send(&Frame::data(id, "GET /smuggled HTTP/1.1\r\n\r\n", true));
        let answer = client.message(id);
        assert_eq!(
            (answer.status, answer.end),
            (*status, StreamEnd::Whole),
            "{changes:?}"
        );
        assert!(answer.interim.is_empty(), "{changes:?}");
    }
    assert!(endpoint.requests().is_empty());
}

#[test]
fn a_body_may_wait_until_it_is_asked_for() {
    let endpoint = Endpoint::start(|peer| {
        let Some(head) = peer.head() else { return };
        assert_eq!(head.value("expect"), Some("100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(peer.bytes(5), b"hello");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        peer.drain();
    });
    let proxy = before(&endpoint);
    let mut client = H2::connect(proxy.address("web"));
    let expecting = [("expect", "100-continue"), ("content-length", "5")];
    let id = client.open(&request_with("POST", "/", &expecting), false);
    let interim = client.expect(kind::HEADERS, id);
    assert_eq!(interim.fields[0], (":status".to_owned(), "100".to_owned()));
    client.send(&Frame::data(id, "hello", true));
    assert_eq!(client.message(id).text(), "ok");
}

/// Names of cases, and the field that has no place in a request.
const BAD_FIELDS: &[(&str, Bytes, Bytes)] = &[
    ("H2.TE", b"transfer-encoding", b"chunked"),
    ("H2.TE, identity", b"transfer-encoding", b"identity"),
    ("H2.TE, empty", b"transfer-encoding", b""),
    ("connection", b"connection", b"close"),
    ("keep-alive", b"keep-alive", b"timeout=5"),
    ("proxy-connection", b"proxy-connection", b"keep-alive"),
    ("upgrade", b"upgrade", b"websocket"),
    ("h2c", b"http2-settings", b"AAMAAABkAAQAoAAAAAIAAAAA"),
    ("another te", b"te", b"gzip"),
    ("one te too many", b"te", b"trailers, chunked"),
    ("upper case", b"X-Upper", b"1"),
    ("upper case at the end", b"x-uppeR", b"1"),
    ("empty name", b"", b"1"),
    ("colon at the end", b"x:", b"1"),
    ("a line in a name", b"x: 1\r\ny", b"1"),
    ("LF in a name", b"x\ny", b"1"),
    ("NUL in a name", b"x\0y", b"1"),
    ("space in a name", b"x y", b"1"),
    ("space behind a name", b"transfer-encoding ", b"chunked"),
    ("tab behind a name", b"content-length\t", b"0"),
    ("8 bits in a name", b"x\xff", b"1"),
    ("CRLF in a value", b"x", b"1\r\ntransfer-encoding: chunked"),
    ("LF in a value", b"x", b"1\ny: 2"),
    ("CR in a value", b"x", b"1\ry: 2"),
    ("NUL in a value", b"x", b"1\0"),
    ("space before a value", b"x", b" 1"),
    ("tab behind a value", b"x", b"1\t"),
    ("CRLF in a cookie", b"cookie", b"a=b\r\nx: y"),
    ("length with a sign", b"content-length", b"+0"),
    ("length of another base", b"content-length", b"0x0"),
    ("length in a list", b"content-length", b"0, 1"),
    (
        "length past 64 bits",
        b"content-length",
        b"18446744073709551616",
    ),
    ("length of nothing", b"content-length", b""),
    ("length without a body", b"content-length", b"1"),
    ("another host", b"host", b"b"),
    ("unknown pseudo-field", b":unknown", b"1"),
    ("pseudo-field of a response", b":status", b"200"),
    ("protocol that nobody offered", b":protocol", b"websocket"),
    ("CRLF in :path", b":path", b"/ HTTP/1.1\r\nx: y\r\n\r\n"),
    ("space in :path", b":path", b"/ x"),
    ("NUL in :path", b":path", b"/\0"),
    ("fragment in :path", b":path", b"/#x"),
    ("empty :path", b":path", b""),
    (":path that is none", b":path", b"x"),
    (":path that is a URI", b":path", b"http://b/"),
    ("* for POST", b":path", b"*"),
    (
        "CRLF in :method",
        b":method",
        b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET",
    ),
    ("space in :method", b":method", b"GET /b"),
    ("empty :method", b":method", b""),
    ("the preface", b":method", b"PRI"),
    ("CRLF in :authority", b":authority", b"a\r\nx: y"),
    ("space in :authority", b":authority", b"a b"),
    ("path in :authority", b":authority", b"a/b"),
    ("user in :authority", b":authority", b"u@a"),
    ("no port in :authority", b":authority", b"a:80a"),
    ("half an address", b":authority", b"[::1"),
    ("NUL in :authority", b":authority", b"a\0"),
    ("another :scheme", b":scheme", b"ftp"),
    ("CRLF in :scheme", b":scheme", b"http\r\nx: y"),
    ("empty :scheme", b":scheme", b""),
];

/// What endpoints of HTTP/1.1 get.
const GOOD: &[Case<'static>] = &[
    (
        "no body",
        &[],
        "POST / HTTP/1.1",
        &[
            ("content-length", "0"),
            ("transfer-encoding", ""),
            ("host", "a"),
        ],
    ),
    (
        "no body where none is meant",
        &[(b":method", b"DELETE")],
        "DELETE / HTTP/1.1",
        &[("content-length", ""), ("transfer-encoding", "")],
    ),
    (
        "no body to be stored",
        &[(b":method", b"PUT")],
        "PUT / HTTP/1.1",
        &[("content-length", "0"), ("transfer-encoding", "")],
    ),
    (
        "a cookie in crumbs",
        &[
            (b"cookie", b"a=1"),
            (b"x", b"y"),
            (b"cookie", b"b=2"),
            (b"cookie", b"c=3"),
        ],
        "POST / HTTP/1.1",
        &[("cookie", "a=1; b=2; c=3"), ("x", "y")],
    ),
    (
        "bytes of 8 bits",
        &[(b"x", b"a\xfc\tb")],
        "POST / HTTP/1.1",
        &[("x", "a\u{fc}\tb")],
    ),
    (
        "an empty value",
        &[(b"x-empty", b""), (b"x", b"y")],
        "POST / HTTP/1.1",
        &[("x", "y")],
    ),
    (
        "the same host twice",
        &[(b":authority", b"A.test:80"), (b"host", b"a.test")],
        "POST / HTTP/1.1",
        &[("host", "A.test:80")],
    ),
    (
        "a path and a query as they are",
        &[(b":path", b"//a;b/c%20d?e=%00&f=%0d%0a%2f..")],
        "POST //a;b/c%20d?e=%00&f=%0d%0a%2f.. HTTP/1.1",
        &[],
    ),
    (
        "the server itself",
        &[(b":method", b"OPTIONS"), (b":path", b"*")],
        "OPTIONS * HTTP/1.1",
        &[("host", "a")],
    ),
    (
        "hops that are left",
        &[(b":method", b"OPTIONS"), (b"max-forwards", b"5")],
        "OPTIONS / HTTP/1.1",
        &[("max-forwards", "4")],
    ),
    (
        "trailers that are taken",
        &[(b"te", b"trailers")],
        "POST / HTTP/1.1",
        &[("te", "trailers")],
    ),
    (
        "what an untrusted client says of itself",
        &[
            (b"x-forwarded-for", b"1.2.3.4"),
            (b"x_forwarded_for", b"1.2.3.4"),
            (b"x-forwarded-proto", b"https"),
            (b"x-real-ip", b"1.2.3.4"),
            (b"forwarded", b"for=1.2.3.4"),
        ],
        "POST / HTTP/1.1",
        &[
            ("x-forwarded-for", "127.0.0.1"),
            ("x_forwarded_for", ""),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", ""),
            ("forwarded", ""),
        ],
    ),
    (
        "an underscore is no dash",
        &[
            (b"content_length", b"5"),
            (b"transfer_encoding", b"chunked"),
        ],
        "POST / HTTP/1.1",
        &[("content-length", "0"), ("transfer-encoding", "")],
    ),
];
