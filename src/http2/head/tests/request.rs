//! Requests.

use http::{Method, Version};

use super::{GET, Lines, get_with, is_malformed, request, request_of, text};
use crate::http2::{HeadError, RequestHead};

fn read(lines: Lines<'_>) -> RequestHead {
    request(lines).unwrap_or_else(|error| panic!("{lines:?}: {error}"))
}

#[test]
fn a_request_of_a_browser() {
    let mut lines = GET.to_vec();
    lines.extend([
        ("user-agent", "x"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("content-length", "007"),
    ]);
    let head = read(&lines);
    assert_eq!(head.parts.method, Method::GET);
    assert_eq!(head.parts.version, Version::HTTP_2);
    assert_eq!(head.parts.uri, "/");
    assert_eq!(
        text(&head.parts.headers),
        "Host: example.org|user-agent: x|cookie: a=1; b=2|content-length: 7|"
    );
    assert_eq!(head.length, Some(7));
    assert!(head.te_trailers && head.is_https && !head.ends);
    assert_eq!(head.protocol, None);
}

/// RFC 9113 §8.3: they may come in any order.
#[test]
fn pseudo_fields_in_any_order() {
    let mut lines = GET.to_vec();
    for _ in 0..lines.len() {
        lines.rotate_left(1);
        let head = read(&lines);
        assert_eq!(text(&head.parts.headers), "Host: example.org|");
        assert_eq!(head.parts.uri, "/");
    }
}

#[test]
fn pseudo_fields_that_are_malformed() {
    let (method, scheme) = ((":method", "GET"), (":scheme", "http"));
    let (authority, path) = ((":authority", "a"), (":path", "/"));
    let cases: &[(&str, Lines<'_>)] = &[
        ("§8.3.1 no :method", &[scheme, authority, path]),
        ("§8.3.1 no :scheme", &[method, authority, path]),
        ("§8.3.1 no :path", &[method, scheme, authority]),
        ("§8.3.1 no authority", &[method, scheme, path]),
        ("§8.3 twice", &[method, method, scheme, authority, path]),
        ("§8.3 twice", &[method, scheme, scheme, authority, path]),
        ("§8.3 twice", &[method, scheme, authority, authority, path]),
        ("§8.3 twice", &[method, scheme, authority, path, path]),
        (
            "§8.3 behind a field",
            &[method, scheme, path, ("a", "b"), authority],
        ),
        (
            "§8.3 behind host",
            &[method, scheme, path, ("host", "a"), authority],
        ),
        (
            "§8.3 behind a cookie",
            &[method, scheme, authority, ("cookie", ""), path],
        ),
        (
            "§8.3 unknown",
            &[method, scheme, authority, path, (":a", "b")],
        ),
        (
            "§8.3 unknown",
            &[method, scheme, authority, path, (":", "b")],
        ),
        (
            "§8.3 of a response",
            &[method, scheme, authority, path, (":status", "200")],
        ),
        (
            "§8.2.1 large letters",
            &[(":Method", "GET"), scheme, authority, path],
        ),
        (
            "RFC 8441 §4 not CONNECT",
            &[method, scheme, authority, path, (":protocol", "a")],
        ),
    ];
    for (rule, lines) in cases {
        assert!(is_malformed(&request(lines)), "{rule}: {lines:?}");
    }
}

/// A GET whose pseudo field has this value in place of its own.
fn with(name: &str, value: &str) -> bool {
    let replace = |line: &(&str, &str)| line.0 == name;
    let lines: Vec<(&str, &str)> = GET
        .iter()
        .map(|line| {
            if replace(line) {
                (line.0, value)
            } else {
                *line
            }
        })
        .collect();
    request(&lines).is_ok()
}

#[test]
fn methods() {
    for good in [
        "GET",
        "M-SEARCH",
        "get",
        "A!#$%&'*+-.^_`|~9",
        &"M".repeat(32),
    ] {
        assert!(with(":method", good), "{good}");
    }
    for bad in [
        "",
        "G T",
        " GET",
        "GET ",
        "GE\tT",
        "G:T",
        "G\u{e9}T",
        "(GET)",
        &"M".repeat(33),
    ] {
        assert!(!with(":method", bad), "RFC 9110 §9.1: {bad}");
    }
}

#[test]
fn schemes() {
    for bad in [
        "",
        "HTTP",
        "Https",
        "ftp",
        "http ",
        "http:",
        "https://evil/",
    ] {
        assert!(!with(":scheme", bad), "RFC 9113 §8.3.1: {bad}");
    }
    assert!(with(":scheme", "http"));
}

#[test]
fn paths() {
    for good in [
        "/",
        "/a/b?c=d&e",
        "//a",
        "/%20",
        "/?",
        "/a:b@c",
        "/~'()*",
        "/?a?b",
        "/..",
    ] {
        assert!(with(":path", good), "{good}");
    }
    let bad = [
        "",
        "a",
        "?a",
        "*",
        "**",
        "/a b",
        "/ HTTP/1.1",
        "/#a",
        "/a\tb",
        "/\u{e9}",
        "/\u{7f}",
        "http://a/",
        "a:80",
        "\\",
        " /",
        "/ ",
    ];
    for bad in bad {
        assert!(!with(":path", bad), "RFC 9113 §8.3.1: {bad}");
    }
}

#[test]
fn the_server_itself_is_asked_with_options() {
    let lines = [
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "*"),
    ];
    let head = read(&lines);
    assert_eq!(head.parts.uri.path(), "*");
    assert!(!head.is_https);
}

#[test]
fn authorities() {
    for good in [
        "a",
        "a:80",
        "a:",
        "[::1]:443",
        "127.0.0.1",
        "xn--e9.example",
        "a_b",
    ] {
        assert!(with(":authority", good), "{good}");
        let lines = [GET[0], GET[1], GET[3], ("host", good)];
        assert_eq!(text(&read(&lines).parts.headers), format!("Host: {good}|"));
    }
    let bad = [
        "", ":80", "u@a", "u:p@a", "a b", "a/b", "a?b", "a#b", "a\\b", "a:b", "a:99999", "a,b c",
        "[::1", "\u{e9}", "http://a",
    ];
    for bad in bad {
        assert!(!with(":authority", bad), "RFC 9113 §8.3.1: {bad}");
        let lines = [GET[0], GET[1], GET[3], ("host", bad)];
        assert!(is_malformed(&request(&lines)), "RFC 9110 §7.2: {bad}");
    }
}

/// RFC 9113 §8.3.1: `host` is to say what `:authority` says.
#[test]
fn authority_and_host() {
    let lines = |authority, host| {
        [
            GET[0],
            GET[1],
            (":authority", authority),
            GET[3],
            ("host", host),
        ]
    };
    let same = [
        ("a", "a"),
        ("a", "A"),
        ("A.B", "a.b"),
        ("a", "a:443"),
        ("a:", "a"),
        ("a:0443", "a:443"),
        ("[::1]", "[::1]:443"),
    ];
    for (authority, host) in same {
        let head = read(&lines(authority, host));
        assert_eq!(text(&head.parts.headers), format!("Host: {authority}|"));
    }
    let others = [
        ("a", "b"),
        ("a", "a:80"),
        ("a:80", "a"),
        ("a", ""),
        ("a", "a."),
        ("a", "a,a"),
    ];
    for (authority, host) in others {
        assert!(
            is_malformed(&request(&lines(authority, host))),
            "{authority}, {host}"
        );
    }
}

/// A `host` that stands alone comes first, wherever it stood, and there is one.
#[test]
fn host_alone() {
    let pseudo = [GET[0], GET[1], GET[3]];
    let mut lines = pseudo.to_vec();
    lines.extend([
        ("a", "1"),
        ("cookie", "b"),
        ("host", "h"),
        ("cookie", "c"),
        ("d", "2"),
    ]);
    let expected = "Host: h|a: 1|cookie: b; c|d: 2|";
    assert_eq!(text(&read(&lines).parts.headers), expected);
    lines.push(("host", "h"));
    assert!(
        is_malformed(&request(&lines)),
        "RFC 9112 §3.2: more than one"
    );
    let two = [GET, &[("host", "example.org"), ("host", "example.org")]].concat();
    assert!(is_malformed(&request(&two)), "RFC 9112 §3.2: more than one");
}

/// RFC 9113 §8.2.3: whatever stands between them.
#[test]
fn crumbs_become_one_cookie() {
    let mut lines = GET.to_vec();
    lines.extend([("cookie", "a"), ("x", "1"), ("cookie", "b"), ("y", "2")]);
    lines.extend([("cookie", "c"), ("cookie", ""), ("z", "3")]);
    let expected = "Host: example.org|cookie: a; b; c|x: 1|y: 2|z: 3|";
    assert_eq!(text(&read(&lines).parts.headers), expected);
    let empty = [GET, &[("cookie", ""), ("cookie", "a"), ("cookie", "")]].concat();
    let expected = "Host: example.org|cookie: a|";
    assert_eq!(text(&read(&empty).parts.headers), expected);
    let empty = [GET, &[("cookie", "")]].concat();
    assert_eq!(text(&read(&empty).parts.headers), "Host: example.org|");
}

#[test]
fn fields_of_a_connection_are_malformed() {
    let cases = [
        ("connection", "close"),
        ("connection", "x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", "trailers;q=1"),
        ("te", ""),
    ];
    for (name, value) in cases {
        let read = get_with(name.as_bytes(), value.as_bytes());
        assert!(is_malformed(&read), "RFC 9113 §8.2.2: {name}: {value}");
    }
}

#[test]
fn expectations() {
    let head = get_with(b"expect", b"100-Continue").expect("the one that there is");
    assert_eq!(
        text(&head.parts.headers),
        "Host: example.org|expect: 100-Continue|"
    );
    for other in ["", "200-ok", "100-continue, x"] {
        let refused = get_with(b"expect", other.as_bytes()).map(drop);
        let expected = Err(HeadError::Expectation);
        assert_eq!(refused, expected, "RFC 9110 §10.1.1: {other}");
    }
    // A head that is malformed is nothing else.
    let both = [GET, &[("expect", "200-ok"), ("Upper", "case")]].concat();
    assert!(is_malformed(&request(&both)));
    let both = [GET, &[("expect", "200-ok"), ("content-length", "5")]].concat();
    assert!(is_malformed(&request_of(&both, true)));
}

#[test]
fn names() {
    for good in ["a", "x-1", "!#$%&'*+-.^_`|~", "0"] {
        assert!(get_with(good.as_bytes(), b"").is_ok(), "{good}");
    }
    for byte in 0..=u8::MAX {
        let is_good = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || b"!#$%&'*+-.^_`|~".contains(&byte);
        let name = [b'a', byte, b'a'];
        assert_eq!(
            get_with(&name, b"").is_ok(),
            is_good,
            "RFC 9113 §8.2.1: {byte:#x}"
        );
    }
    assert!(
        is_malformed(&get_with(b"", b"a")),
        "RFC 9113 §8.2.1: no name"
    );
}

#[test]
fn values() {
    for byte in 0..=u8::MAX {
        let is_good = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let value = [b'a', byte, b'a'];
        assert_eq!(
            get_with(b"a", &value).is_ok(),
            is_good,
            "RFC 9110 §5.5: {byte:#x}"
        );
        assert_eq!(
            get_with(b"cookie", &value).is_ok(),
            is_good,
            "RFC 9110 §5.5: {byte:#x}"
        );
    }
    for bad in [" a", "a ", "\ta", "a\t", " ", "\t"] {
        assert!(
            is_malformed(&get_with(b"a", bad.as_bytes())),
            "RFC 9113 §8.2.1: {bad:?}"
        );
        assert!(
            is_malformed(&get_with(b"cookie", bad.as_bytes())),
            "RFC 9113 §8.2.1: {bad:?}"
        );
    }
}

#[test]
fn lengths() {
    let read = |value: &str| get_with(b"content-length", value.as_bytes()).map(|head| head.length);
    assert_eq!(read("0"), Ok(Some(0)));
    assert_eq!(read("18446744073709551615"), Ok(Some(u64::MAX)));
    let bad = [
        "",
        "+1",
        "-1",
        "1,1",
        "1, 1",
        "0x1",
        "1.0",
        "1 1",
        "a",
        "18446744073709551616",
        "\u{661}",
    ];
    for bad in bad {
        assert!(is_malformed(&read(bad)), "RFC 9110 §8.6: {bad}");
    }
    let twice = [GET, &[("content-length", "1"), ("content-length", "1")]].concat();
    assert!(is_malformed(&request(&twice)), "RFC 9112 §6.3: twice");
}

/// RFC 9113 §8.1.1: nothing follows, so nothing may be promised.
#[test]
fn the_end_and_the_length() {
    let with = |length| [GET, &[("content-length", length)]].concat();
    assert!(is_malformed(&request_of(&with("1"), true)));
    let head = request_of(&with("0"), true).expect("it says so twice");
    assert!(head.ends);
    assert_eq!(head.length, Some(0));
    let head = request_of(GET, true).expect("well-formed");
    assert!(head.ends);
    assert_eq!(head.length, None);
    assert_eq!(text(&head.parts.headers), "Host: example.org|");
}

#[test]
fn connect() {
    let (connect, authority) = ((":method", "CONNECT"), (":authority", "a:443"));
    let head = read(&[connect, authority]);
    let target = head.parts.uri.authority();
    assert_eq!(target.map(http::uri::Authority::as_str), Some("a:443"));
    assert_eq!(text(&head.parts.headers), "Host: a:443|");
    let cases: &[(&str, Lines<'_>)] = &[
        ("no authority", &[connect]),
        ("host in its place", &[connect, ("host", "a:443")]),
        ("no port", &[connect, (":authority", "a")]),
        ("an empty port", &[connect, (":authority", "a:")]),
        ("no host", &[connect, (":authority", ":443")]),
        ("a scheme", &[connect, authority, (":scheme", "https")]),
        ("a path", &[connect, authority, (":path", "/")]),
        ("another host", &[connect, authority, ("host", "b:443")]),
        ("a length", &[connect, authority, ("content-length", "1")]),
    ];
    for (what, lines) in cases {
        assert!(is_malformed(&request(lines)), "RFC 9113 §8.5: {what}");
    }
}

/// RFC 8441 §4.
#[test]
fn extended_connect() {
    let whole = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/chat?a"),
    ];
    let head = read(&whole);
    assert_eq!(head.protocol.as_deref(), Some(&b"websocket"[..]));
    assert_eq!(head.parts.uri, "/chat?a");
    assert_eq!(head.parts.method, Method::CONNECT);
    assert_eq!(text(&head.parts.headers), "Host: a|");
    for missing in 2..whole.len() {
        let mut lines = whole.to_vec();
        let (name, _) = lines.remove(missing);
        assert!(is_malformed(&request(&lines)), "without {name}");
    }
    let mut host = whole.to_vec();
    host.remove(3);
    host.push(("host", "a"));
    assert!(
        is_malformed(&request(&host)),
        "host in the place of :authority"
    );
    for bad in ["", "web socket", "a/1", &"a".repeat(33)] {
        let mut lines = whole;
        lines[1].1 = bad;
        assert!(is_malformed(&request(&lines)), ":protocol {bad}");
    }
    let twice = [&whole[..1], &whole[1..2], &whole[1..]].concat();
    assert!(is_malformed(&request(&twice)));
}
