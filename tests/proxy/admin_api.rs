//! The admin API from outside: both entrances, every resource, and who may do what.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::Value;

use crate::cases::get;
use crate::support::client::{Client, Response};
use crate::support::clock::{PATIENCE, eventually};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Wire;

/// Everything that can be looked at.
const RESOURCES: [&str; 15] = [
    "/livez",
    "/readyz?verbose",
    "/startupz",
    "/metrics",
    "/v1/status",
    "/v1/info",
    "/v1/listeners",
    "/v1/certificates",
    "/v1/routes",
    "/v1/upstreams",
    "/v1/upstreams/app/endpoints",
    "/v1/config",
    "/v1/config?effective",
    "/v1/events",
    "/v1/route?url=http://a/",
];

fn start(endpoint: &Endpoint) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ))
}

/// One request through the TCP address.
fn over_http(proxy: &Evenkeel, method: &str, path: &str) -> Response {
    let mut client = Client::connect(proxy.address("admin"));
    client.send(request(method, path));
    client.response_to(method)
}

/// One request through the Unix socket.
fn over_socket(proxy: &Evenkeel, method: &str, path: &str) -> Response {
    let mut stream = UnixStream::connect(proxy.socket()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(request(method, path).as_bytes())
        .expect("it reads");
    let mut wire = Wire::new(stream);
    let head = wire.head().expect("an answer");
    let framing = head.response_framing(method).expect("a framing");
    Response {
        status: head.status().expect("a status"),
        body: wire.body(framing).expect("a body"),
        head,
    }
}

type Entrance = fn(&Evenkeel, &str, &str) -> Response;
const ENTRANCES: [(&str, Entrance); 2] = [("http", over_http), ("socket", over_socket)];

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n")
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body.text()).expect("JSON")
}

/// A problem document (RFC 9457) with this status.
#[track_caller]
fn assert_problem(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(
        response.head.value("content-type"),
        Some("application/problem+json")
    );
    let problem = json(response);
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{member}: {problem}");
    }
}

#[test]
fn every_resource_answers_at_both_entrances() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint);
    for (entrance, ask) in ENTRANCES {
        for path in RESOURCES {
            let response = ask(&proxy, "GET", path);
            assert_eq!(response.status, 200, "{entrance} {path}: {response:?}");
            assert_eq!(response.head.value("cache-control"), Some("no-store"));
            let media = response.head.value("content-type").unwrap_or_default();
            if path.starts_with("/v1/") {
                assert_eq!(media, "application/json", "{entrance} {path}");
                json(&response);
            } else {
                assert!(
                    media.starts_with("text/plain"),
                    "{entrance} {path}: {media}"
                );
            }
            let head = ask(&proxy, "HEAD", path);
            assert_eq!(head.status, 200, "{entrance} {path}");
            assert_eq!(head.head.value("content-type"), Some(media));
            let length = head.head.value("content-length");
            assert!(
                length.is_some_and(|length| length != "0"),
                "{entrance} {path}"
            );
        }
    }
}

#[test]
fn methods_that_do_not_fit_are_refused() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint);
    let before = proxy.generation();
    for (entrance, ask) in ENTRANCES {
        for path in RESOURCES {
            for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let response = ask(&proxy, method, path);
                assert_problem(&response, 405);
                assert_eq!(
                    response.head.list("allow"),
                    ["get", "head"],
                    "{entrance} {method} {path}"
                );
            }
        }
        let response = ask(&proxy, "GET", "/v1/reload");
        assert_problem(&response, 405);
        assert_eq!(response.head.list("allow"), ["post"], "{entrance}");
    }
    // What changes something goes through the socket alone, which the file's owner alone may use.
    assert_problem(&over_http(&proxy, "POST", "/v1/reload"), 403);
    assert_eq!(proxy.generation(), before);
    let report = over_socket(&proxy, "POST", "/v1/reload");
    assert_eq!(report.status, 200, "{report:?}");
    assert_eq!(json(&report)["result"], "applied");
    assert_eq!(proxy.generation(), before + 1);
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_a_problem() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint);
    for (entrance, ask) in ENTRANCES {
        for (path, status) in [
            ("/", 404),
            ("/v1", 404),
            ("/v1/nothing", 404),
            ("/livez/", 404),
            ("/v1/upstreams/nobody/endpoints", 404),
            ("/v1/upstreams//endpoints", 404),
            ("/v1/events?since=yesterday", 400),
            ("/v1/route", 400),
            ("/v1/route?url=/path", 400),
            ("/v1/route?url=http://a/&method=G%20T", 400),
            ("/v1/route?url=http://a/&header=nonsense", 400),
            ("/v1/route?url=http://a/&listener=nobody", 400),
        ] {
            let response = ask(&proxy, "GET", path);
            assert_eq!(response.status, status, "{entrance} {path}: {response:?}");
            assert_problem(&response, status);
        }
    }
}

#[test]
fn the_socket_is_its_owners_and_goes_with_the_instance() {
    let mut proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = {}\n\
         [shutdown]\ngrace = \"10ms\"\ndrain = \"1s\"\n",
    );
    let path = proxy.socket();
    let file = fs::symlink_metadata(&path).expect("a file");
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // Nothing else was left beside it.
    let folder = path.parent().expect("a folder");
    let names: Vec<String> = fs::read_dir(folder)
        .expect("a readable folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("sock"))
        .collect();
    assert_eq!(names, ["admin.sock"]);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn the_numbers_are_those_of_this_moment() {
    let endpoint = Endpoint::stalls_after("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    let proxy = start(&endpoint);
    let mut client = proxy.client();
    client.send(get("X-A: b"));
    client.head().expect("a head");
    let route = |status: &Value| {
        let routes = status["routes"].as_array().expect("a list");
        let found = routes.iter().find(|route| route["name"] == "all");
        found.expect("the route").clone()
    };
    let status = proxy.admin_json("/v1/status");
    assert_eq!(route(&status)["in_flight"], 1, "{status}");
    assert_eq!(status["listeners"][0]["connections"], 1);
    assert_eq!(
        status["listeners"][0]["address"],
        proxy.address("web").to_string()
    );
    let shown = &proxy.admin_json("/v1/upstreams/app/endpoints")[0];
    assert_eq!(
        (&shown["in_flight"], &shown["connections"]),
        (&1.into(), &1.into())
    );
    assert_eq!(shown["address"], endpoint.address().to_string());
    client.abort();
    eventually("nothing is under way any more", || {
        let status = proxy.admin_json("/v1/status");
        let shown = &status["upstreams"][0]["endpoints"][0];
        let is_quiet = route(&status)["in_flight"] == 0
            && status["listeners"][0]["connections"] == 0
            && shown["in_flight"] == 0
            && shown["connections"] == 0;
        is_quiet.then_some(())
    });
    assert_eq!(route(&proxy.admin_json("/v1/status"))["requests"], 1);
}

#[test]
fn the_configuration_in_force_is_known_by_its_digest() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint);
    let digest = |proxy: &Evenkeel| {
        let config = proxy.admin_json("/v1/config");
        let digest = config["sha256"].as_str().expect("text").to_owned();
        assert_eq!(
            proxy.admin_json("/v1/status")["configuration"]["sha256"],
            digest
        );
        let line = format!(
            "evenkeel_config_info{{generation=\"{}\"",
            config["generation"]
        );
        let metrics = proxy.admin("/metrics").body.text();
        let line = metrics.lines().find(|other| other.starts_with(&line));
        assert!(line.is_some_and(|line| line.contains(&digest)), "{metrics}");
        digest
    };
    let first = digest(&proxy);
    assert_eq!(first.len(), 64);
    proxy.reload("[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = {}\n");
    let second = digest(&proxy);
    assert_ne!(first, second);
    // What is in force without having been written is shown on demand.
    let toml = |path| {
        proxy.admin_json(path)["toml"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let (written, effective) = (toml("/v1/config"), toml("/v1/config?effective"));
    assert!(!written.contains("client_idle"), "{written}");
    assert!(effective.contains("client_idle = \"75s\""), "{effective}");
}

#[test]
fn events_say_what_happened_and_why() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint);
    let last = proxy.admin_json("/v1/events")["last"]
        .as_u64()
        .expect("a number");
    proxy.reload("[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = {}\n");
    proxy.write_config("[listener.web]\nbind = \"nowhere\"\n");
    assert_eq!(proxy.command(&["reload"]).status.code(), Some(1));
    let since = proxy.admin_json(&format!("/v1/events?since={last}"));
    let events = since["events"].as_array().expect("a list");
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert!(kinds.contains(&"config_applied"), "{since}");
    assert_eq!(kinds.last(), Some(&"config_rejected"), "{since}");
    for event in events {
        assert!(
            event["why"].as_str().is_some_and(|why| !why.is_empty()),
            "{event}"
        );
        assert!(
            event["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')),
            "{event}"
        );
        assert!(event["id"].as_u64() > Some(last), "{event}");
    }
    let newest = since["last"].as_u64().expect("a number");
    let none = proxy.admin_json(&format!("/v1/events?since={newest}"));
    assert_eq!(
        (&none["last"], &none["events"]),
        (&newest.into(), &Value::Array(vec![]))
    );
}

#[test]
fn status_ends_with_a_code_for_scripts() {
    let mut proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = {}\n\
         [shutdown]\ngrace = \"1m\"\ndrain = \"1m\"\n",
    );
    let code = |arguments: &[&str]| proxy.command(arguments).status.code();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--ready"],
        &["status", "--quiet"],
    ] {
        assert_eq!(code(arguments), Some(0), "{arguments:?}");
    }
    assert_eq!(code(&["status", "--nonsense"]), Some(2));
    let nobody = [
        "--admin",
        "unix:/nonexistent/admin.sock",
        "status",
        "--ready",
    ];
    assert_eq!(code(&nobody), Some(3));
    // A port on which nobody listens either.
    let refused = Endpoint::refuses().address().to_string();
    assert_eq!(code(&["--admin", &refused, "status"]), Some(3));

    proxy.signal(Signal::TERM);
    eventually("it says that it is not ready", || {
        (proxy.command(&["status", "--ready"]).status.code() == Some(1)).then_some(())
    });
    let unready = proxy.command(&["status", "--ready"]);
    assert!(unready.stdout.is_empty(), "{unready:?}");
    let said = String::from_utf8_lossy(&unready.stderr).into_owned();
    assert!(said.contains("[-]not-draining failed"), "{said}");
    // It still does its work, and says how it stands.
    assert_eq!(proxy.admin("/livez").status, 200);
    assert_eq!(proxy.admin("/startupz").status, 200);
    assert_eq!(proxy.admin("/readyz").status, 503);
    let status = proxy.admin_json("/v1/status");
    assert_eq!(
        (&status["ready"], &status["draining"]),
        (&false.into(), &true.into())
    );
    assert_eq!(proxy.command(&["status"]).status.code(), Some(0));
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn status_says_what_is_wrong_first() {
    let down = Endpoint::refuses();
    let address = down.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n\
         health = {{ tcp = {{}}, interval = \"100ms\", timeout = \"50ms\", unhealthy_after = 1 }}\n"
    ));
    let shown = eventually("the endpoint is known to be down", || {
        let shown = proxy.command(&["status"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        shown.contains("! upstream app").then_some(shown)
    });
    assert!(shown.contains(&address.to_string()), "{shown}");
    assert!(shown.contains("why"), "{shown}");
    assert!(
        !shown.contains('\x1b'),
        "colours are for terminals: {shown:?}"
    );
    let coloured = proxy.command(&["--color", "always", "status"]);
    assert!(coloured.stdout.contains(&0x1b), "{coloured:?}");
}
