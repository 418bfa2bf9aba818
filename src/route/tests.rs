use http::HeaderName;

use super::*;
use crate::config::{CertificateMatch, Route};
use crate::message::{Fields, Value};

fn route(hosts: &[&str], path: &str) -> Route {
    Route {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        path: Some(path.to_owned()),
        ..Route::default()
    }
}

fn table(routes: &[(&'static str, Route)]) -> RouteTable<&'static str> {
    let rule = |(name, route): &(&'static str, Route)| (Rule::new(name, route).unwrap(), *name);
    RouteTable::build(routes.iter().map(rule).collect())
}

/// The question that a target such as `example.com/path?query` asks, without fields.
fn ask<R>(method: &str, target: &str, answer: impl FnOnce(&Question<'_>) -> R) -> R {
    let (host, rest) = target.split_at(target.find('/').unwrap_or(target.len()));
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    answer(&Question {
        host,
        path,
        query,
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        headers: &Fields::new(),
    })
}

fn found(table: &RouteTable<&'static str>, target: &str) -> Option<(&'static str, usize)> {
    ask("GET", target, |question| {
        table
            .find(question)
            .map(|found| (*found.target, found.prefix))
    })
}

fn winner(table: &RouteTable<&'static str>, target: &str) -> Option<&'static str> {
    found(table, target).map(|(name, _)| name)
}

#[test]
fn an_exact_host_wins_over_the_longest_wildcard_and_that_over_any_host() {
    let table = table(&[
        ("any", route(&[], "=/deep/exact/path")),
        ("short", route(&["*.example.com"], "/deep/exact")),
        ("long", route(&["*.a.example.com"], "/deep")),
        ("exact", route(&["x.a.example.com"], "/")),
    ]);
    assert_eq!(
        winner(&table, "x.a.example.com/deep/exact/path"),
        Some("exact")
    );
    assert_eq!(
        winner(&table, "y.a.example.com/deep/exact/path"),
        Some("long")
    );
    assert_eq!(
        winner(&table, "y.z.a.example.com/deep/exact/path"),
        Some("long")
    );
    assert_eq!(
        winner(&table, "b.example.com/deep/exact/path"),
        Some("short")
    );
    assert_eq!(winner(&table, "example.com/deep/exact/path"), Some("any"));
    // What the more specific host has no path for, falls to the next.
    assert_eq!(winner(&table, "y.a.example.com/deep/exact"), Some("long"));
    assert_eq!(winner(&table, "b.example.com/other"), None);
}

#[test]
fn hosts_are_compared_without_case_port_and_trailing_dot() {
    let table = table(&[
        ("name", route(&["API.Example.com."], "/")),
        ("v6", route(&["[::1]"], "/")),
        ("below", route(&["*.Example.ORG"], "/")),
    ]);
    for host in [
        "api.example.com",
        "API.EXAMPLE.COM",
        "api.example.com.",
        "api.Example.com.:443",
    ] {
        assert_eq!(winner(&table, &format!("{host}/")), Some("name"), "{host}");
    }
    assert_eq!(winner(&table, "[::1]:8080/"), Some("v6"));
    assert_eq!(winner(&table, "[::1]/"), Some("v6"));
    assert_eq!(winner(&table, "A.example.org:80/"), Some("below"));
    for host in [
        "example.org",
        ".example.org",
        "badexample.org",
        "api.example.com.evil",
    ] {
        assert_eq!(winner(&table, &format!("{host}/")), None, "{host}");
    }
    let endless = format!("{}.example.org/", "a.".repeat(200));
    assert_eq!(winner(&table, &endless), None, "longer than a name can be");
}

#[test]
fn prefixes_end_on_segment_borders_and_ignore_one_trailing_slash() {
    for written in ["/v1", "/v1/"] {
        let table = table(&[("v1", route(&[], written))]);
        for path in ["/v1", "/v1/", "/v1/users", "/v1//"] {
            assert_eq!(
                found(&table, path),
                Some(("v1", 3)),
                "{written} takes {path}"
            );
        }
        for path in ["/v10", "/v", "/", "/V1", "/v1%2Fusers", "/v1;x", "//v1"] {
            assert_eq!(found(&table, path), None, "{written} leaves {path}");
        }
    }
}

#[test]
fn the_root_prefix_alone_takes_targets_without_a_path() {
    let all = table(&[("all", route(&[], "/"))]);
    let some = table(&[("some", route(&[], "/x"))]);
    for path in ["/", "/x", "//", "*", ""] {
        let question = Question {
            host: "h",
            path,
            query: None,
            method: &Method::OPTIONS,
            headers: &Fields::new(),
        };
        assert_eq!(
            all.find(&question).map(|found| found.prefix),
            Some(0),
            "{path}"
        );
        assert_eq!(some.find(&question).is_some(), path == "/x", "{path}");
    }
}

#[test]
fn what_the_certificate_must_say_counts_before_fields() {
    let by_certificate = Route {
        client_certificate: CertificateMatch {
            san: Some("DNS:a".to_owned()),
            ..CertificateMatch::default()
        },
        ..Route::default()
    };
    let by_fields = Route {
        headers: [("a", "*"), ("b", "*")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Route::default()
    };
    let routes = [("certificate", by_certificate), ("fields", by_fields)];
    let table = table(&routes);
    for (san, winner) in [
        ("\"DNS:b\", \"DNS:a\"", "certificate"),
        ("\"DNS:b\"", "fields"),
    ] {
        let mut headers = Fields::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("x-client-cert-san", san)] {
            let value = Value::new(value.as_bytes()).unwrap();
            headers.append(&name.parse().unwrap(), value);
        }
        let question = Question {
            host: "h",
            path: "/",
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        assert_eq!(
            table.find(&question).map(|found| *found.target),
            Some(winner)
        );
    }
}

#[test]
fn exact_wins_over_regex_over_the_longest_prefix() {
    let table = table(&[
        ("root", route(&[], "/")),
        ("prefix", route(&[], "/v1/users/")),
        ("shorter", route(&[], "/v1")),
        ("regex", route(&[], "~^/v[0-9]+/u")),
        ("longer_regex", route(&[], "~^/v[0-9]+/users/[0-9]+$")),
        ("exact", route(&[], "=/v1/users/7")),
    ]);
    assert_eq!(found(&table, "/v1/users/7"), Some(("exact", 11)));
    assert_eq!(found(&table, "/v1/users/8"), Some(("longer_regex", 11)));
    assert_eq!(found(&table, "/v1/users/me"), Some(("regex", 5)));
    assert_eq!(found(&table, "/v1/teams"), Some(("shorter", 3)));
    assert_eq!(found(&table, "/x"), Some(("root", 0)));
}

#[test]
fn regexes_are_anchored_only_where_written() {
    let table = table(&[("php", route(&[], r"~\.php$"))]);
    assert_eq!(
        found(&table, "/deep/index.php"),
        Some(("php", 0)),
        "no prefix to strip"
    );
    assert_eq!(found(&table, "/index.php/x"), None);
}

#[test]
fn equivalent_spellings_of_a_path_take_the_same_route() {
    // RFC 3986 §6.2.2: only the case of escapes and escapes of unreserved characters are equal.
    let table = table(&[
        ("admin", route(&[], "/admin/")),
        ("cafe", route(&[], "=/caf%c3%A9")),
        ("tilde", route(&[], "/%7Euser")),
    ]);
    assert_eq!(found(&table, "/%61dmin/x"), Some(("admin", 8)));
    assert_eq!(found(&table, "/adm%69%6E"), Some(("admin", 10)));
    assert_eq!(winner(&table, "/caf%C3%a9"), Some("cafe"));
    assert_eq!(found(&table, "/~user/x"), Some(("tilde", 6)));
    assert_eq!(
        winner(&table, "/admin%2Fx"),
        None,
        "an escaped slash is data"
    );
    assert_eq!(
        winner(&table, "/%2561dmin"),
        None,
        "nothing is decoded twice"
    );
    assert_eq!(winner(&table, "/%zzadmin"), None);
    assert_eq!(winner(&table, "/admi%6"), None);
}

#[test]
fn methods_fields_and_queries_decide_in_this_order() {
    let mut by_method = route(&[], "/");
    by_method.methods = vec!["GET".to_owned(), "HEAD".to_owned()];
    let mut by_fields = route(&[], "/");
    by_fields
        .headers
        .insert("x-canary".to_owned(), "*".to_owned());
    by_fields
        .headers
        .insert("X-Ring".to_owned(), "~^[12]$".to_owned());
    let mut by_query = route(&[], "/");
    by_query.query.insert("a".to_owned(), "*".to_owned());
    by_query.query.insert("b".to_owned(), "x y".to_owned());
    by_query.query.insert("c".to_owned(), "~^é+$".to_owned());
    let table = table(&[
        ("method", by_method),
        ("fields", by_fields),
        ("query", by_query),
        ("plain", route(&[], "/")),
    ]);
    let mut headers = Fields::new();
    headers.insert(
        &HeaderName::from_static("x-canary"),
        Value::new(b"").unwrap(),
    );
    headers.append(
        &HeaderName::from_static("x-ring"),
        Value::new(b"3").unwrap(),
    );
    headers.append(
        &HeaderName::from_static("x-ring"),
        Value::new(b"2").unwrap(),
    );
    let choose = |method: Method, headers: &Fields, query: Option<&str>| {
        let question = Question {
            host: "h",
            path: "/",
            query,
            method: &method,
            headers,
        };
        *table.find(&question).unwrap().target
    };
    let query = Some("b=x+y&a&c=%C3%A9%c3%a9");
    assert_eq!(choose(Method::HEAD, &headers, query), "method");
    assert_eq!(
        choose(Method::POST, &headers, query),
        "fields",
        "one of two lines is enough"
    );
    assert_eq!(choose(Method::POST, &Fields::new(), query), "query");
    for other in [
        "b=x%20y&a",
        "a&b=x&b=x+y&c=%C3%A9",
        "a&b=x%2By&c=%C3%A9",
        "",
    ] {
        assert_eq!(
            choose(Method::POST, &Fields::new(), Some(other)),
            "plain",
            "{other}"
        );
    }
    assert_eq!(
        choose(Method::POST, &Fields::new(), Some("%61=&b=x%20y&c=%C3%A9")),
        "query"
    );
    headers.remove("x-canary");
    assert_eq!(choose(Method::POST, &headers, None), "plain");
}

#[test]
fn regexes_see_field_values_that_are_not_utf8() {
    let mut written = route(&[], "/");
    written
        .headers
        .insert("x-raw".to_owned(), r"~(?-u)^\xFF".to_owned());
    let table = table(&[("raw", written)]);
    let mut headers = Fields::new();
    headers.insert(
        &HeaderName::from_static("x-raw"),
        Value::new(b"\xff").unwrap(),
    );
    let question = Question {
        host: "",
        path: "/",
        query: None,
        method: &Method::GET,
        headers: &headers,
    };
    assert!(table.find(&question).is_some());
}

#[test]
fn connect_needs_a_rule_that_says_so() {
    let mut tunnel = route(&["tunnel"], "/");
    tunnel.connect = Some(true);
    let mut named = route(&["named"], "/");
    named.methods = vec!["CONNECT".to_owned()];
    let mut get = route(&["get"], "/");
    get.methods = vec!["GET".to_owned()];
    let table = table(&[
        ("tunnel", tunnel),
        ("named", named),
        ("get", get),
        ("any", route(&["any"], "/")),
    ]);
    let connect = |target| {
        ask("CONNECT", target, |question| {
            table.find(question).map(|found| *found.target)
        })
    };
    assert_eq!(connect("tunnel:443"), Some("tunnel"));
    assert_eq!(connect("named:443"), Some("named"));
    assert_eq!(connect("get:443"), None);
    assert_eq!(connect("any:443"), None);
    assert_eq!(
        winner(&table, "tunnel/"),
        Some("tunnel"),
        "other methods still match"
    );
}

#[test]
fn a_tie_goes_to_the_first_name() {
    let table = table(&[("b", route(&[], "/v1/")), ("a", route(&[], "/v1"))]);
    assert_eq!(winner(&table, "/v1/x"), Some("a"));
}

#[test]
fn explain_says_why_each_other_lost() {
    let mut posted = route(&[], "/v1/users");
    posted.methods = vec!["POST".to_owned(), "PUT".to_owned()];
    let mut canary = route(&[], "/v1/users");
    canary
        .headers
        .insert("x-canary".to_owned(), "yes".to_owned());
    let mut query = route(&[], "/v1/users");
    query
        .query
        .insert("page".to_owned(), "~^[0-9]+$".to_owned());
    let table = table(&[
        ("users", route(&[], "/v1/users")),
        ("users_too", route(&[], "/v1/users")),
        ("v1", route(&[], "/v1/")),
        ("root", route(&[], "/")),
        ("v2", route(&[], "/v2/")),
        ("other", route(&["other.example", "*.else"], "/")),
        ("posted", posted),
        ("canary", canary),
        ("paged", query),
    ]);
    let lines: Vec<String> = ask("GET", "A.example:80/v1/users", |question| {
        let candidates = table.explain(question);
        candidates
            .iter()
            .map(|one| format!("{}: {}", one.name, one.outcome))
            .collect()
    });
    assert_eq!(
        lines,
        [
            "users: wins",
            "users_too: as specific, but its name comes after `users`",
            "v1: less specific: prefix of 3 bytes against 9",
            "root: less specific: prefix of 1 byte against 9",
            "canary: field `x-canary` is not `yes`",
            "other: host `other.example`, `*.else` does not match `a.example`",
            "paged: query parameter `page` is not `~^[0-9]+$`",
            "posted: POST, PUT does not match GET",
            "v2: path `/v2/` does not match `/v1/users`",
        ]
    );
}

#[test]
fn explain_names_each_kind_of_rank() {
    let mut methods = route(&["a.b"], "~^/");
    methods.methods = vec!["GET".to_owned()];
    let table = table(&[
        ("exact_host", route(&["a.b"], "=/x")),
        ("regex", route(&["a.b"], "~^/")),
        ("methods", methods),
        ("below", route(&["*.b"], "=/x")),
        ("any", route(&[], "=/x")),
    ]);
    let of = |target| -> Vec<String> {
        ask("GET", target, |question| {
            table
                .explain(question)
                .iter()
                .map(|one| one.outcome.to_string())
                .collect()
        })
    };
    assert_eq!(
        of("a.b/x"),
        [
            "wins",
            "less specific: regular expression of 2 bytes against exact path",
            "less specific: regular expression of 2 bytes against exact path",
            "less specific: wildcard host of 1 byte against exact host",
            "less specific: any host against exact host",
        ]
    );
    assert_eq!(
        of("a.b/y")[1],
        "less specific: any method against named ones"
    );
    assert!(
        ask("GET", "a.b/y", |question| table.explain(question))[2..]
            .iter()
            .all(|candidate| matches!(candidate.outcome, Outcome::Differs(_)))
    );
}

#[test]
fn what_cannot_work_is_an_error() {
    let reason = |route: &Route| Rule::new("r", route).unwrap_err().to_string();
    for (host, expected) in [
        ("", "empty label"),
        ("a..b", "empty label"),
        ("a.*.b", "first labels"),
        ("*a.b", "first labels"),
        ("a.b:80", "no port"),
        ("[::1", "brackets"),
        ("*.[::1]", "brackets"),
        ("[::g]", "brackets"),
        ("bücher.example", "xn--"),
        ("a b", "character"),
        (&"a".repeat(256), "255"),
    ] {
        let message = reason(&route(&[host], "/"));
        assert!(message.contains(expected), "{host}: {message}");
    }
    for (path, expected) in [
        ("v1", "starts with"),
        ("", "starts with"),
        ("=v1", "starts with"),
        ("/v1?x", "query"),
        ("/v1#x", "fragment"),
        ("/é", "visible ASCII"),
        ("/a b", "visible ASCII"),
        ("/../x", "never match"),
        ("=/a/%2e", "never match"),
        ("~^/(", "unclosed group"),
        (r"~(\w{200}){200}", "more than 1048576 bytes"),
    ] {
        let message = reason(&route(&[], path));
        assert!(message.contains(expected), "{path}: {message}");
    }
    let written = Route {
        methods: vec!["G T".to_owned()],
        ..Route::default()
    };
    assert_eq!(reason(&written), "`G T` is not a method");
    let mut written = Route::default();
    written.headers.insert("a b".to_owned(), "*".to_owned());
    assert_eq!(reason(&written), "`a b` is not the name of a field");
    let mut written = Route::default();
    written.query.insert("a".to_owned(), "~[".to_owned());
    assert!(reason(&written).contains("unclosed character class"));
}

#[test]
fn ambiguous_paths_are_told() {
    for path in [
        "/..",
        "/.",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/%2e%2e/",
        "/%2E",
        "/.%2e",
        "/a/%2e./x",
        "/..;/x",
        "/.;a=b",
        "/..%2fx",
        "/x%2F..",
        "/x%5c..%5Cy",
        "/..%3bx",
        "/a%00",
        "/a%0d",
        "/a%0Ab",
        "/a\\b",
        "/a.b/..",
        "/a%20/%2e",
    ] {
        assert!(path::is_ambiguous(path), "{path}");
    }
    for path in [
        "/",
        "*",
        "",
        "/a.b",
        "/...",
        "/.a",
        "/a.",
        "/..a",
        "/a..",
        "/.well-known/x",
        "//",
        "/a//b",
        "/;..",
        "/a;..",
        "/%2f",
        "/%5c",
        "/%252e%252e",
        "/%2",
        "/%",
        "/%zz",
        "/..%zz",
        "/a;x=../..b",
    ] {
        assert!(!path::is_ambiguous(path), "{path}");
    }
}
