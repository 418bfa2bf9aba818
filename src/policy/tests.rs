use http::{HeaderName, HeaderValue, Method, Version};
use http_body::Body as _;
use proptest::prelude::*;

use super::forwarding::X_REQUEST_ID;
use super::*;
use crate::config;
use crate::message::{Fields, RequestParts, ResponseParts, Value};

fn request(target: &str) -> RequestParts {
    http::Request::builder()
        .uri(target)
        .body(())
        .unwrap()
        .into_parts()
        .0
        .into()
}

fn route(rewrite: config::Rewrite) -> config::Route {
    config::Route {
        rewrite,
        ..config::Route::default()
    }
}

fn edits(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> config::FieldEdits {
    let owned = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    config::FieldEdits {
        set: owned(set),
        add: owned(add),
        remove: remove.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn lines<'a>(headers: &'a Fields, name: &'a str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .map(|value| value.to_str().unwrap())
        .collect()
}

#[test]
fn fields_are_removed_set_and_added_in_this_order() {
    let filters = Filters::new(&config::Route {
        request_headers: edits(
            &["x-a", "x-b"],
            &[("x-b", " 1 ")],
            &[("x-b", "2"), ("x-c", "3")],
        ),
        response_headers: edits(&["server"], &[], &[("x-d", "4")]),
        ..config::Route::default()
    });
    let filters = filters.unwrap();
    let mut parts = request("/");
    for (name, value) in [
        ("x-a", "old"),
        ("x-b", "old"),
        ("x-b", "old too"),
        ("x-c", "old"),
    ] {
        parts.headers.append(
            &HeaderName::from_static(name),
            &HeaderValue::from_static(value),
        );
    }
    filters.request(&mut parts, 0).unwrap();
    assert!(!parts.headers.contains_key("x-a"));
    assert_eq!(lines(&parts.headers, "x-b"), ["1", "2"]);
    assert_eq!(lines(&parts.headers, "x-c"), ["old", "3"]);

    let response = http::Response::builder()
        .header("server", "x")
        .header("x-d", "old");
    let mut parts: ResponseParts = response.body(()).unwrap().into_parts().0.into();
    filters.response(&mut parts);
    assert!(!parts.headers.contains_key("server"));
    assert_eq!(lines(&parts.headers, "x-d"), ["old", "4"]);
}

#[test]
fn edits_that_would_break_messages_are_refused() {
    let refused = |edits: config::FieldEdits| {
        let route = config::Route {
            request_headers: edits,
            ..config::Route::default()
        };
        Filters::new(&route).unwrap_err().to_string()
    };
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "TE",
        "Upgrade",
    ] {
        assert!(refused(edits(&[name], &[], &[])).contains("written by the proxy itself"));
        assert!(refused(edits(&[], &[(name, "1")], &[])).contains("written by the proxy itself"));
        assert!(refused(edits(&[], &[], &[(name, "1")])).contains("written by the proxy itself"));
    }
    assert!(refused(edits(&[], &[("Host", "x")], &[])).contains("rewrite.host"));
    assert!(refused(edits(&["a b"], &[], &[])).contains("name of a field"));
    assert!(refused(edits(&[], &[("x", "a\nb")], &[])).contains("value of `x`"));
    let response = config::Route {
        response_headers: edits(&[""], &[], &[]),
        ..config::Route::default()
    };
    let message = Filters::new(&response).unwrap_err().to_string();
    assert_eq!(message, "response_headers: `` is not the name of a field");
}

#[test]
fn a_prefix_is_replaced_as_the_gateway_api_has_it() {
    // The table of HTTPPathModifier's replacePrefixMatch, and what strip_prefix makes of it.
    for (target, matched, replacement, expected) in [
        ("/foo/bar", 4, "/xyz", "/xyz/bar"),
        ("/foo/bar", 4, "/xyz/", "/xyz/bar"),
        ("/foo", 4, "/xyz", "/xyz"),
        ("/foo", 4, "/xyz/", "/xyz/"),
        ("/foo/", 4, "/xyz", "/xyz/"),
        ("/foo/bar", 4, "", "/bar"),
        ("/foo/", 4, "", "/"),
        ("/foo", 4, "", "/"),
        ("/foo/", 4, "/", "/"),
        ("/foo", 4, "/", "/"),
        ("/foo?a=/b?c", 4, "/xyz", "/xyz?a=/b?c"),
        ("/foo?", 4, "", "/?"),
        ("/a%2Fb/c%20d", 6, "/x", "/x/c%20d"),
        ("/bar", 0, "/xyz", "/xyz/bar"),
        ("/v1/users", 4, "/x", "/x/users"), // a regular expression that took the slash
        ("/foo//evil", 4, "", "//evil"),
        ("*", 0, "/xyz", "*"),
    ] {
        let filters = Filters::new(&route(config::Rewrite {
            replace_prefix: Some(replacement.to_owned()),
            ..config::Rewrite::default()
        }));
        let mut parts = request(target);
        filters.unwrap().request(&mut parts, matched).unwrap();
        assert_eq!(
            parts.uri.path_and_query().unwrap().as_str(),
            expected,
            "{target}"
        );
    }
    let strip = config::Rewrite {
        strip_prefix: Some(true),
        ..config::Rewrite::default()
    };
    let mut parts = request("/foo/bar?x");
    Filters::new(&route(strip))
        .unwrap()
        .request(&mut parts, 4)
        .unwrap();
    assert_eq!(parts.uri.to_string(), "/bar?x");
}

#[test]
fn a_host_is_rewritten_and_the_rest_left_alone() {
    let rewrite = config::Rewrite {
        host: Some("inner:8080".to_owned()),
        ..config::Rewrite::default()
    };
    let mut parts = request("/foo?x");
    parts
        .headers
        .insert(&http::header::HOST, &HeaderValue::from_static("outer"));
    Filters::new(&route(rewrite))
        .unwrap()
        .request(&mut parts, 4)
        .unwrap();
    assert_eq!(lines(&parts.headers, "host"), ["inner:8080"]);
    assert_eq!(parts.uri.to_string(), "/foo?x");
}

#[test]
fn rewrites_that_cannot_work_are_errors() {
    let refused = |rewrite| Filters::new(&route(rewrite)).unwrap_err().to_string();
    for prefix in ["x", "/x?y", "/x#y", "/x/../y", "/é", "/a b"] {
        let rewrite = config::Rewrite {
            replace_prefix: Some(prefix.to_owned()),
            ..config::Rewrite::default()
        };
        assert!(refused(rewrite).contains("is not a path"), "{prefix}");
    }
    for host in ["", "a b", "a/b", "u@h", "h:x", "h:99999", "h:"] {
        let rewrite = config::Rewrite {
            host: Some(host.to_owned()),
            ..config::Rewrite::default()
        };
        assert!(refused(rewrite).contains("is not a host"), "{host}");
    }
    let both = config::Rewrite {
        strip_prefix: Some(true),
        replace_prefix: Some("/x".to_owned()),
        host: None,
    };
    assert!(refused(both).contains("exclude each other"));
}

#[test]
fn a_target_that_would_grow_too_long_is_refused_and_left_alone() {
    let rewrite = config::Rewrite {
        replace_prefix: Some("/x".repeat(30_000)),
        ..config::Rewrite::default()
    };
    let filters = Filters::new(&route(rewrite)).unwrap();
    let target = format!("/{}", "y".repeat(30_000));
    let mut parts = request(&target);
    assert_eq!(filters.request(&mut parts, 0), Err(TooLong));
    assert_eq!(parts.uri.path(), target);
}

#[test]
fn via_is_appended_and_loops_are_found() {
    // RFC 9110 §7.6.3.
    let mut random = fastrand::Rng::with_seed(3);
    let (edge, sidecar) = (Via::new(&mut random), Via::new(&mut random));
    let mut headers = Fields::new();
    headers.insert(
        &http::header::VIA,
        &HeaderValue::from_static("1.1 somebody, 1.1 evenkeel"),
    );
    edge.request(&mut headers, Version::HTTP_10).unwrap();
    sidecar.request(&mut headers, Version::HTTP_11).unwrap();
    let entries = lines(&headers, "via");
    assert_eq!(entries[0], "1.1 somebody, 1.1 evenkeel");
    assert!(entries[1].starts_with("1.0 evenkeel (") && entries[1].ends_with(')'));
    assert!(entries[2].starts_with("1.1 evenkeel ("));
    let joined = HeaderValue::from_str(&entries.join(",")).unwrap();
    assert_eq!(
        edge.request(&mut headers, Version::HTTP_11),
        Err(LoopDetected)
    );
    assert_eq!(
        headers.get_all("via").count(),
        3,
        "what is refused is not marked"
    );
    let mut headers = Fields::new();
    headers.insert(&http::header::VIA, &joined);
    assert_eq!(
        sidecar.request(&mut headers, Version::HTTP_11),
        Err(LoopDetected)
    );
}

#[test]
fn responses_are_marked_by_name_alone() {
    let mut headers = Fields::new();
    Via::response(&mut headers, Version::HTTP_10);
    Via::response(&mut headers, Version::HTTP_11);
    assert_eq!(lines(&headers, "via"), ["1.0 evenkeel", "1.1 evenkeel"]);
}

#[test]
fn max_forwards_counts_down_for_options_and_trace_alone() {
    // RFC 9110 §7.6.2.
    let count = |method: Method, values: &[&'static str]| {
        let mut headers = Fields::new();
        for value in values {
            let value = HeaderValue::from_static(value);
            headers.append(&http::header::MAX_FORWARDS, &value);
        }
        let outcome = max_forwards(&method, &mut headers);
        (outcome, lines(&headers, "max-forwards").join("|"))
    };
    let forward = |left: &str| (MaxForwards::Forward, left.to_owned());
    for method in [Method::OPTIONS, Method::TRACE] {
        assert_eq!(count(method.clone(), &["5"]), forward("4"));
        assert_eq!(count(method.clone(), &["1"]), forward("0"));
        assert_eq!(count(method.clone(), &["007"]), forward("6"));
        assert_eq!(
            count(method.clone(), &["99999999999999999999"]),
            forward("4294967294")
        );
        assert_eq!(count(method.clone(), &[]), forward(""));
        assert_eq!(count(method.clone(), &["0"]).0, MaxForwards::Answer);
        for malformed in [
            &["-1"][..],
            &["+1"],
            &["1.0"],
            &[""],
            &["x"],
            &["1", "2"],
            &["1, 2"],
        ] {
            assert_eq!(
                count(method.clone(), malformed).0,
                MaxForwards::Malformed,
                "{malformed:?}"
            );
        }
    }
    assert_eq!(count(Method::GET, &["0"]), forward("0"));
    assert_eq!(count(Method::GET, &["x"]), forward("x"));
}

#[test]
fn a_redirect_keeps_what_is_left_out() {
    let leads = |redirect: config::Redirect, scheme, authority, path, query| {
        let target = Target {
            scheme,
            authority,
            path,
            query,
        };
        let location = Redirect::new(&redirect).unwrap().location(&target).unwrap();
        location.to_str().unwrap().to_owned()
    };
    let redirect = config::Redirect::default;
    let scheme = |scheme: &str| config::Redirect {
        scheme: Some(scheme.to_owned()),
        ..redirect()
    };
    let https = || scheme("https");
    let host = |host: &str| config::Redirect {
        host: Some(host.to_owned()),
        ..redirect()
    };
    let port = |port| config::Redirect {
        port: Some(port),
        ..redirect()
    };
    let path = |path: &str| config::Redirect {
        path: Some(path.to_owned()),
        ..redirect()
    };
    for (redirect, authority, target, query, expected) in [
        (https(), "a.b", "/x", Some("y=1"), "https://a.b/x?y=1"),
        (https(), "a.b:8080", "/", None, "https://a.b/"),
        (scheme("http"), "a.b:80", "/", Some(""), "http://a.b/?"),
        (https(), "[::1]:80", "/", None, "https://[::1]/"),
        (https(), "[::1]", "/", None, "https://[::1]/"),
        (host("c.d"), "a.b:8080", "/x", None, "http://c.d:8080/x"),
        (host("c.d"), "a.b:80", "/x", None, "http://c.d/x"),
        (port(8443), "a.b", "/x", None, "http://a.b:8443/x"),
        (port(80), "a.b:81", "/x", None, "http://a.b/x"),
        (path("/new"), "a.b", "/old", Some("q"), "http://a.b/new?q"),
        (
            https(),
            "a.b",
            "//evil.example/%2e",
            None,
            "https://a.b//evil.example/%2e",
        ),
        (https(), "a.b", "*", None, "https://a.b/"),
    ] {
        assert_eq!(leads(redirect, "http", authority, target, query), expected);
    }
    let both = config::Redirect {
        port: Some(8443),
        ..https()
    };
    assert_eq!(
        leads(both, "http", "a.b:80", "/", None),
        "https://a.b:8443/"
    );
}

#[test]
fn a_redirect_answers_with_its_status() {
    let target = Target {
        scheme: "http",
        authority: "a.b",
        path: "/",
        query: None,
    };
    let written = |status| config::Redirect {
        status,
        scheme: Some("https".to_owned()),
        ..config::Redirect::default()
    };
    for status in [301, 302, 303, 307, 308] {
        let response = Redirect::new(&written(Some(status)))
            .unwrap()
            .response(&target)
            .unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["location"], "https://a.b/");
        assert!(response.body().is_end_stream());
    }
    assert_eq!(Redirect::new(&written(None)).unwrap().status(), 308);
    for status in [200, 300, 304, 305, 400] {
        assert_eq!(
            Redirect::new(&written(Some(status))).unwrap_err(),
            RedirectError::Status(status)
        );
    }
}

#[test]
fn redirects_that_cannot_work_are_errors() {
    let refused = |written: config::Redirect| Redirect::new(&written).unwrap_err().to_string();
    let redirect = config::Redirect::default;
    assert!(refused(redirect()).contains("back to itself"));
    let scheme = Some("ftp".to_owned());
    assert!(
        refused(config::Redirect {
            scheme,
            ..redirect()
        })
        .contains("neither")
    );
    for host in ["", "a:80", "a/b", "u@h", "a b"] {
        let host = Some(host.to_owned());
        assert!(refused(config::Redirect { host, ..redirect() }).contains("is not a host"));
    }
    for path in ["", "x", "/x?y", "/x#y", "/../x", "/é"] {
        let path = Some(path.to_owned());
        assert!(refused(config::Redirect { path, ..redirect() }).contains("is not a path"));
    }
}

#[test]
fn a_fixed_response_is_as_written() {
    let fixed = Fixed::new(&config::Respond {
        status: Some(418),
        body: Some("<p>short and stout</p>".to_owned()),
        content_type: Some("text/html".to_owned()),
    });
    let mut response = fixed.unwrap().response();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["content-type"], "text/html");
    assert_eq!(
        response.body_mut().take_full().unwrap(),
        "<p>short and stout</p>"
    );

    let response = Fixed::new(&config::Respond::default()).unwrap().response();
    assert_eq!(response.status(), 200);
    assert!(response.headers().is_empty(), "no body, no type");
    assert!(response.body().is_end_stream());

    let text = config::Respond {
        body: Some("x".to_owned()),
        ..config::Respond::default()
    };
    let response = Fixed::new(&text).unwrap().response();
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
}

#[test]
fn fixed_responses_that_cannot_work_are_errors() {
    let refused = |written: config::Respond| Fixed::new(&written).unwrap_err();
    let respond = config::Respond::default;
    for status in [0, 101, 199, 600, 999] {
        let written = config::Respond {
            status: Some(status),
            ..respond()
        };
        assert_eq!(refused(written), FixedError::Status(status));
    }
    for status in [204, 205, 304] {
        let written = config::Respond {
            status: Some(status),
            body: Some("x".into()),
            ..respond()
        };
        assert_eq!(refused(written), FixedError::Body(status));
    }
    for media in ["", "text", "/plain", "text/", "text/a\nb"] {
        let content_type = Some(media.to_owned());
        let written = config::Respond {
            content_type,
            ..respond()
        };
        assert_eq!(refused(written), FixedError::ContentType(media.to_owned()));
    }
}

#[test]
fn lists_are_split_outside_quotes() {
    let parts = |text| list::split(text, ',').collect::<Vec<_>>();
    assert_eq!(parts("a,b"), ["a", "b"]);
    assert_eq!(parts("a=\"x,y\",b"), ["a=\"x,y\"", "b"]);
    assert_eq!(parts(r#"a="x\",y",b"#), [r#"a="x\",y""#, "b"]);
    assert_eq!(parts(r#"a="x\\",b"#), [r#"a="x\\""#, "b"]);
    assert_eq!(parts("\"a,b"), ["\"a,b"]);
    assert_eq!(parts(""), [""]);
}

proptest! {
    /// RFC 9112 §3.2.1: an origin-form starts with `/`.
    #[test]
    fn a_rewritten_target_is_a_path_with_the_query_it_had(
        path in "(/[a-z.%]{0,3}){1,5}",
        query in proptest::option::of("[a-z=&/?]{0,8}"),
        matched in 0usize..20,
        replacement in "(/[a-z]{1,3}){0,3}/?",
    ) {
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut parts = request(&target);
        let rewrite = config::Rewrite {
            replace_prefix: Some(replacement.clone()),
            ..config::Rewrite::default()
        };
        let filters = Filters::new(&route(rewrite)).unwrap();
        filters.request(&mut parts, matched.min(path.len())).unwrap();
        prop_assert!(parts.uri.path().starts_with('/'));
        prop_assert!(parts.uri.path().starts_with(&*replacement));
        prop_assert!(parts.uri.path().ends_with(&path[matched.min(path.len())..]));
        prop_assert_eq!(parts.uri.query(), query.as_deref());
    }

    #[test]
    fn edits_leave_other_fields_alone(
        others in proptest::collection::btree_map("y-[a-z]{1,3}", "[a-z]{0,5}", 0..6),
        set in proptest::collection::btree_map("z-[a-z]", "[a-z]{0,5}", 0..4),
        removed in proptest::collection::vec("z-[a-z]", 0..4),
    ) {
        let mut parts = request("/");
        for (name, value) in others.iter().chain(&set) {
            parts.headers.append(&name.parse().unwrap(), Value::new(value.as_bytes()).unwrap());
        }
        parts.headers.insert(&X_REQUEST_ID, Value::new(b"id").unwrap());
        let filters = Filters::new(&config::Route {
            request_headers: config::FieldEdits { set: set.clone(), remove: removed, ..Default::default() },
            ..config::Route::default()
        });
        filters.unwrap().request(&mut parts, 0).unwrap();
        prop_assert_eq!(parts.headers.len(), others.len() + set.len() + 1);
        for (name, value) in others.iter().chain(&set) {
            prop_assert_eq!(lines(&parts.headers, name), [value]);
        }
    }
}
