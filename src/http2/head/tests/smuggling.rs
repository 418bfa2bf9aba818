//! What would be one request here and another, or two, where it is written as HTTP/1.1.
//!
//! From the cases that James Kettle ("HTTP/2: The Sequel is Always Worse", 2021) and others have
//! found in proxies.

use super::{GET, Lines, get_with, is_malformed, request, request_of};

/// In place of a field, in each place that a client can put text in.
const INJECTIONS: [&str; 8] = [
    "x\r\nTransfer-Encoding: chunked",
    "x\r\n\r\nGET /admin HTTP/1.1\r\nHost: internal",
    "x\nTransfer-Encoding: chunked",
    "x\rTransfer-Encoding: chunked",
    "x\n\nGET /admin HTTP/1.1",
    "x\0y",
    "x\r\n",
    "\r\nx",
];

#[test]
fn line_ends_nowhere() {
    for injection in INJECTIONS {
        let bytes = injection.as_bytes();
        assert!(
            is_malformed(&get_with(b"a", bytes)),
            "in a value: {injection:?}"
        );
        assert!(
            is_malformed(&get_with(b"cookie", bytes)),
            "in a cookie: {injection:?}"
        );
        assert!(
            is_malformed(&get_with(bytes, b"a")),
            "in a name: {injection:?}"
        );
        assert!(
            is_malformed(&get_with(b"content-length", bytes)),
            "in a length: {injection:?}"
        );
        assert!(
            is_malformed(&get_with(b"te", bytes)),
            "in te: {injection:?}"
        );
        for place in 0..GET.len() {
            let mut lines = GET.to_vec();
            let value = [lines[place].1, injection].concat();
            lines[place].1 = &value;
            assert!(
                is_malformed(&request(&lines)),
                "in {}: {injection:?}",
                lines[place].0
            );
        }
    }
}

/// H2.TE and H2.CL.
#[test]
fn a_second_framing() {
    let cases: &[(&str, Lines<'_>)] = &[
        ("chunked", &[("transfer-encoding", "chunked")]),
        (
            "chunked, spelt otherwise",
            &[("transfer-encoding", "cHuNkEd")],
        ),
        (
            "both",
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
        ),
        ("as a name's end", &[("transfer-encoding ", "chunked")]),
        ("as a name's start", &[(" transfer-encoding", "chunked")]),
        (
            "as a name and a value",
            &[("transfer-encoding: chunked\r\nx", "y")],
        ),
        ("with a colon", &[("transfer-encoding: chunked", "")]),
        ("large letters", &[("Transfer-Encoding", "chunked")]),
        (
            "two lengths",
            &[("content-length", "0"), ("content-length", "10")],
        ),
        (
            "a length in large letters",
            &[("content-length", "0"), ("Content-Length", "10")],
        ),
        ("a list", &[("content-length", "0, 10")]),
        ("a sign", &[("content-length", "+0")]),
        (
            "connection names the length",
            &[("connection", "content-length")],
        ),
    ];
    for (what, extra) in cases {
        let lines = [GET, extra].concat();
        assert!(is_malformed(&request(&lines)), "{what}");
        assert!(
            is_malformed(&request_of(&lines, true)),
            "{what}, without a body"
        );
    }
    let length = [GET, &[("content-length", "30")]].concat();
    assert!(
        is_malformed(&request_of(&length, true)),
        "a length, but no body"
    );
}

/// The line that HTTP/1.1 begins with is made of pseudo fields.
#[test]
fn a_request_line_in_a_pseudo_field() {
    let cases = [
        (":method", "GET /admin HTTP/1.1\r\nHost: a\r\n\r\nGET"),
        (":method", "GET /admin HTTP/1.1"),
        (":method", "GET /admin"),
        (":path", "/ HTTP/1.1\r\nHost: a\r\n\r\nGET /admin"),
        (":path", "/ HTTP/1.1"),
        (":path", "/\tHTTP/1.1"),
        (":path", "/\u{a0}HTTP/1.1"),
        (":path", "@internal/"),
        (":path", ":80/"),
        (":path", "internal/admin"),
        (":path", "http://internal/admin"),
        (":scheme", "http://internal/admin?"),
        (":scheme", "https://a/b?c="),
        (":authority", "a/admin"),
        (":authority", "a:443/admin?"),
        (":authority", "user@internal"),
        (":authority", "a internal"),
        (":authority", "a,internal:x"),
    ];
    for (name, value) in cases {
        let mut lines = GET.to_vec();
        for line in lines.iter_mut().filter(|line| line.0 == name) {
            line.1 = value;
        }
        assert!(is_malformed(&request(&lines)), "{name}: {value}");
    }
}

/// Two hosts, of which two readers take one each.
#[test]
fn two_hosts() {
    let cases: &[Lines<'_>] = &[
        &[("host", "internal")],
        &[("host", "example.org"), ("host", "internal")],
        &[("host", "example.org:8443")],
        &[("host", "")],
        &[(":authority", "internal")],
        &[("Host", "internal")],
        &[("host ", "internal")],
        &[("host\t", "internal")],
    ];
    for extra in cases {
        let lines = [GET, extra].concat();
        assert!(is_malformed(&request(&lines)), "{extra:?}");
    }
}
