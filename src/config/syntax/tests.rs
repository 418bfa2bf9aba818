use super::address::{Bind, Endpoint};
use super::*;

/// Which of some texts are refused in a form.
fn refused<'a>(format: &str, texts: &[&'a str]) -> Vec<&'a str> {
    let bad = |text: &&&str| check(format, text, Bounds::default()).is_err();
    texts.iter().filter(bad).copied().collect()
}

#[track_caller]
fn all_good(format: &str, texts: &[&str]) {
    assert_eq!(refused(format, texts), [] as [&str; 0]);
}

#[track_caller]
fn all_bad(format: &str, texts: &[&str]) {
    assert_eq!(refused(format, texts), texts);
}

fn meant(format: &str, text: &str) -> Option<String> {
    check(format, text, Bounds::default())
        .unwrap_err()
        .suggestion
}

#[test]
fn binds() {
    all_good(
        "x-bind",
        &[
            ":8080",
            ":0",
            "0.0.0.0:80",
            "10.0.0.1:65535",
            "[::1]:80",
            "[::]:0",
        ],
    );
    all_bad(
        "x-bind",
        &[
            "",
            ":",
            ":65536",
            ":+80",
            "80:",
            "::1:80",
            "name:80",
            "10.0.0.1:",
            "10.0.0.256:80",
        ],
    );
    assert_eq!(meant("x-bind", "8080"), Some(":8080".into()));
}

#[test]
fn binds_overlap_where_the_kernel_or_a_reader_would_mix_them_up() {
    let bind = |text: &str| address::bind(text).unwrap();
    let overlap = |a: &str, b: &str| {
        assert_eq!(
            bind(a).overlaps(&bind(b)),
            bind(b).overlaps(&bind(a)),
            "{a} {b}"
        );
        bind(a).overlaps(&bind(b))
    };
    assert!(overlap(":80", ":80"));
    assert!(overlap(":80", "10.0.0.1:80"));
    assert!(overlap(":80", "[::]:80"));
    assert!(overlap("0.0.0.0:80", "10.0.0.1:80"));
    assert!(overlap("[::]:80", "[::1]:80"));
    assert!(!overlap("[::]:80", "0.0.0.0:80"));
    assert!(!overlap("10.0.0.1:80", "10.0.0.2:80"));
    assert!(!overlap(":80", ":81"));
    assert!(!overlap(":0", ":0"));
    assert_eq!(bind(":80"), Bind::Every(80));
}

#[test]
fn endpoints() {
    let good = [
        "10.0.0.1:80",
        "[::1]:80",
        "name:80",
        "a_b.svc.cluster.local:1",
        "unix:/run/a.sock",
    ];
    all_good("x-address", &good);
    let bad = [
        "",
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "name",
        "name:",
        ":80",
        "::1:80",
        "[::1]",
        "unix:",
        "unix:a",
        "http://name",
        "a b:80",
        "-a:80",
        "ä:80",
        "name:80/",
        "name:+80",
    ];
    all_bad("x-address", &bad);
    assert_eq!(
        meant("x-address", "https://api.internal/x"),
        Some("api.internal:443".into())
    );
    assert_eq!(
        address::endpoint("A.Example.:80"),
        Ok(Endpoint::Name("a.example".into(), 80))
    );
}

#[test]
fn networks() {
    all_good(
        "x-network",
        &["10.0.0.0/8", "10.1.2.3/8", "::/0", "fd00::/8"],
    );
    all_bad(
        "x-network",
        &["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "all"],
    );
    assert_eq!(meant("x-network", "::1"), Some("::1/128".into()));
}

#[test]
fn hosts() {
    let hosts = [
        "a",
        "api.example.com",
        "API.example.com",
        "10.0.0.1",
        "[::1]",
        "a_b.c",
        "a.example.",
    ];
    all_good("x-host", &hosts);
    all_good("x-host-pattern", &hosts);
    all_good("x-host-pattern", &["*", "*.example.com", "*.a"]);
    let bad = [
        "",
        ".",
        "a..b",
        "-a",
        "a-",
        "a b",
        "a/b",
        "a:80",
        "ä.example",
        "[::1",
        "::1",
        "a*",
    ];
    all_bad("x-host", &bad);
    all_bad("x-host-pattern", &bad);
    all_bad(
        "x-host-pattern",
        &["*.", "*.*.a", "a.*", "*a", "*.10.0.0.1", "*.[::1]"],
    );
    all_bad(
        "x-host",
        &["*", "*.example.com", &"a".repeat(64), &"a.".repeat(128)],
    );
    all_good("x-server-name", &["a", "a_b.c", "*", "*.example.com"]);
    all_bad("x-server-name", &bad);
    all_bad("x-server-name", &["10.0.0.1", "[::1]", "a.*"]);
    all_good("x-protocol", &["h2", "http/1.1", &"a".repeat(255)]);
    all_bad("x-protocol", &["", "h 2", "\n", "ä", &"a".repeat(256)]);
    all_good(
        "x-authority",
        &["a", "a:80", "[::1]:80", "[::1]", "10.0.0.1:80"],
    );
    all_bad(
        "x-authority",
        &["", "a:", "a:b", "a:65536", "a b", "http://a", "u@a"],
    );
}

#[test]
fn paths() {
    let good = [
        "/",
        "/v1",
        "/v1/",
        "/a%20b",
        "/%C3%A4",
        "/a;b=c,d/:e@f",
        "/a.b",
        "/..a",
        "/(a)'!*~",
    ];
    for format in ["x-path", "x-path-pattern", "x-target"] {
        all_good(format, &good);
        all_bad(
            format,
            &[
                "", "a", "/a b", "/ä", "/%", "/%4", "/%zz", "/a#b", "/a\\b", "/a\"b", "/a\n",
            ],
        );
    }
    all_good("x-target", &["/a?b=c&d", "/?"]);
    all_bad("x-path", &["/a?b", "?"]);
    all_good("x-path-pattern", &["=/", "=/v1/ping", "~^/v[0-9]+/", "~"]);
    all_bad(
        "x-path-pattern",
        &["=", "=v1", "~[", "/a/*", "/a/../b", "/./", "/a?b"],
    );
    assert_eq!(meant("x-path-pattern", "=v1"), Some("=/v1".into()));
    assert_eq!(meant("x-path-pattern", "http://a/b"), None);
}

#[test]
fn fields_and_methods() {
    all_good("x-field-name", &["x-a", "X_A.b", "!#$%&'*+-.^_`|~"]);
    all_bad(
        "x-field-name",
        &["", "a b", "a:", ":authority", "ä", "a\0", "a\n"],
    );
    all_good("x-field-value", &["", "a", "a b\tc", "\"a\"; q=1"]);
    all_bad(
        "x-field-value",
        &[" a", "a ", "\ta", "a\r\nb", "a\0", "ä", "\u{7f}"],
    );
    all_good("x-method", &["GET", "PURGE", "M-SEARCH", "get-it"]);
    all_bad("x-method", &["", "get", "Post", "GET ", "G(T"]);
    all_good("x-value-pattern", &["*", "a", "~^a$", "~", ""]);
    all_bad("x-value-pattern", &["~(", "a\n", "~\\p{Nope}"]);
}

#[test]
fn statuses() {
    all_good(
        "x-status-pattern",
        &["1xx", "5xx", "200-200", "200-399", "100-599"],
    );
    all_bad(
        "x-status-pattern",
        &[
            "", "0xx", "6xx", "xx", "200", "399-200", "99-200", "200-600", "2-3",
        ],
    );
}

#[test]
fn requests() {
    let good = [
        "GET http://a/",
        "GET https://a.b:8443/c?d=e",
        "PURGE http://[::1]/",
        "GET http://a",
        "GET http://a?b",
    ];
    all_good("x-request", &good);
    all_bad(
        "x-request",
        &[
            "",
            "GET",
            "GET /",
            "GET ftp://a/",
            "get http://a/",
            "GET http:///",
            "GET http://a b/",
            "GET  http://a/",
        ],
    );
}

#[test]
fn names() {
    all_good("x-name", &["a", "eu-1a", "A_b.c", "0", &"a".repeat(64)]);
    all_bad(
        "x-name",
        &["", "-a", ".a", "_a", "a b", "ä", "a\"", &"a".repeat(65)],
    );
}

#[test]
fn bounds_hold() {
    let within = |format: &str, text: &str, zero: bool, least: u64, most: u64| {
        let bounds = Bounds {
            zero,
            least: Some(least),
            most: Some(most),
        };
        check(format, text, bounds).is_ok()
    };
    assert!(!within("x-time", "0s", false, 0, 0));
    assert!(within("x-time", "0s", true, 0, 0));
    assert!(within("x-size", "1KiB", false, 1024, 2048));
    assert!(within("x-size", "2KiB", false, 1024, 2048));
    assert!(!within("x-size", "1023B", false, 1024, 2048));
    assert!(!within("x-size", "2049B", false, 1024, 2048));
    assert!(check("x-size", "0B", Bounds::default()).is_err());
}

#[test]
fn files() {
    all_good("x-file", &["a", "a.pem", "../a", "/etc/a b.pem", "~a", "ä"]);
    all_bad(
        "x-file",
        &[
            "",
            "/",
            "tls/",
            "a\0b",
            "a\nb",
            "-----BEGIN CERTIFICATE-----",
        ],
    );
}

#[test]
fn expressions_are_bounded() {
    assert!(compile(r"^/v[0-9]+/(users|teams)/[^/]+$").is_ok());
    assert!(compile(r"(\w{100}){100}").is_err());
    assert!(compile(&"(".repeat(10_000)).is_err());
}

/// A mark that no function knows would leave its settings unchecked.
#[test]
fn every_form_that_the_schema_names_is_checked() {
    fn collect(value: &serde_json::Value, formats: &mut Vec<String>) {
        if let Some(format) = value["format"]
            .as_str()
            .filter(|name| name.starts_with("x-"))
        {
            formats.push(format.to_owned());
        }
        let inside = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.values());
        inside.for_each(|value| collect(value, formats));
    }
    let mut formats = Vec::new();
    collect(&crate::config::schema(), &mut formats);
    assert!(formats.len() > 20, "{formats:?}");
    for format in formats {
        // No form has room for NUL.
        assert!(check(&format, "\0", Bounds::default()).is_err(), "{format}");
    }
}
