//! Request lines, targets and hosts.

use http::{StatusCode, Version};

use super::{lines, read, refused};
use crate::http1::{FieldError, RequestError};

/// RFC 9112 §3: one space between three parts, and nothing else.
#[test]
fn request_lines_that_are_refused() {
    let lines: &[&[u8]] = &[
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET / HTTP/1.1 x",
        b"GET /a b HTTP/1.1",
        b"GET /",
        b"GET",
        b"GET ",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b"/ HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"G\x80T / HTTP/1.1",
        b"G\0T / HTTP/1.1",
        b"\x16\x03\x01\x02 / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / Http/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/1.",
        b"GET / HTTP/.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1,1",
        b"GET / HTTP/+1.1",
        b"GET / HTTP /1.1",
        b"GET / HTTPS/1.1",
        b"GET / XTTP/1.1",
        b"GET / HTTP/1.1\r",
        b"GET /\rHTTP/1.1",
        b"GET /\x0bHTTP/1.1",
        b"GET /\x0cHTTP/1.1",
    ];
    for line in lines {
        let error = refused([line, b"\r\nHost: a\r\n\r\n".as_slice()].concat());
        assert_eq!(
            error.status(),
            StatusCode::BAD_REQUEST,
            "{}",
            line.escape_ascii()
        );
    }
}

/// RFC 9110 §2.5, §6.2, §15.6.6.
#[test]
fn versions() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"] {
        let error = refused(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!(error, RequestError::Version, "{version}");
        assert_eq!(error.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    let preface = refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(preface, RequestError::Version);
    let later = read("GET / HTTP/1.9\r\nHost: a\r\n\r\n");
    assert_eq!(later.parts.version, Version::HTTP_11);
    let earlier = read("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(earlier.parts.version, Version::HTTP_10);
}

/// RFC 9110 §9.1: a token, whose case matters; RFC 9112 §3: 501 for one that is too long.
#[test]
fn methods() {
    for method in [
        "GET",
        "get",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~09aZ",
        "UPDATEREDIRECTREF",
    ] {
        let head = read(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.parts.method.as_str(), method);
    }
    let error = refused(format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(33)));
    assert_eq!(error, RequestError::MethodTooLong);
    assert_eq!(error.status(), StatusCode::NOT_IMPLEMENTED);
}

/// RFC 9112 §3.2: the four forms, and what is left of each.
#[test]
fn targets_that_are_read() {
    let cases = [
        ("GET", "/", "/", "h"),
        (
            "GET",
            "/a/../b//c;d=e?f?g/%2F%00",
            "/a/../b//c;d=e?f?g/%2F%00",
            "h",
        ),
        ("GET", "//evil/", "//evil/", "h"),
        ("GET", "/a|b{c}?d=[e]^`\\", "/a|b{c}?d=[e]^`\\", "h"),
        ("GET", "http://a", "/", "a"),
        ("GET", "http://a?b=/c", "/?b=/c", "a"),
        ("GET", "HTTPS://A:443/b?c", "/b?c", "A:443"),
        ("GET", "http://[::1]:80/", "/", "[::1]:80"),
        ("OPTIONS", "*", "*", "h"),
        ("OPTIONS", "http://a:1", "*", "a:1"),
        ("OPTIONS", "http://a/", "/", "a"),
        ("OPTIONS", "http://a?", "/?", "a"),
        ("CONNECT", "a:443", "a:443", "a:443"),
        ("CONNECT", "[::1]:1", "[::1]:1", "[::1]:1"),
    ];
    for (method, target, uri, host) in cases {
        let head = read(format!(
            "{method} {target} HTTP/1.1\r\nA: 1\r\nHost: h\r\nB: 2\r\n\r\n"
        ));
        assert_eq!(head.parts.uri, uri, "{method} {target}");
        let host = format!("host: {host}");
        assert_eq!(
            lines(&head.parts.headers),
            ["a: 1", &host, "b: 2"],
            "{method} {target}"
        );
    }
}

/// RFC 9112 §3.2, RFC 9110 §4.2: no fragment, no raw 8-bit, no userinfo, no other scheme.
#[test]
fn targets_that_are_refused() {
    let cases: &[(&str, &[u8])] = &[
        ("GET", b"a"),
        ("GET", b"a/b"),
        ("GET", b"?a"),
        ("GET", b"*"),
        ("GET", b"*a"),
        ("OPTIONS", b"**"),
        ("GET", b"/a#b"),
        ("GET", b"/#"),
        ("GET", b"http://a/#b"),
        ("GET", b"/\xc3\xa9"),
        ("GET", b"/?\xff"),
        ("GET", b"/a\0"),
        ("GET", b"/a\x7f"),
        ("GET", b"/a\x01"),
        ("GET", b"/<a>"),
        ("GET", b"/?a=\"b\""),
        ("GET", b"a:80"),
        ("GET", b"ftp://a/"),
        ("GET", b"xhttp://a/"),
        ("GET", b"http:/a"),
        ("GET", b"http:a"),
        ("GET", b"://a"),
        ("GET", b"http://"),
        ("GET", b"http:///a"),
        ("GET", b"http://?a"),
        ("GET", b"http://:80/"),
        ("GET", b"http://u@a/"),
        ("GET", b"http://u:p@a/"),
        ("GET", b"http://a:b/"),
        ("GET", b"http://a:65536/"),
        ("GET", b"http://[::1/"),
        ("GET", b"http://a\\b/"),
        ("CONNECT", b"a"),
        ("CONNECT", b"a:"),
        ("CONNECT", b":1"),
        ("CONNECT", b"/"),
        ("CONNECT", b"*"),
        ("CONNECT", b"http://a:1/"),
        ("CONNECT", b"a:1/"),
        ("CONNECT", b"u@a:1"),
        ("CONNECT", b"a:1:1"),
    ];
    for (method, target) in cases {
        let text = [
            method.as_bytes(),
            b" ",
            target,
            b" HTTP/1.1\r\nHost: h\r\n\r\n",
        ]
        .concat();
        assert_eq!(
            refused(&text),
            RequestError::Target,
            "{}",
            target.escape_ascii()
        );
    }
}

/// RFC 9112 §3.2: exactly one `Host` in HTTP/1.1, and well-formed.
#[test]
fn hosts_that_are_refused() {
    let cases: &[(&str, RequestError)] = &[
        ("GET / HTTP/1.1\r\n\r\n", RequestError::HostMissing),
        ("GET http://a/ HTTP/1.1\r\n\r\n", RequestError::HostMissing),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            RequestError::HostRepeated,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n",
            RequestError::HostRepeated,
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            RequestError::HostRepeated,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h:80a\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: h:99999\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
            RequestError::HostMalformed,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
            RequestError::Field(FieldError::Value),
        ),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), *error, "{text}");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }
}

/// RFC 9110 §7.2: what the host of a target without an authority, or of one with its own, may be.
#[test]
fn hosts_that_are_read() {
    for text in [
        "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: \r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a/ HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t a.b_c:80\t\r\n\r\n",
    ] {
        read(text);
    }
    let absolute = read("GET http://a/ HTTP/1.0\r\nB: 1\r\n\r\n");
    assert_eq!(lines(&absolute.parts.headers), ["b: 1", "host: a"]);
}
