//! Logs: what they say, and that nothing waits for them.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A listener that sends everything to this endpoint, and what `[log]` says.
fn config(endpoint: &Endpoint, log: &str) -> String {
    let address = endpoint.address();
    format!(
        "[log]\n{log}\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"app\"\n\
         [upstream.app]\nzone.east.endpoints = [\"{address}\"]\n"
    )
}

#[test]
fn a_line_says_what_a_request_was_and_how_it_went() {
    let endpoint = Endpoint::says("hello");
    let proxy = Evenkeel::start(&config(&endpoint, ""));
    let mut client = proxy.client();
    client.send(
        "POST /a%20b?secret=1 HTTP/1.1\r\nHost: Shop.example:8080\r\nUser-Agent: test \"1\"\r\n\
         Content-Length: 3\r\n\r\nabc",
    );
    let response = client.response();
    let line = &proxy.access_lines(1)[0];
    assert_eq!(
        line["request_id"],
        response.head.value("x-request-id").unwrap_or_default()
    );
    assert_eq!(line["endpoint"], endpoint.address().to_string());
    for (name, value) in [
        ("level", "info"),
        ("listener", "web"),
        ("route", "all"),
        ("upstream", "app"),
        ("zone", "east"),
        ("client.address", "127.0.0.1"),
        ("http.request.method", "POST"),
        ("url.scheme", "http"),
        ("url.path", "/a%20b"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test \"1\""),
        ("end", "ok"),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    for (name, value) in [
        ("http.response.status_code", 200),
        ("http.request.body.size", 3),
        ("http.response.body.size", 5),
        ("attempts", 1),
        ("generation", 1),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    for name in ["connect_s", "first_byte_s", "total_s", "overhead_s"] {
        let seconds = line[name].as_f64();
        assert!(
            seconds.is_some_and(|seconds| (0.0..20.0).contains(&seconds)),
            "{name} in {line}"
        );
    }
    assert!(
        line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')),
        "{line}"
    );
    assert!(
        line.get("error.type").is_none() && line.get("url.query").is_none(),
        "{line}"
    );
}

#[test]
fn a_line_says_what_went_wrong() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    for (endpoint, status, end, error) in [
        (
            Endpoint::refuses(),
            502,
            "endpoint_reset",
            "connection_refused",
        ),
        (
            Endpoint::closes_unanswered(),
            502,
            "endpoint_reset",
            "connection_terminated",
        ),
        (
            Endpoint::never_reads(),
            504,
            "timeout",
            "http_response_timeout",
        ),
        // The status was out already.
        (
            Endpoint::resets_after(head),
            200,
            "endpoint_reset",
            "http_response_incomplete",
        ),
    ] {
        let short = "[defaults.timeouts]\nresponse_head = \"300ms\"\n";
        let proxy = Evenkeel::start(&(config(&endpoint, "") + short));
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.try_response_to("GET").is_ok());
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["http.response.status_code"], status, "{line}");
        assert_eq!(line["end"], end, "{line}");
        assert_eq!(
            line["error.type"].as_str().unwrap_or_default(),
            error,
            "{line}"
        );
    }
    let endpoint = Endpoint::stalls_after("");
    let proxy = Evenkeel::start(&config(&endpoint, ""));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is asked", || {
        (!endpoint.requests().is_empty()).then_some(())
    });
    client.abort();
    assert_eq!(proxy.access_lines(1)[0]["end"], "client_abort");
}

#[test]
fn what_is_logged_is_decided_by_the_configuration() {
    let endpoint = Endpoint::says("hello");
    let mut proxy = Evenkeel::start(&config(&endpoint, "access = false"));
    let mut client = proxy.client();
    assert_eq!(client.get("/unseen").status, 200);
    // A reload changes it for the next request.
    proxy.reload(&config(&endpoint, "query = true"));
    assert_eq!(client.get("/seen?a=b").status, 200);
    let lines = proxy.access_lines(1);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["url.path"], &lines[0]["url.query"]),
        (&"/seen".into(), &"a=b".into())
    );
    proxy.reload(&config(&endpoint, "format = \"combined\""));
    assert_eq!(client.get("/combined").status, 200);
    eventually("a line in the Combined Log Format", || {
        let log = proxy.log();
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains("\"GET /combined HTTP/1.1\" 200 5"))?;
        line.starts_with("127.0.0.1 - - [").then_some(())
    });
    proxy.reload(&config(&endpoint, "access = false"));
    assert_eq!(client.get("/unseen").status, 200);
    proxy.signal(Signal::TERM);
    assert!(client.is_closed());
    assert!(proxy.wait_for_exit().success());
    assert!(!proxy.log().contains("unseen"));
}

#[test]
fn nobody_waits_for_a_reader_that_has_stopped() {
    let endpoint = Endpoint::says("hello");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let proxy = Evenkeel::start_with_output(&config(&endpoint, ""), Stdio::from(writer));
    let dropped = || proxy.metric("evenkeel_log_dropped_total", &["stream=\"access\""]);
    flood_until(&proxy, || dropped() > 0);
    // The reader goes on, and so does the log: whole lines only.
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("UTF-8");
        text
    });
    eventually("lines are written again", || {
        let before = dropped();
        assert_eq!(proxy.client().get("/behind").status, 200);
        pause(Duration::from_millis(300));
        (dropped() == before).then_some(())
    });
    drop(proxy);
    let text = reading.join().expect("the reader does not fail");
    let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(text.lines().all(whole), "a line was torn");
    assert!(text.contains("/behind"));
}

#[test]
fn nobody_waits_for_a_reader_that_has_gone() {
    let endpoint = Endpoint::says("hello");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let proxy = Evenkeel::start_with_output(&config(&endpoint, ""), Stdio::from(writer));
    drop(reader);
    flood_until(&proxy, || {
        proxy.metric("evenkeel_log_dropped_total", &["stream=\"access\""]) > 0
    });
}

#[test]
fn nobody_waits_for_a_disk_that_is_full() {
    let endpoint = Endpoint::says("hello");
    let mut proxy = Evenkeel::start(&config(&endpoint, "output = \"/dev/full\""));
    let dropped = || proxy.metric("evenkeel_log_dropped_total", &["stream=\"access\""]);
    flood_until(&proxy, || dropped() > 0);
    // A reload to a place with room ends the loss.
    let path = proxy.path("access.log");
    let text = format!("output = {path:?}");
    proxy.reload(&config(&endpoint, &text));
    assert_eq!(proxy.client().get("/here").status, 200);
    eventually("the line is in the file", || {
        let text = fs::read_to_string(&path).ok()?;
        text.contains("/here").then_some(())
    });
}

#[test]
fn a_log_that_was_moved_is_opened_anew() {
    let endpoint = Endpoint::says("hello");
    let proxy = {
        let mut proxy = Evenkeel::start(&config(&endpoint, ""));
        let path = proxy.path("access.log");
        proxy.reload(&config(&endpoint, &format!("output = {path:?}")));
        proxy
    };
    let path = proxy.path("access.log");
    let contains = |path: &std::path::Path, what: &str| {
        eventually(what, || {
            let text = fs::read_to_string(path).ok()?;
            text.contains(what).then_some(())
        });
    };
    assert_eq!(proxy.client().get("/first").status, 200);
    contains(&path, "/first");
    let moved = proxy.path("access.log.1");
    fs::rename(&path, &moved).expect("the file is there");
    proxy.signal(Signal::USR1);
    eventually("there is a new file", || path.exists().then_some(()));
    assert_eq!(proxy.client().get("/second").status, 200);
    contains(&path, "/second");
    assert!(
        !fs::read_to_string(&moved)
            .expect("a file")
            .contains("/second")
    );
}

/// Sends requests, all of which must succeed, until it is enough.
fn flood_until(proxy: &Evenkeel, is_enough: impl Fn() -> bool) {
    let mut client = proxy.client();
    // Long lines fill the buffers soon.
    let path = format!("/{}", "a".repeat(4000));
    eventually("lines are dropped", || {
        for _ in 0..200 {
            assert_eq!(client.get(&path).status, 200);
        }
        is_enough().then_some(())
    });
}

/// What a clock of the log showed.
fn clock(line: &Value) -> jiff::Timestamp {
    let text = line["ts"].as_str().expect("a time");
    text.parse().expect("a time of RFC 3339")
}

#[test]
fn a_slow_client_is_not_taken_for_the_proxy_or_the_endpoint() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let began = jiff::Timestamp::now();
    for part in [
        "POST / HTTP/1.1\r\nHost:",
        " a\r\nContent-Length: 3\r\n\r\n",
        "abc",
    ] {
        client.send(part);
        pause(Duration::from_millis(300));
    }
    assert_eq!(client.response().status, 200);
    let line = &proxy.access_lines(1)[0];
    let seconds = |name: &str| line[name].as_f64().expect("seconds");
    assert!(seconds("total_s") >= 0.6, "{line}");
    assert!(
        seconds("overhead_s") < 0.25,
        "the head and the body: {line}"
    );
    assert!(seconds("first_byte_s") < 0.25, "the body: {line}");
    // The line's time is when the request began, however long it took.
    let after = clock(line).duration_since(began).as_secs_f64();
    assert!((-0.01..0.25).contains(&after), "{after} s: {line}");
}

#[test]
fn a_head_that_does_not_come_is_the_clients_time() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         timeouts = {{ request_head = \"1500ms\" }}\n"
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost");
    // Another answer shortly after that is what dates are remembered from.
    pause(Duration::from_millis(100));
    assert_eq!(proxy.client().get("/").status, 200);
    let response = client.response();
    assert_eq!(response.status, 408);
    let date = response.head.value("date").expect("a date");
    let date = jiff::fmt::rfc2822::parse(date).expect("a date").timestamp();
    let age = jiff::Timestamp::now().duration_since(date).as_secs_f64();
    assert!(age < 1.4, "{age} s old");
    let line = &proxy.access_lines(2)[1];
    assert!(
        line["overhead_s"].as_f64().expect("seconds") < 0.5,
        "{line}"
    );
    assert_eq!(line["end"], "timeout");
}

#[test]
fn a_session_has_the_time_at_which_it_began() {
    let endpoint = Endpoint::sends_back();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nto = [\"{address}\"]\n"
    ));
    let began = jiff::Timestamp::now();
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    pause(Duration::from_millis(500));
    client.abort();
    let line = &proxy.access_lines(1)[0];
    let after = clock(line).duration_since(began).as_secs_f64();
    assert!((-0.01..0.25).contains(&after), "{after} s: {line}");
}

#[test]
fn who_had_nobody_to_ask_is_not_shed() {
    let address = Endpoint::refuses().address().to_string();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\npanic_threshold = \"0%\"\n\
         [upstream.app.health]\nhttp.path = \"/\"\ninterval = \"1s\"\nunhealthy_after = 1\n"
    ));
    eventually("the endpoint is unhealthy", || {
        (proxy.endpoint("app", &address)["state"] == "unhealthy").then_some(())
    });
    assert_eq!(proxy.client().get("/").status, 503);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["error.type"], "destination_unavailable");
    assert_eq!(line["end"], "endpoint_reset", "{line}");
}

#[test]
fn what_could_not_be_read_is_logged_too() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GARBAGE\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["http.response.status_code"], 400);
    assert_eq!(line["http.request.method"], "_OTHER");
    assert_eq!(line["end"], "denied");
}
