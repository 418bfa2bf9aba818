//! Answers that are the proxy's own: what went wrong, whose fault it was, in the reader's format
//! (RFC 9209, RFC 9457).

use crate::cases::get;
use crate::support::client::Response;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// Sends a request through a proxy whose timeouts are short.
fn ask(endpoint: &Endpoint, lines: &str) -> Response {
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nconnect = \"300ms\"\nresponse_head = \"300ms\"\n\
         [listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send(get(lines));
    client.response()
}

/// What `Proxy-Status` says: ourselves, and the word of RFC 9209 §2.3.
fn reason(response: &Response) -> String {
    let status = response.head.value("proxy-status").unwrap_or_default();
    let mut parts = status.split(';').map(str::trim);
    assert_eq!(parts.next(), Some("evenkeel"), "{response:?}");
    parts
        .find_map(|part| part.strip_prefix("error="))
        .unwrap_or_default()
        .to_owned()
}

/// A cause: its name, the endpoint that it comes from, the status, and the words that may name it.
type Cause = (&'static str, Endpoint, u16, &'static [&'static str]);

#[test]
fn every_cause_has_its_word_and_its_status() {
    let cases: [Cause; 7] = [
        ("refuses", Endpoint::refuses(), 502, &["connection_refused"]),
        (
            "closes at once",
            Endpoint::closes_after_accept(),
            502,
            &["connection_terminated"],
        ),
        (
            "closes unanswered",
            Endpoint::closes_unanswered(),
            502,
            &["connection_terminated"],
        ),
        (
            "never answers",
            Endpoint::never_reads(),
            504,
            &["http_response_timeout", "connection_read_timeout"],
        ),
        (
            "stalls in its head",
            Endpoint::stalls_after("HTTP/1.1 200 OK\r\n"),
            504,
            &["http_response_timeout", "connection_read_timeout"],
        ),
        (
            "speaks nonsense",
            Endpoint::answers("nonsense\r\n\r\n"),
            502,
            &["http_protocol_error"],
        ),
        (
            "ends in its head",
            Endpoint::answers_and_closes("HTTP/1.1 200 OK\r\n"),
            502,
            &["http_response_incomplete", "connection_terminated"],
        ),
    ];
    for (name, endpoint, status, reasons) in cases {
        let response = ask(&endpoint, "X-A: b");
        assert_eq!(response.status, status, "{name}: {response:?}");
        let reason = reason(&response);
        assert!(reasons.contains(&reason.as_str()), "{name}: {reason}");
        assert!(response.head.value("x-request-id").is_some(), "{name}");
        assert!(response.head.value("date").is_some(), "{name}");
        // An untrusted client learns nothing of the inside.
        let address = endpoint.address().to_string();
        let all = format!("{:?}{}", response.head, response.body.text());
        assert!(!all.contains(&address), "{name}: {all}");
    }
}

#[test]
fn an_answer_has_the_format_that_is_accepted() {
    for (accept, kind) in [
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "text/html"),
        ("text/plain", "text/plain"),
        ("application/json;q=0.1, text/html", "text/html"),
        ("image/png", "text/plain"),
    ] {
        let response = ask(&Endpoint::refuses(), &format!("Accept: {accept}"));
        let content_type = response.head.value("content-type").unwrap_or_default();
        assert!(content_type.starts_with(kind), "{accept}: {content_type}");
        let id = response
            .head
            .value("x-request-id")
            .expect("an id")
            .to_owned();
        let body = response.body.text();
        assert!(body.contains(&id), "{accept}: {body}");
        if kind == "application/problem+json" {
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(problem["status"], 502);
            assert_eq!(problem["instance"], id.as_str());
            assert!(
                problem["type"]
                    .as_str()
                    .is_some_and(|name| name.ends_with("connection_refused"))
            );
            assert!(problem["title"].is_string());
        }
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let endpoint = Endpoint::refuses();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status, 502);
    }
    assert!(client.is_quiet());
}

#[test]
fn a_request_that_no_route_takes_is_not_found() {
    let proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n[route.known]\nhosts = [\"known\"]\n\
         respond = { status = 200, body = \"here\" }\n",
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: unknown\r\n\r\n");
    assert_eq!(client.response().status, 404);
    client.send("GET / HTTP/1.1\r\nHost: known\r\n\r\n");
    assert_eq!(client.response().body.text(), "here");
}

#[test]
fn an_answer_of_an_endpoint_is_not_ours() {
    let endpoint = Endpoint::answers("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let response = ask(&endpoint, "X-A: b");
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (503, "busy")
    );
    assert_eq!(response.head.values("proxy-status"), Vec::<&str>::new());
}
