//! Decisions without sockets, and the `[[test]]`s that rest on them.

use super::config;
use crate::config::tests::cases;
use crate::config::{Config, RouteTest};
use crate::http1::RequestError;
use crate::snapshot::{Decision, Inquiry, InquiryError, Routing, TestFailure};

/// Two HTTP listeners, of which only the first has an upstream of its own, and one that relays.
const TEXT: &str = r#"
    [listener.a-web]
    bind = ":8080"
    to = ["10.0.0.1:80"]

    [listener.b-side]
    bind = ":8081"

    [listener.c-tcp]
    bind = ":8082"
    protocols = ["tcp"]
    upstream = "blue"

    [route.fixed]
    hosts = ["fixed.example"]
    respond = { status = 418, body = "no" }

    [route.moved]
    hosts = ["moved.example"]
    redirect = { scheme = "https", status = 301 }

    [route.shared]
    hosts = ["shared.example"]
    split = { blue = 1, green = 3 }

    [route.side]
    listener = "b-side"
    hosts = ["side.example"]
    upstream = "blue"

    [route.tunnel]
    listener = "b-side"
    hosts = ["tunnel.example"]
    methods = ["CONNECT", "GET"]
    upstream = "green"

    [upstream.blue]
    endpoints = ["10.0.0.2:80"]

    [upstream.green]
    endpoints = ["10.0.0.3:80"]
"#;

fn inquiry(request: &str) -> Inquiry {
    Inquiry::new(request, []).expect("a method and a URL")
}

#[track_caller]
fn decide(config: &Config, listener: Option<&str>, request: &str) -> Decision {
    let routing = Routing::new(config).expect("valid routes");
    routing
        .decide(listener, &inquiry(request))
        .expect("a listener")
}

fn upstreams(decision: &Decision) -> Vec<(&str, u32)> {
    let upstreams = decision.upstreams.iter();
    upstreams.map(|(name, weight)| (&**name, *weight)).collect()
}

#[test]
fn a_decision_says_where_a_request_goes() {
    let config = config(TEXT);
    let shared = decide(&config, None, "GET http://shared.example/x?y");
    assert_eq!(shared.listener, "a-web");
    assert_eq!(shared.route.as_deref(), Some("shared"));
    assert_eq!(upstreams(&shared), [("blue", 1), ("green", 3)]);
    assert_eq!((shared.status, &shared.location), (None, &None));

    let fixed = decide(&config, None, "GET http://fixed.example/");
    assert_eq!(fixed.route.as_deref(), Some("fixed"));
    assert_eq!((fixed.status, upstreams(&fixed).len()), (Some(418), 0));

    let moved = decide(&config, None, "GET http://moved.example:8080/x?y");
    assert_eq!(moved.status, Some(301));
    assert_eq!(moved.location.as_deref(), Some("https://moved.example/x?y"));
}

#[test]
fn a_decision_lists_every_route_of_its_listener() {
    let config = config(TEXT);
    let names = |listener| {
        let decision = decide(&config, Some(listener), "GET http://side.example/");
        let mut names: Vec<_> = decision
            .candidates
            .iter()
            .map(|candidate| candidate.name.to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("a-web"), ["fixed", "moved", "shared"]);
    assert_eq!(
        names("b-side"),
        ["fixed", "moved", "shared", "side", "tunnel"]
    );
}

#[test]
fn what_no_route_takes_goes_to_the_listener_or_nowhere() {
    let config = config(TEXT);
    let taken = decide(&config, Some("a-web"), "GET http://other.example/");
    assert_eq!(taken.route, None);
    assert_eq!(upstreams(&taken), [("listener.a-web", 1)]);
    assert_eq!(taken.status, None);
    let lost = decide(&config, Some("b-side"), "GET http://other.example/");
    assert_eq!((lost.route, lost.status), (None, Some(404)));
    assert_eq!(lost.upstreams, []);
}

#[test]
fn the_first_listener_that_leads_somewhere_is_asked() {
    let text = TEXT.replace("to = [\"10.0.0.1:80\"]", "");
    let config = config(&text);
    let side = decide(&config, None, "GET http://side.example/");
    assert_eq!(side.listener, "b-side");
    assert_eq!(side.route.as_deref(), Some("side"));
    // Where none does, the first one says no.
    let lost = decide(&config, None, "GET http://other.example/");
    assert_eq!((lost.listener.as_str(), lost.status), ("a-web", Some(404)));
}

#[test]
fn a_tunnel_needs_to_be_allowed() {
    let closed = config(TEXT);
    let refused = decide(&closed, Some("b-side"), "CONNECT http://tunnel.example/");
    assert_eq!(refused.route.as_deref(), Some("tunnel"));
    assert_eq!((refused.status, upstreams(&refused).len()), (Some(405), 0));
    let open = config(&TEXT.replace("methods = [\"CONNECT\", \"GET\"]", "connect = true"));
    let taken = decide(&open, Some("b-side"), "CONNECT http://tunnel.example/");
    assert_eq!(
        (taken.status, upstreams(&taken)),
        (None, vec![("green", 1)])
    );
    // Any method is any but CONNECT.
    for listener in ["a-web", "b-side"] {
        let none = decide(&closed, Some(listener), "CONNECT http://side.example/");
        assert_eq!((none.route, none.status), (None, Some(405)), "{listener}");
        assert_eq!(none.upstreams, [], "{listener}");
    }
}

#[test]
fn what_the_proxy_refuses_has_no_action() {
    let config = config(TEXT);
    for (request, status) in [
        ("TRACE http://shared.example/", 405),
        ("TRACE http://moved.example/", 405),
        ("GET http://shared.example/a%2F..%2Fb", 400),
    ] {
        let refused = decide(&config, None, request);
        assert_eq!(refused.status, Some(status), "{request}");
        assert_eq!(
            (refused.upstreams, refused.location),
            (vec![], None),
            "{request}"
        );
    }
}

#[test]
fn only_listeners_that_speak_http_are_asked() {
    let config = config(TEXT);
    let routing = Routing::new(&config).expect("valid routes");
    let inquiry = inquiry("GET http://a/");
    for name in ["c-tcp", "nobody"] {
        assert_eq!(
            routing.decide(Some(name), &inquiry).err(),
            Some(InquiryError::Listener(name.to_owned()))
        );
    }
    let tcp = super::config(
        "[listener.db]\nbind = ':5432'\nprotocols = ['tcp']\nto = ['10.0.0.1:5432']\n",
    );
    let routing = Routing::new(&tcp).expect("valid routes");
    let error = routing
        .decide(None, &inquiry)
        .expect_err("nothing speaks HTTP");
    assert_eq!(error, InquiryError::Listener("*".to_owned()));
}

#[test]
fn an_inquiry_is_a_method_and_a_url() {
    let full = Inquiry::new(
        "PATCH https://a.example:8443/b%20c?d=e",
        [("X-Kind", "one"), ("x-kind", "two")],
    )
    .expect("right");
    assert_eq!(full.method, http::Method::PATCH);
    assert_eq!(
        (&*full.scheme, &*full.authority),
        ("https", "a.example:8443")
    );
    assert_eq!(
        (&*full.path, full.query.as_deref()),
        ("/b%20c", Some("d=e"))
    );
    assert_eq!(full.headers.get_all("x-kind").count(), 2);
    for wrong in [
        "",
        "GET",
        "GET /path",
        "G T http://a/",
        "GET http://",
        "GET http://a b/",
        "GET a.example",
    ] {
        let error = Inquiry::new(wrong, []).expect_err(wrong);
        assert_eq!(error, InquiryError::Form(wrong.to_owned()));
    }
    // What `Uri` would make something else of, the proxy refuses.
    for refused in [
        "GET http://a/b#c",
        "GET http://a/b#",
        "GET http://a/\u{e4}",
        "GET http://user@a/",
        "CONNECT http://a:443/#c",
    ] {
        let error = Inquiry::new(refused, []).expect_err(refused);
        let why = RequestError::Target;
        let request = refused.to_owned();
        assert_eq!(error, InquiryError::Refused { request, why });
    }
    for (name, value) in [("x kind", "one"), ("", "one"), ("x-kind", "a\nb")] {
        let error = Inquiry::new("GET http://a/", [(name, value)]).expect_err(value);
        assert_eq!(error, InquiryError::Field(format!("{name}: {value}")));
    }
}

/// The differences of one test, whose expectation is written as TOML.
#[track_caller]
fn differences(request: &str, expect: &str) -> Vec<String> {
    let mut config = config(TEXT);
    let test = format!("request = \"{request}\"\nexpect = {{ {expect} }}\n");
    // Not through the whole file: its checks would refuse what is wrong here on purpose.
    config.test = vec![toml::from_str(&test).expect("a test")];
    let routing = Routing::new(&config).expect("valid routes");
    let mut failures = routing.failures();
    assert!(failures.len() < 2, "{failures:?}");
    failures
        .pop()
        .map(|failure| {
            assert_eq!((failure.index, &*failure.request), (0, request));
            sentences(&failure)
        })
        .unwrap_or_default()
}

fn sentences(failure: &TestFailure) -> Vec<String> {
    let differences = failure.differences.iter();
    differences
        .map(|difference| difference.sentence.clone())
        .collect()
}

#[test]
fn a_test_that_fails_has_its_place() {
    let outcome = cases::case("E0219");
    let config = outcome.config.as_ref().expect("nothing else is wrong");
    let failures = Routing::new(config).expect("valid routes").failures();
    let findings: Vec<_> = failures
        .iter()
        .map(|test| test.finding(&outcome.places))
        .collect();
    cases::found("E0219", outcome, findings);
}

#[test]
fn a_test_that_holds_is_silent() {
    for (request, expect) in [
        ("GET http://shared.example/", "route = 'shared'"),
        ("GET http://shared.example/", "upstream = 'blue'"),
        ("GET http://shared.example/", "upstream = 'green'"),
        ("GET http://fixed.example/", "status = 418"),
        (
            "GET http://moved.example/x",
            "route = 'moved', status = 301, location = 'https://moved.example/x'",
        ),
        ("GET http://other.example/", "upstream = 'listener.a-web'"),
        ("GET http://other.example/", "route = 'listener.a-web'"),
        ("CONNECT http://tunnel.example/", "status = 405"),
    ] {
        assert_eq!(
            differences(request, expect),
            Vec::<String>::new(),
            "{request} {expect}"
        );
    }
}

/// A route may be called as its listener is: the listener's own goes by another name.
#[test]
fn a_route_named_like_its_listener_is_told_from_the_listeners_own() {
    let text = |route| {
        format!(
            "[listener.web]\nbind = ':8080'\nto = ['10.0.0.1:80']\n\
             [route.web]\npath = '/web/'\nrespond = {{}}\n\
             [[test]]\nrequest = 'GET http://a/'\nexpect = {{ route = 'listener.web' }}\n\
             [[test]]\nrequest = 'GET http://a/web/'\nexpect = {{ route = '{route}' }}\n"
        )
    };
    let good = config(&text("web"));
    assert_eq!(Routing::new(&good).expect("valid").failures(), []);
    let bad = config(&text("listener.web"));
    let failures = Routing::new(&bad).expect("valid").failures();
    let found: Vec<_> = failures.iter().flat_map(sentences).collect();
    assert_eq!(found, ["route `listener.web` was expected, it is `web`"]);
}

#[test]
fn a_test_that_fails_says_what_happens_instead() {
    for (request, expect, differs) in [
        (
            "GET http://shared.example/",
            "route = 'fixed', upstream = 'red', status = 200, location = '/'",
            &[
                "route `fixed` was expected, it is `shared`",
                "upstream `red` was expected, it is `blue` or `green`",
                "status `200` was expected, it is none",
                "location `/` was expected, it is none",
            ][..],
        ),
        (
            "GET http://other.example/",
            "route = 'shared'",
            &["route `shared` was expected, it is `listener.a-web`"],
        ),
        (
            "GET http://moved.example/x",
            "status = 302, location = 'https://moved.example/y'",
            &[
                "status `302` was expected, it is 301",
                "location `https://moved.example/y` was expected, it is `https://moved.example/x`",
            ],
        ),
        (
            "nonsense",
            "status = 200",
            &["`nonsense` is not a method and a URL, such as `GET https://example.com/path`"],
        ),
    ] {
        assert_eq!(differences(request, expect), differs, "{request}");
    }
}

#[test]
fn each_test_asks_its_own_listener_with_its_own_fields() {
    let mut config = config(
        "[listener.one]\nbind = ':8080'\n[listener.two]\nbind = ':8081'\n\
         [route.new]\nlistener = 'two'\nheaders = { x-version = '2' }\nrespond = {}\n\
         [route.old]\nrespond = {}\n",
    );
    let test = |text: &str| -> RouteTest { toml::from_str(text).expect("a test") };
    config.test = vec![
        test("request = 'GET http://a/'\nexpect = { route = 'old' }\n"),
        test(
            "request = 'GET http://a/'\nlistener = 'two'\nheaders = { x-version = '2' }\n\
             expect = { route = 'new' }\n",
        ),
        test(
            "request = 'GET http://a/'\nlistener = 'one'\nheaders = { x-version = '2' }\n\
             expect = { route = 'new' }\n",
        ),
        test("request = 'GET http://a/'\nlistener = 'no'\nexpect = { route = 'old' }\n"),
    ];
    let routing = Routing::new(&config).expect("valid routes");
    let failures = routing.failures();
    let indexes: Vec<_> = failures.iter().map(|failure| failure.index).collect();
    assert_eq!(indexes, [2, 3]);
    assert_eq!(
        sentences(&failures[0]),
        ["route `new` was expected, it is `old`"]
    );
    assert_eq!(
        sentences(&failures[1]),
        ["no listener `no` that speaks HTTP"]
    );
}
