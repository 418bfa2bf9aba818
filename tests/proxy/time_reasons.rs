//! Each time limit has a reason of its own, in the field, the log and the metric: whoever has to
//! change one must know which.

use std::time::Duration;

use crate::support::clock::pause;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// The word in `Proxy-Status`.
fn word(said: Option<&str>) -> &str {
    let word = said.unwrap_or_default().split("error=").nth(1);
    word.unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// An endpoint behind a route and an upstream with such settings.
fn before(endpoint: &Endpoint, route: &str, upstream: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{route}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n{upstream}\n"
    ))
}

/// Sends `request` and says how it was answered, logged and counted.
fn answered(proxy: &Evenkeel, request: &str) -> (u16, String) {
    let mut client = proxy.client();
    client.send(request);
    let response = client.response();
    let said = word(response.head.value("proxy-status")).to_owned();
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["error.type"], said.as_str(), "{line}");
    assert_eq!(line["end"], "timeout", "{line}");
    let reason = format!("reason=\"{said}\"");
    assert_eq!(proxy.metric("evenkeel_http_errors_total", &[&reason]), 1);
    (response.status, said)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_limit_that_passes_before_the_answer_is_told() {
    let silent = || Endpoint::stalls_after("");
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    let tls = "tls = { insecure_skip_verify = true }";
    let given = format!("{}X-Time: 200\r\n\r\n", &GET[..GET.len() - 2]);
    for (route, upstream, request, expected) in [
        (
            "timeouts.response_head = \"200ms\"",
            "",
            GET,
            (504, "http_response_timeout"),
        ),
        (
            "timeouts.request = \"200ms\"",
            "",
            GET,
            (504, "request_timeout"),
        ),
        (
            "retry.per_try_timeout = \"200ms\"",
            "",
            GET,
            (504, "try_timeout"),
        ),
        (
            "timeouts.body_idle = \"200ms\"",
            "",
            upload,
            (408, "request_body_timeout"),
        ),
        (
            "timeouts.connect = \"200ms\"",
            tls,
            GET,
            (504, "tls_handshake_timeout"),
        ),
        (
            "deadline_field = \"x-time\"",
            "",
            given.as_str(),
            (504, "deadline_exceeded"),
        ),
        // The shorter one is told.
        (
            "deadline_field = \"x-time\"\ntimeouts.request = \"100ms\"",
            "",
            given.as_str(),
            (504, "request_timeout"),
        ),
    ] {
        let endpoint = silent();
        let proxy = before(&endpoint, route, upstream);
        let (status, said) = answered(&proxy, request);
        assert_eq!((status, said.as_str()), expected, "{route}");
    }
}

#[test]
fn a_head_that_does_not_come_is_told() {
    let endpoint = Endpoint::says("hello");
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         timeouts = {{ request_head = \"200ms\" }}\n"
    ));
    let (status, said) = answered(&proxy, "GET / HTTP/1.1\r\nHost");
    assert_eq!((status, said.as_str()), (408, "request_head_timeout"));
}

#[test]
fn what_stops_a_response_on_its_way_is_logged() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    for (route, word) in [
        ("timeouts.body_idle = \"200ms\"", "connection_read_timeout"),
        ("timeouts.request = \"200ms\"", "request_timeout"),
    ] {
        let endpoint = Endpoint::stalls_after(head);
        let proxy = before(&endpoint, route, "");
        let mut client = proxy.client();
        client.send(GET);
        assert!(
            client
                .try_response_to("GET")
                .is_ok_and(|response| !response.is_whole())
        );
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["http.response.status_code"], 200, "{line}");
        assert_eq!(line["error.type"], word, "{line}");
        assert_eq!(line["end"], "timeout", "{line}");
    }
}

/// An endpoint answers before it has the request, and then waits for the rest of it, which does not
/// come; or it takes no more of it, which is no fault of its client's.
#[test]
fn a_request_that_does_not_go_on_behind_its_answer_is_told_apart() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
    for (length, word) in [
        (3, "request_body_timeout"),
        (64_000_000, "connection_read_timeout"),
    ] {
        let endpoint = Endpoint::start(move |peer| {
            if peer.head().is_some() {
                peer.send(head);
                peer.wait_for_release();
            }
        });
        let proxy = before(&endpoint, "timeouts.body_idle = \"500ms\"", "");
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        client.send_until_blocked(&vec![b'a'; length], Duration::from_millis(300));
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["http.response.status_code"], 200, "{line}");
        assert_eq!(line["error.type"], word, "{line}");
        assert_eq!(line["end"], "timeout", "{line}");
        endpoint.release("");
    }
}

#[test]
fn a_client_that_takes_no_more_is_told_apart() {
    let much = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
    let endpoint = Endpoint::start(move |peer| {
        if peer.request().is_some() {
            peer.send(much);
            let piece = vec![b'a'; 65_536];
            while peer.try_send(&piece) {}
        }
    });
    let proxy = before(&endpoint, "timeouts.body_idle = \"300ms\"", "");
    let mut client = proxy.client();
    client.send(GET);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["error.type"], "response_not_taken", "{line}");
    assert_eq!(line["end"], "timeout", "{line}");
    drop(client);
}

#[test]
fn endpoints_are_told_what_is_left() {
    let endpoint = Endpoint::echo();
    let route = "deadline_field = \"x-time\"\ntimeouts.request = \"20s\"";
    let proxy = before(&endpoint, route, "");
    let mut client = proxy.client();
    for (sent, most, unit) in [
        ("", 20_000, ""),
        ("X-Time: 5000\r\n", 5_000, ""),
        ("X-Time: 5s\r\n", 5_000, "ms"),
        // The route gives less.
        ("X-Time: 60000ms\r\n", 20_000, "ms"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{sent}\r\n"));
        assert_eq!(client.response().status, 200, "{sent}");
        let requests = endpoint.requests();
        let request = requests.last().expect("it came");
        let told = request.head.value("x-time").expect("it is told").to_owned();
        let left = told
            .strip_suffix(unit)
            .and_then(|left| left.parse::<u64>().ok());
        let left = left.unwrap_or_else(|| panic!("{sent}: {told}"));
        assert!(left <= most && left > most / 2, "{sent}: {told}");
    }
}

#[test]
fn every_attempt_is_told_what_is_left_then() {
    let (silent, second) = (Endpoint::stalls_after(""), Endpoint::echo());
    let (one, other) = (silent.address(), second.address());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         deadline_field = \"x-time\"\nretry = {{ attempts = 2, per_try_timeout = \"300ms\" }}\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{one}\", \"{other}\"]\n"
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Time: 9000\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let left = |endpoint: &Endpoint| {
        let request = endpoint.request();
        let told = request.head.value("x-time").expect("it is told").to_owned();
        told.parse::<u64>().expect("milliseconds")
    };
    // No attempt has more than its own limit.
    assert!(left(&silent) <= 300);
    assert!(left(&second) <= 300);
}

#[test]
fn a_time_that_cannot_be_read_is_refused() {
    let endpoint = Endpoint::echo();
    let proxy = before(&endpoint, "deadline_field = \"x-time\"", "");
    for times in [
        "X-Time: soon\r\n",
        "X-Time: 1.5s\r\n",
        "X-Time: 1\r\nX-Time: 1\r\n",
    ] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{times}\r\n"));
        assert_eq!(client.response().status, 400, "{times}");
    }
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Time: 0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 504);
    assert_eq!(
        word(response.head.value("proxy-status")),
        "deadline_exceeded"
    );
    pause(Duration::from_millis(50));
    assert!(endpoint.requests().is_empty(), "it was asked in vain");
}
