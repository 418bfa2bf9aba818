//! Which route a request takes, seen from outside, and what its actions and filters do.

use crate::cases::sent_lines;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// Routes that answer with their own name. The least specific stands first in the file.
const ROUTES: &str = "[listener.web]\nbind = \"@web\"\n\
    [route.any]\nrespond = { body = \"any\" }\n\
    [route.below]\nhosts = [\"*.example.com\"]\nrespond = { body = \"below\" }\n\
    [route.deeper]\nhosts = [\"*.eu.example.com\"]\nrespond = { body = \"deeper\" }\n\
    [route.host]\nhosts = [\"www.example.com\"]\nrespond = { body = \"host\" }\n\
    [route.prefix]\nhosts = [\"www.example.com\"]\npath = \"/a\"\nrespond = { body = \"prefix\" }\n\
    [route.longer]\nhosts = [\"www.example.com\"]\npath = \"/a/b/\"\nrespond = { body = \"longer\" }\n\
    [route.regex]\nhosts = [\"www.example.com\"]\npath = \"~^/a/[0-9]+$\"\nrespond = { body = \"regex\" }\n\
    [route.exact]\nhosts = [\"www.example.com\"]\npath = \"=/a/b/c\"\nrespond = { body = \"exact\" }\n\
    [route.method]\nhosts = [\"www.example.com\"]\npath = \"/a\"\nmethods = [\"PUT\"]\nrespond = { body = \"method\" }\n\
    [route.field]\nhosts = [\"www.example.com\"]\npath = \"/a\"\nheaders = { x-kind = \"b\" }\nrespond = { body = \"field\" }\n\
    [route.query]\nhosts = [\"www.example.com\"]\npath = \"/a\"\nquery = { v = \"2\" }\nrespond = { body = \"query\" }\n";

/// Method, host, target, a field, and the route that takes it.
type Question = [&'static str; 5];

const QUESTIONS: [Question; 21] = [
    ["GET", "other", "/", "", "any"],
    ["GET", "example.com", "/", "", "any"],
    ["GET", "x.example.com", "/", "", "below"],
    ["GET", "x.y.example.com", "/", "", "below"],
    ["GET", "x.eu.example.com", "/", "", "deeper"],
    ["GET", "www.example.com", "/", "", "host"],
    ["GET", "WWW.Example.COM", "/", "", "host"],
    ["GET", "www.example.com:8080", "/", "", "host"],
    ["GET", "www.example.com", "/a", "", "prefix"],
    ["GET", "www.example.com", "/a/", "", "prefix"],
    ["GET", "www.example.com", "/a/x", "", "prefix"],
    ["GET", "www.example.com", "/ab", "", "host"],
    ["GET", "www.example.com", "/a/b/x", "", "longer"],
    ["GET", "www.example.com", "/a/b/c", "", "exact"],
    ["GET", "www.example.com", "/a/b/c/", "", "longer"],
    ["GET", "www.example.com", "/a/12", "", "regex"],
    ["PUT", "www.example.com", "/a", "", "method"],
    ["PUT", "www.example.com", "/a", "x-kind: b", "method"],
    ["GET", "www.example.com", "/a", "X-Kind: b", "field"],
    ["GET", "www.example.com", "/a?v=2", "", "query"],
    ["GET", "www.example.com", "/a?v=2", "x-kind: b", "field"],
];

#[test]
fn the_most_specific_route_wins() {
    let proxy = Evenkeel::start(ROUTES);
    let mut client = proxy.client();
    for [method, host, target, field, route] in QUESTIONS {
        let field = if field.is_empty() {
            String::new()
        } else {
            format!("{field}\r\n")
        };
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n"
        ));
        assert_eq!(
            client.response().body.text(),
            route,
            "{method} {host}{target} {field}"
        );
    }
}

#[test]
fn the_command_says_what_the_proxy_does() {
    let proxy = Evenkeel::start(ROUTES);
    for [method, host, target, field, route] in QUESTIONS {
        let url = format!("http://{host}{target}");
        let mut arguments = vec!["--json", "route", method, &url];
        if !field.is_empty() {
            arguments.extend(["-H", field]);
        }
        for running in [false, true] {
            let mut arguments = arguments.clone();
            if running {
                arguments.push("--running");
            }
            let output = proxy.command(&arguments);
            assert!(output.status.success(), "{output:?}");
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(said["route"], route, "{arguments:?}");
            assert!(
                said["lost"].as_array().is_some_and(|lost| !lost.is_empty()),
                "{said}"
            );
        }
    }
}

#[test]
fn fixed_responses_and_redirects_are_made_as_written() {
    let proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n\
         [route.teapot]\npath = \"/tea\"\nrespond = { status = 418, body = \"no\", content_type = \"text/x\" }\n\
         [route.away]\npath = \"/old\"\nredirect = { status = 301, scheme = \"https\", host = \"b\", path = \"/new\" }\n\
         [route.moved]\npath = \"/moved\"\nredirect = { host = \"c\", port = 81 }\n",
    );
    let mut client = proxy.client();
    let mut ask = |target: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response()
    };
    let tea = ask("/tea");
    assert_eq!((tea.status, tea.body.text().as_str()), (418, "no"));
    assert_eq!(tea.head.value("content-type"), Some("text/x"));
    let away = ask("/old?q=1");
    assert_eq!(
        (away.status, away.head.value("location")),
        (301, Some("https://b/new?q=1"))
    );
    let moved = ask("/moved/x?q=1");
    assert_eq!(
        (moved.status, moved.head.value("location")),
        (308, Some("http://c:81/moved/x?q=1"))
    );
}

#[test]
fn filters_edit_requests_and_responses() {
    let endpoint = Endpoint::answers(
        "HTTP/1.1 200 OK\r\nX-Gone: a\r\nX-Set: old\r\nX-Add: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.strip]\npath = \"/strip/\"\nupstream = \"app\"\nrewrite = {{ strip_prefix = true }}\n\
         [route.replace]\npath = \"/v1/\"\nupstream = \"app\"\n\
         rewrite = {{ replace_prefix = \"/api/2/\", host = \"inner\" }}\n\
         request_headers = {{ remove = [\"x-gone\"], set = {{ x-set = \"new\" }}, add = {{ x-add = \"2\" }} }}\n\
         response_headers = {{ remove = [\"x-gone\"], set = {{ x-set = \"new\" }}, add = {{ x-add = \"2\" }} }}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send("GET /strip/a/b?c HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client
        .send("GET /v1/users?c HTTP/1.1\r\nHost: a\r\nX-Gone: a\r\nX-Set: old\r\nX-Add: 1\r\n\r\n");
    let response = client.response();
    assert_eq!(response.head.values("x-gone"), Vec::<&str>::new());
    assert_eq!(response.head.values("x-set"), ["new"]);
    assert_eq!(response.head.values("x-add"), ["1", "2"]);
    let requests = endpoint.requests();
    assert_eq!(requests[0].target(), "/a/b?c");
    let mut lines = sent_lines(&requests[1]);
    lines[1..].sort();
    let expected = [
        "GET /api/2/users?c HTTP/1.1",
        "host: inner",
        "x-add: 1",
        "x-add: 2",
        "x-set: new",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_split_follows_its_weights() {
    let (few, many) = (Endpoint::says("few"), Endpoint::says("many"));
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nsplit = {{ few = 1, many = 9 }}\n\
         [upstream.few]\nendpoints = [\"{}\"]\n[upstream.many]\nendpoints = [\"{}\"]\n",
        few.address(),
        many.address()
    ));
    let mut client = proxy.client();
    for _ in 0..1_000 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    // 100 are due; a deviation beyond six standard deviations happens once in 10^9 runs.
    let got = few.requests().len();
    assert!((43..=157).contains(&got), "{got} of 1000");
    assert_eq!(got + many.requests().len(), 1_000);
}

#[test]
fn a_route_belongs_to_its_listener() {
    let proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n[listener.inner]\nbind = \"@inner\"\n\
         [route.secret]\nlistener = \"inner\"\nrespond = { body = \"secret\" }\n\
         [route.open]\nlistener = \"web\"\nrespond = { body = \"open\" }\n",
    );
    for (listener, body) in [("web", "open"), ("inner", "secret")] {
        let mut client = crate::support::client::Client::connect(proxy.address(listener));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().body.text(), body);
    }
}

#[test]
fn connect_opens_a_tunnel_where_configured() {
    let endpoint = Endpoint::sends_back();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.tunnel]\nmethods = [\"CONNECT\"]\nconnect = true\n\
         upstream = \"app\"\n[upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let head = client.head().expect("an answer");
    assert_eq!(head.status(), Ok(200));
    // RFC 9110 §9.3.6: a tunnel has no framing.
    assert_eq!(head.values("content-length"), Vec::<&str>::new());
    assert_eq!(head.values("transfer-encoding"), Vec::<&str>::new());
    client.send(b"\0hello");
    assert_eq!(client.bytes(6), b"\0hello");
}

#[test]
fn connect_has_no_body() {
    let endpoint = Endpoint::sends_back();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.tunnel]\nmethods = [\"CONNECT\"]\nconnect = true\n\
         upstream = \"app\"\n[upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client();
        client.send(format!(
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n{framing}\r\n\r\nhello"
        ));
        assert_eq!(client.response().status, 400, "{framing}");
    }
    assert_eq!(endpoint.connections(), 0);
}
