//! Request lines, targets, field lines, `Host` and limits (RFC 9112 §2, §3, §5; RFC 9110 §5).
//!
//! Whoever forwards a request that another recipient would read differently takes part in request
//! smuggling. So what is ambiguous is refused, and the connection closed, since nobody knows where
//! the next message would begin.

use crate::cases::{Forwarded, Refusal, assert_forwarded, assert_refused, get, line};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

const BAD: &[u16] = &[400];

#[test]
fn a_request_line_is_exact() {
    let cases: &[Refusal<'_>] = &[
        ("two spaces before the target", line("GET  / HTTP/1.1"), BAD),
        (
            "two spaces before the version",
            line("GET /  HTTP/1.1"),
            BAD,
        ),
        ("a tab instead of a space", line("GET\t/ HTTP/1.1"), BAD),
        ("a tab before the version", line("GET /\tHTTP/1.1"), BAD),
        ("a space before the method", line(" GET / HTTP/1.1"), BAD),
        ("a space at the end", line("GET / HTTP/1.1 "), BAD),
        ("a form feed as a space", line("GET\x0c/ HTTP/1.1"), BAD),
        ("no version", line("GET /"), BAD),
        ("no target", line("GET HTTP/1.1"), BAD),
        ("an empty target", line("GET  HTTP/1.1"), BAD),
        ("only a method", line("GET"), BAD),
        ("a version in lower case", line("GET / http/1.1"), BAD),
        (
            "a version with a leading zero",
            line("GET / HTTP/01.1"),
            BAD,
        ),
        ("a version with two digits", line("GET / HTTP/1.10"), BAD),
        ("a version without a minor one", line("GET / HTTP/1"), BAD),
        ("a version with a comma", line("GET / HTTP/1,1"), BAD),
        ("a version of something else", line("GET / HTTPS/1.1"), BAD),
        ("a version that is a word", line("GET / HTTP/x.y"), BAD),
        ("a major version 2", line("GET / HTTP/2.0"), &[505]),
        ("a major version 3", line("GET / HTTP/3.0"), &[505]),
        ("a major version 0", line("GET / HTTP/0.9"), &[400, 505]),
        ("a method with a slash", line("GE/T / HTTP/1.1"), BAD),
        ("a method with an at sign", line("GE@T / HTTP/1.1"), BAD),
        ("a method with a bracket", line("GET( / HTTP/1.1"), BAD),
        ("a method with a colon", line("GET: / HTTP/1.1"), BAD),
        ("a method with a NUL", line("GE\0T / HTTP/1.1"), BAD),
        ("a method with 8 bits", line(b"GE\xc9T / HTTP/1.1"), BAD),
        (
            "a line feed as its end",
            b"GET / HTTP/1.1\nHost: a\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "a carriage return as its end",
            b"GET / HTTP/1.1\rHost: a\r\n\r\n".to_vec(),
            BAD,
        ),
        ("a carriage return within", line("GET /\rx HTTP/1.1"), BAD),
        (
            "two carriage returns",
            b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "bytes of another protocol",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            &[400, 505],
        ),
    ];
    assert_refused(cases);
}

#[test]
fn a_target_is_one_of_the_four_forms() {
    let cases: &[Refusal<'_>] = &[
        ("a space in the path", line("GET /a b HTTP/1.1"), BAD),
        ("a fragment", line("GET /a#b HTTP/1.1"), BAD),
        ("a fragment at once", line("GET # HTTP/1.1"), BAD),
        (
            "a fragment behind the query",
            line("GET /?a#b HTTP/1.1"),
            BAD,
        ),
        (
            "a fragment in absolute form",
            line("GET http://a/#b HTTP/1.1"),
            BAD,
        ),
        ("8 bits in the path", line(b"GET /\xe9 HTTP/1.1"), BAD),
        ("UTF-8 in the query", line("GET /?a=é HTTP/1.1"), BAD),
        ("a NUL in the path", line("GET /a\0b HTTP/1.1"), BAD),
        ("a control character", line("GET /a\x01b HTTP/1.1"), BAD),
        ("a DEL", line("GET /a\x7fb HTTP/1.1"), BAD),
        ("a path without its slash", line("GET a HTTP/1.1"), BAD),
        (
            "a path that begins with a dot",
            line("GET ../a HTTP/1.1"),
            BAD,
        ),
        ("a query without a path", line("GET ?a HTTP/1.1"), BAD),
        ("an asterisk with GET", line("GET * HTTP/1.1"), BAD),
        ("an authority with GET", line("GET a:80 HTTP/1.1"), BAD),
        ("two asterisks", line("OPTIONS ** HTTP/1.1"), BAD),
    ];
    assert_refused(cases);
}

#[test]
fn a_target_in_absolute_form_is_a_whole_one() {
    let cases: &[Refusal<'_>] = &[
        (
            "an absolute form without a host",
            line("GET http:///a HTTP/1.1"),
            BAD,
        ),
        (
            "an absolute form with user information",
            line("GET http://u@a/ HTTP/1.1"),
            BAD,
        ),
        (
            "an absolute form with a bad port",
            line("GET http://a:8x/ HTTP/1.1"),
            BAD,
        ),
        (
            "an absolute form with an open bracket",
            line("GET http://[::1/ HTTP/1.1"),
            BAD,
        ),
        (
            "an absolute form with one slash",
            line("GET http:/a HTTP/1.1"),
            BAD,
        ),
        (
            "a scheme that nobody speaks",
            line("GET gopher://a/ HTTP/1.1"),
            &[400, 421, 501],
        ),
        (
            "CONNECT with a path",
            line("CONNECT / HTTP/1.1"),
            &[400, 405, 501],
        ),
        (
            "CONNECT with an absolute form",
            line("CONNECT http://a/ HTTP/1.1"),
            &[400, 405, 501],
        ),
    ];
    assert_refused(cases);
}

#[test]
fn a_path_that_servers_read_differently_is_refused() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    for path in [
        "/../a",
        "/a/../b",
        "/a/..",
        "/./a",
        "/%2e%2e/a",
        "/a/%2E./b",
        "/a%2f..%2fb",
        "/a\\b",
        "/..\\a",
        "/a%00b",
        "/a%0d%0ab",
        "/a%0ab",
    ] {
        let mut client = proxy.client();
        client.send(line(format!("GET {path} HTTP/1.1")));
        assert_eq!(client.response().status, 400, "{path}");
    }
    assert!(endpoint.requests().is_empty());
}

#[test]
fn a_target_is_forwarded_in_the_form_in_which_it_was_routed() {
    let host = "host: a";
    let cases: &[Forwarded<'_>] = &[
        (
            "a path and a query",
            line("GET /a/b?c=d&e HTTP/1.1"),
            &["GET /a/b?c=d&e HTTP/1.1", host],
        ),
        (
            "an empty query",
            line("GET /a? HTTP/1.1"),
            &["GET /a? HTTP/1.1", host],
        ),
        (
            "question marks in the query",
            line("GET /?a=?b HTTP/1.1"),
            &["GET /?a=?b HTTP/1.1", host],
        ),
        (
            "a slash in percent",
            line("GET /a%2Fb HTTP/1.1"),
            &["GET /a%2Fb HTTP/1.1", host],
        ),
        (
            "two slashes",
            line("GET //a//b HTTP/1.1"),
            &["GET //a//b HTTP/1.1", host],
        ),
        (
            "a parameter",
            line("GET /a;b=c HTTP/1.1"),
            &["GET /a;b=c HTTP/1.1", host],
        ),
        (
            "every other character",
            line("GET /-._~!$&'()*+,;=:@ HTTP/1.1"),
            &["GET /-._~!$&'()*+,;=:@ HTTP/1.1", host],
        ),
        (
            "a server as a whole",
            line("OPTIONS * HTTP/1.1"),
            &["OPTIONS * HTTP/1.1", host],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn an_absolute_target_is_taken_apart() {
    let host = "host: a";
    let cases: &[Forwarded<'_>] = &[
        (
            "an absolute form",
            line("GET http://b/c?d HTTP/1.1"),
            &["GET /c?d HTTP/1.1", "host: b"],
        ),
        (
            "an absolute form in capitals",
            line("GET HTTP://b/c HTTP/1.1"),
            &["GET /c HTTP/1.1", "host: b"],
        ),
        (
            "an absolute form with a port",
            line("GET http://b:81/c HTTP/1.1"),
            &["GET /c HTTP/1.1", "host: b:81"],
        ),
        (
            "an absolute form without a path",
            line("GET http://b HTTP/1.1"),
            &["GET / HTTP/1.1", "host: b"],
        ),
        (
            "an absolute form with only a query",
            line("GET http://b?c HTTP/1.1"),
            &["GET /?c HTTP/1.1", "host: b"],
        ),
        (
            "a server as a whole, in absolute form",
            line("OPTIONS http://b HTTP/1.1"),
            &["OPTIONS * HTTP/1.1", "host: b"],
        ),
        (
            "a method that nobody knows",
            line("BREW /pot HTTP/1.1"),
            &["BREW /pot HTTP/1.1", host],
        ),
        (
            "a method in lower case is another",
            line("get / HTTP/1.1"),
            &["get / HTTP/1.1", host],
        ),
        (
            "a method of odd characters",
            line("A!#$%&'*+-.^_`|~1 / HTTP/1.1"),
            &["A!#$%&'*+-.^_`|~1 / HTTP/1.1", host],
        ),
        (
            "an empty line before it",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            &["GET / HTTP/1.1", host],
        ),
        (
            "a later minor version",
            line("GET / HTTP/1.2"),
            &["GET / HTTP/1.1", host],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn a_field_line_is_exact() {
    let cases: &[Refusal<'_>] = &[
        ("a space before the colon", get("X-A : b"), BAD),
        ("a tab before the colon", get("X-A\t: b"), BAD),
        (
            "a space before the first field",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "a space before a first field that hides another",
            b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n".to_vec(),
            BAD,
        ),
        ("a folded line", get("X-A: b\r\n c"), BAD),
        ("a line folded with a tab", get("X-A: b\r\n\tc"), BAD),
        ("an empty line folded", get("X-A: b\r\n "), BAD),
        ("an empty name", get(": b"), BAD),
        ("no colon", get("X-A"), BAD),
        ("a space in the name", get("X A: b"), BAD),
        ("8 bits in the name", get(b"X-\xc9: b"), BAD),
        ("a NUL in the name", get("X-\0A: b"), BAD),
        ("a control character in the name", get("X-\x0bA: b"), BAD),
        ("a bracket in the name", get("X(A): b"), BAD),
        ("a quote in the name", get("\"X\": b"), BAD),
        ("a slash in the name", get("X/A: b"), BAD),
        ("an at sign in the name", get("X@A: b"), BAD),
    ];
    assert_refused(cases);
}

#[test]
fn a_field_value_has_no_control_characters() {
    let cases: &[Refusal<'_>] = &[
        ("a NUL in the value", get("X-A: b\0c"), BAD),
        ("a carriage return in the value", get("X-A: b\rc"), BAD),
        (
            "a carriage return at the end of the value",
            get("X-A: b\r"),
            BAD,
        ),
        ("a line feed as the end", get("X-A: b\nX-B: c"), BAD),
        (
            "a line feed as the end of the head",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n".to_vec(),
            BAD,
        ),
        (
            "line feeds everywhere",
            b"GET / HTTP/1.1\nHost: a\n\n".to_vec(),
            BAD,
        ),
        ("a vertical tab in the value", get("X-A: b\x0bc"), BAD),
        ("a DEL in the value", get("X-A: b\x7fc"), BAD),
        ("an escape in the value", get("X-A: b\x1b[0m"), BAD),
    ];
    assert_refused(cases);
}

#[test]
fn a_field_line_is_forwarded_as_it_was_meant() {
    let start = "GET / HTTP/1.1";
    let host = "host: a";
    let cases: &[Forwarded<'_>] = &[
        ("no space", get("X-A:b"), &[start, host, "x-a: b"]),
        ("much space", get("X-A: \t b \t "), &[start, host, "x-a: b"]),
        (
            "space within",
            get("X-A: b  c"),
            &[start, host, "x-a: b  c"],
        ),
        (
            "a tab within",
            get("X-A: b\tc"),
            &[start, host, "x-a: b\tc"],
        ),
        ("nothing", get("X-A:"), &[start, host, "x-a: "]),
        ("only space", get("X-A:   "), &[start, host, "x-a: "]),
        ("colons", get("X-A: b:c: d"), &[start, host, "x-a: b:c: d"]),
        (
            "8 bits",
            get(b"X-A: caf\xe9"),
            &[start, host, "x-a: caf\u{e9}"],
        ),
        ("UTF-8", get("X-A: é"), &[start, host, "x-a: \u{c3}\u{a9}"]),
        (
            "quotes",
            get("X-A: \"b, c\""),
            &[start, host, "x-a: \"b, c\""],
        ),
        (
            "several of a name, in order",
            get("X-A: 1\r\nX-B: 2\r\nx-a: 3"),
            &[start, host, "x-a: 1", "x-b: 2", "x-a: 3"],
        ),
        (
            "every character of a name",
            get("!#$%&'*+-.^_`|~a0: b"),
            &[start, host, "!#$%&'*+-.^_`|~a0: b"],
        ),
        (
            "cookies, not merged",
            get("Cookie: a=1\r\nCookie: b=2"),
            &[start, host, "cookie: a=1", "cookie: b=2"],
        ),
        (
            "credentials",
            get("Authorization: Basic YTpi"),
            &[start, host, "authorization: Basic YTpi"],
        ),
        (
            "an underscore is no dash",
            get("Content_Length: 5"),
            &[start, host, "content_length: 5"],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn a_host_is_one_and_exact() {
    let host = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n").into_bytes();
    let cases: &[Refusal<'_>] = &[
        ("none", host("X-A: b"), BAD),
        ("two", host("Host: a\r\nHost: b"), BAD),
        ("two that are equal", host("Host: a\r\nHost: a"), BAD),
        ("two in different case", host("Host: a\r\nhOST: b"), BAD),
        ("a list", host("Host: a, b"), BAD),
        ("a space", host("Host: a b"), BAD),
        ("a slash", host("Host: a/b"), BAD),
        ("user information", host("Host: u@a"), BAD),
        ("a word as its port", host("Host: a:80a"), BAD),
        ("a negative port", host("Host: a:-80"), BAD),
        ("two ports", host("Host: a:80:80"), BAD),
        ("a port too large", host("Host: a:65536"), BAD),
        ("an open bracket", host("Host: [::1"), BAD),
        ("a closing bracket", host("Host: ::1]"), BAD),
        ("an IPv6 address without brackets", host("Host: ::1"), BAD),
        ("something behind the bracket", host("Host: [::1]a"), BAD),
        ("no address in the brackets", host("Host: [a]"), BAD),
        ("a NUL", host("Host: a\0b"), BAD),
        ("a question mark", host("Host: a?b"), BAD),
        ("a hash", host("Host: a#b"), BAD),
        ("a backslash", host("Host: a\\b"), BAD),
        ("a quote", host("Host: \"a\""), BAD),
        ("a scheme", host("Host: http://a"), BAD),
        ("only a port", host("Host: :80"), BAD),
        ("8 bits", host("Host: é"), BAD),
        ("a bad percent", host("Host: a%zz"), BAD),
        (
            "none in absolute form",
            b"GET http://a/ HTTP/1.1\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "two in absolute form",
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "a bad one in absolute form",
            b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(),
            BAD,
        ),
        (
            "two in HTTP/1.0",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            BAD,
        ),
    ];
    assert_refused(cases);
}

#[test]
fn a_good_host_is_forwarded() {
    let start = "GET / HTTP/1.1";
    let host = |value: &str| format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n").into_bytes();
    let cases: &[Forwarded<'_>] = &[
        (
            "a name",
            host("www.example.com"),
            &[start, "host: www.example.com"],
        ),
        (
            "a name and a port",
            host("example.com:8080"),
            &[start, "host: example.com:8080"],
        ),
        (
            "a name in capitals",
            host("EXAMPLE.com"),
            &[start, "host: EXAMPLE.com"],
        ),
        (
            "an underscore",
            host("a_b.example.com"),
            &[start, "host: a_b.example.com"],
        ),
        (
            "an IPv4 address",
            host("192.0.2.1"),
            &[start, "host: 192.0.2.1"],
        ),
        (
            "an IPv6 address",
            host("[2001:db8::1]"),
            &[start, "host: [2001:db8::1]"],
        ),
        (
            "an IPv6 address and a port",
            host("[::1]:80"),
            &[start, "host: [::1]:80"],
        ),
        (
            "a target that says otherwise",
            line("GET http://b/ HTTP/1.1"),
            &[start, "host: b"],
        ),
        ("space around it", host("  a\t"), &[start, "host: a"]),
    ];
    assert_forwarded(cases);
}

#[test]
fn a_head_has_limits() {
    let long = "x".repeat(20_000);
    let fields = |count: usize| {
        let lines: Vec<String> = (0..count).map(|at| format!("X-{at}: a")).collect();
        get(lines.join("\r\n"))
    };
    let many = format!("X-A: {}", "b".repeat(5_000));
    let cases: &[Refusal<'_>] = &[
        (
            "a long target",
            line(format!("GET /{long} HTTP/1.1")),
            &[414],
        ),
        (
            "a long query",
            line(format!("GET /?{long} HTTP/1.1")),
            &[414],
        ),
        (
            "a long method",
            line(format!("{long} / HTTP/1.1")),
            &[400, 414, 431, 501],
        ),
        ("a long value", get(format!("X-A: {long}")), &[431]),
        ("a long name", get(format!("{long}: a")), &[431]),
        (
            "a long head of short fields",
            get([many.as_str(); 4].join("\r\n")),
            &[431],
        ),
        ("many fields", fields(150), &[431]),
        ("very many fields", fields(10_000), &[431]),
        (
            "a huge value",
            get(format!("X-A: {}", "b".repeat(1_000_000))),
            &[431],
        ),
    ];
    assert_refused(cases);
}

#[test]
fn a_head_below_the_limits_is_forwarded() {
    let value = "b".repeat(12_000);
    let path = "c".repeat(8_000);
    let lines: Vec<String> = (0..90).map(|at| format!("x-{at:02}: a")).collect();
    let mut many = vec!["GET / HTTP/1.1", "host: a"];
    many.extend(lines.iter().map(String::as_str));
    let long_value = format!("x-a: {value}");
    let long_line = format!("GET /{path} HTTP/1.1");
    let cases: &[Forwarded<'_>] = &[
        (
            "a value of 12 kB",
            get(format!("X-A: {value}")),
            &["GET / HTTP/1.1", "host: a", &long_value],
        ),
        (
            "a target of 8 kB",
            line(&long_line),
            &[&long_line, "host: a"],
        ),
        ("90 fields", get(lines.join("\r\n")), &many),
    ];
    assert_forwarded(cases);
}
