//! What `evenkeel route` and `[[test]]` say is what the proxy does, whatever is asked.

use std::process::Output;

use serde_json::Value;

use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// Routes from the least to the most specific, without their names. Each answers with its number.
const CONDITIONS: [&str; 14] = [
    "",
    "path = \"/a\"",
    "hosts = [\"*.example.com\"]",
    "hosts = [\"*.example.com\"]\npath = \"/a\"",
    "hosts = [\"*.eu.example.com\"]",
    "hosts = [\"www.example.com\"]",
    "hosts = [\"www.example.com\"]\nquery = { v = \"~^[0-9]+$\" }",
    "hosts = [\"www.example.com\"]\nheaders = { x-kind = \"*\" }",
    "hosts = [\"www.example.com\"]\nheaders = { x-kind = \"~^b+$\", x-more = \"1\" }",
    "hosts = [\"www.example.com\"]\nmethods = [\"PUT\", \"DELETE\"]",
    "hosts = [\"www.example.com\"]\npath = \"/a\"",
    "hosts = [\"www.example.com\"]\npath = \"/a/b/\"",
    "hosts = [\"www.example.com\"]\npath = \"~^/a/[0-9]+$\"",
    "hosts = [\"www.example.com\"]\npath = \"=/a/b/c\"",
];

/// Method, host, target, fields, and the place of the route that takes it.
type Question = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    usize,
);

const QUESTIONS: [Question; 20] = [
    ("GET", "other", "/", "", 0),
    ("GET", "other", "/a/x", "", 1),
    ("GET", "other", "/ab", "", 0),
    ("GET", "a.example.com", "/", "", 2),
    ("GET", "a.example.com", "/a", "", 3),
    ("GET", "a.eu.example.com", "/a", "", 4),
    ("GET", "example.com", "/", "", 0),
    ("GET", "www.example.com", "/", "", 5),
    ("GET", "www.example.com", "/?v=x", "", 5),
    ("GET", "www.example.com", "/?u=1&v=12", "", 6),
    ("GET", "www.example.com", "/?v=12", "X-Kind: a\r\n", 7),
    (
        "GET",
        "www.example.com",
        "/",
        "x-kind: bb\r\nx-more: 1\r\n",
        8,
    ),
    (
        "GET",
        "www.example.com",
        "/",
        "x-kind: bb\r\nx-more: 2\r\n",
        7,
    ),
    (
        "PUT",
        "www.example.com",
        "/?v=12",
        "x-kind: bb\r\nx-more: 1\r\n",
        9,
    ),
    ("DELETE", "www.example.com", "/a", "", 10),
    ("GET", "www.example.com", "/a/b", "x-kind: bb\r\n", 11),
    ("GET", "www.example.com", "/a/7", "", 12),
    ("GET", "www.example.com", "/a/7x", "", 10),
    ("GET", "www.example.com", "/a/b/c", "", 13),
    ("GET", "www.example.com", "/a/b/c/", "", 11),
];

/// The routes in some order, with names that sort in that order.
fn in_order(order: &[usize]) -> String {
    let route = |(position, place): (usize, &usize)| {
        let conditions = CONDITIONS[*place];
        format!("[route.r{position:02}]\n{conditions}\nrespond = {{ body = \"{place}\" }}\n")
    };
    let routes: Vec<String> = order.iter().enumerate().map(route).collect();
    format!("[listener.web]\nbind = \"@web\"\n{}", routes.concat())
}

#[test]
fn neither_order_nor_names_decide() {
    let forward: Vec<usize> = (0..CONDITIONS.len()).collect();
    let backward: Vec<usize> = forward.iter().rev().copied().collect();
    let mut mixed = forward.clone();
    fastrand::Rng::with_seed(3).shuffle(&mut mixed);
    for order in [forward, backward, mixed] {
        let proxy = Evenkeel::start(&in_order(&order));
        let mut client = proxy.client();
        for (method, host, target, fields, place) in QUESTIONS {
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
            ));
            let response = client.response();
            assert_eq!(
                response.body.text(),
                place.to_string(),
                "{method} {host}{target} {fields:?} in {order:?}"
            );
        }
    }
}

/// Every kind of action, two listeners, and a listener's own upstream.
fn actions(endpoint: &Endpoint) -> String {
    let address = endpoint.address();
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"rest\"\n\
         [route.teapot]\npath = \"/tea\"\nrespond = {{ status = 418 }}\n\
         [route.moved]\npath = \"/moved\"\nredirect = {{ scheme = \"https\", status = 302 }}\n\
         [route.parts]\npath = \"/parts\"\nsplit = {{ app = 1, rest = 1 }}\n\
         [route.tunnel]\nhosts = [\"tunnel\"]\nconnect = true\nupstream = \"app\"\n\
         [route.closed]\nhosts = [\"closed\"]\nmethods = [\"CONNECT\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n[upstream.rest]\nendpoints = [\"{address}\"]\n"
    )
}

/// Method, URL, and the target and host as they stand on the wire.
type Request = [&'static str; 4];

const REQUESTS: [Request; 12] = [
    ["GET", "http://a/tea", "/tea", "a"],
    ["GET", "http://a/moved/x?y", "/moved/x?y", "a"],
    ["GET", "http://a:81/moved", "/moved", "a:81"],
    ["POST", "http://a/parts", "/parts", "a"],
    ["GET", "http://a/", "/", "a"],
    ["TRACE", "http://a/", "/", "a"],
    ["TRACE", "http://a/tea", "/tea", "a"],
    ["GET", "http://a/x/%2e%2e/tea", "/x/%2e%2e/tea", "a"],
    ["CONNECT", "http://tunnel:443/", "tunnel:443", "tunnel:443"],
    ["CONNECT", "http://closed:443/", "closed:443", "closed:443"],
    ["CONNECT", "http://a:443/", "a:443", "a:443"],
    ["GET", "http://tunnel/x", "/x", "tunnel"],
];

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_command_says_what_the_proxy_answers() {
    let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::start(&actions(&endpoint));
    for [method, url, target, host] in REQUESTS {
        let said = json(&proxy.command(&["--json", "route", method, url]));
        let running = json(&proxy.command(&["--json", "route", "--running", method, url]));
        assert_eq!(said, running, "{method} {url}");

        let mut client = proxy.client();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ));
        let head = client.head().expect("an answer");
        let status = head.status().expect("a status");
        // Without a status of our own it is the endpoint's, so there must be one.
        let is_forwarded = said["status"].is_null();
        let expected = said["status"].as_u64().unwrap_or(200);
        assert_eq!(u64::from(status), expected, "{method} {url}: {said}");
        let upstreams = said["upstreams"].as_array().expect("a list");
        assert_eq!(
            upstreams.is_empty(),
            !is_forwarded,
            "{method} {url}: {said}"
        );
        let location = head.value("location");
        assert_eq!(said["location"].as_str(), location, "{method} {url}");
    }
}

#[test]
fn the_command_refuses_what_the_proxy_refuses() {
    let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::start(&actions(&endpoint));
    for target in ["/tea#x", "/moved#", "/\u{e4}"] {
        let url = format!("http://a{target}");
        for running in [&[][..], &["--running"]] {
            let said = proxy.command(&[&["route", "GET", &url], running].concat());
            assert!(!said.status.success(), "{url}: {said:?}");
            let why = String::from_utf8_lossy(&said.stderr);
            assert!(why.contains("malformed request target"), "{url}: {why}");
        }
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().status, 400, "{target}");
    }
}

#[test]
fn a_refused_tunnel_reaches_nobody() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::start(&actions(&endpoint));
    for host in ["closed:443", "a:443"] {
        let mut client = proxy.client();
        client.send(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 405, "{host}");
        assert!(!response.head.list("allow").contains(&"connect".to_owned()));
    }
    assert_eq!(endpoint.connections(), 0);
    // The same listener opens one where that is allowed.
    let mut client = proxy.client();
    client.send("CONNECT tunnel:443 HTTP/1.1\r\nHost: tunnel:443\r\n\r\n");
    assert_eq!(client.head().and_then(|head| head.status()), Ok(200));
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
}

#[test]
fn the_command_says_why_others_lost() {
    let files = Files::new(&[(
        "evenkeel.toml",
        "[listener.web]\nbind = \":8080\"\n[route.any]\nrespond = {}\n\
         [route.api]\nhosts = [\"api.example.com\"]\nupstream = \"api\"\n\
         [route.other]\nhosts = [\"other.example.com\"]\nrespond = {}\n\
         [upstream.api]\nendpoints = [\"10.0.0.1:80\"]\n",
    )]);
    let done = files.run(&[
        "-c",
        "evenkeel.toml",
        "route",
        "GET",
        "http://api.example.com/x",
    ]);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    for part in [
        "route api at listener web",
        "goes to upstream api",
        "any",
        "outranked",
        "less specific: any host against exact host",
        "other",
        "no match",
        "host `other.example.com` does not match `api.example.com`",
    ] {
        assert!(
            done.out.contains(part),
            "{part} is missing in:\n{}",
            done.out
        );
    }
    // Colours are for terminals.
    assert!(!done.out.contains('\x1b'), "{done:?}");
}

#[test]
fn tests_hold_or_stop_the_configuration() {
    let routes = "[listener.web]\nbind = \":8080\"\n[route.api]\npath = \"/v1/\"\nupstream = \"api\"\n\
         [route.old]\npath = \"/old\"\nredirect = { path = \"/new\" }\n\
         [upstream.api]\nendpoints = [\"10.0.0.1:80\"]\n\
         [[test]]\nrequest = \"GET http://a/v1/x\"\nexpect = { route = \"api\", upstream = \"api\" }\n\
         [[test]]\nrequest = \"GET http://a/old?q\"\n\
         expect = { status = 308, location = \"http://a/new?q\" }\n\
         [[test]]\nrequest = \"GET http://a/none\"\nexpect = { status = 404 }\n";
    let wrong = routes.replace("/old?q\"\n", "/older\"\n");
    let files = Files::new(&[("right.toml", routes), ("wrong.toml", &wrong)]);
    let right = files.run(&["check", "right.toml"]);
    assert_eq!((right.code, right.err.as_str()), (0, ""), "{right:?}");
    assert!(right.out.contains("3 tests"), "{right:?}");

    let wrong = files.run(&["check", "wrong.toml"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{wrong:?}");
    for part in [
        "error[E0219]: the test `GET http://a/older` fails",
        "wrong.toml:16:21",
        "status `308` was expected, it is 404",
        "location `http://a/new?q` was expected, it is none",
    ] {
        assert!(
            wrong.err.contains(part),
            "{part} is missing in:\n{}",
            wrong.err
        );
    }
    let report = files.run(&["--json", "check", "wrong.toml"]);
    let report: Value = serde_json::from_str(&report.out).expect("JSON");
    assert_eq!(report["valid"], false);
    assert_eq!(report["tests"]["run"], 3);
    assert_eq!(report["tests"]["failed"][0]["index"], 1);
    // What does not do what was promised does not start either.
    let run = files.run(&["run", "-c", "wrong.toml"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("status `308` was expected"), "{run:?}");
    assert!(run.err.contains("wrong.toml:16:21"), "{run:?}");
}

#[test]
fn a_question_that_makes_no_sense_is_wrong_use() {
    let files = Files::new(&[(
        "evenkeel.toml",
        "[listener.web]\nbind = \":8080\"\n[route.any]\nrespond = {}\n",
    )]);
    for arguments in [
        &["route"][..],
        &["route", "GET"],
        &["route", "GET", "/path"],
        &["route", "GET", "http://a/", "-H", "nonsense"],
        &["route", "GET", "http://a/", "--listener", "nobody"],
    ] {
        let mut line = vec!["-c", "evenkeel.toml"];
        line.extend(arguments);
        let done = files.run(&line);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!done.err.is_empty(), "{arguments:?}");
    }
}
