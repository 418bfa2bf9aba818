//! Connections: how long they last and what order they keep (RFC 9112 §9, RFC 9110 §10.1.1).

use std::time::Duration;

use crate::cases::{get, ok, post};
use crate::support::clock::pause;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::End;

/// An endpoint that answers with the target, later the lower the number in it.
fn names_targets() -> Endpoint {
    Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/0" {
                pause(Duration::from_millis(100));
            }
            let target = request.target();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
                target.len()
            ));
        }
    })
}

#[test]
fn a_connection_carries_many_requests() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..50 {
        client.send(get(""));
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.head.list("connection"), Vec::<String>::new());
    }
    // They are carried on by one connection too.
    assert_eq!(endpoint.requests().len(), 50);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_empty_line_between_requests_is_no_beginning_of_one() {
    // RFC 9112 §2.2: old clients leave one behind a body.
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\ntimeouts = {{ request_head = \"100ms\" }}\n"
    ));
    let longer_than_a_head_may_take = Duration::from_millis(300);
    for pieces in [vec!["\r\n"], vec!["\r", "\n"]] {
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(post("Content-Length: 2", "hi"));
            for piece in &pieces {
                client.send(piece);
                pause(longer_than_a_head_may_take);
            }
            assert_eq!(client.response().status, 200, "{pieces:?}");
        }
        // Another one is the beginning of a head, which does not end.
        client.send("\r\n");
        assert_eq!(client.response().status, 408, "{pieces:?}");
        assert!(client.is_closed());
    }
    // Also before the first request, and in one piece with the next one.
    let mut client = proxy.client();
    client.send("\r\n");
    pause(longer_than_a_head_may_take);
    client.send([get(""), b"\r\n".to_vec(), get("")].concat());
    for _ in 0..2 {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_client_that_says_close_is_obeyed() {
    for value in ["close", "Close", "keep-alive, close", "close, x-a"] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get(format!("Connection: {value}")));
        client.send("GET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.head.list("connection"), ["close"], "{value}");
        assert!(client.is_closed(), "{value}");
        assert_eq!(endpoint.requests().len(), 1, "{value}");
    }
}

#[test]
fn an_endpoint_that_says_close_closes_only_its_own() {
    let endpoint = Endpoint::answers_and_closes(ok("Connection: close\r\nContent-Length: 2", "ok"));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for count in 1..=5 {
        client.send(get(""));
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.head.list("connection"), Vec::<String>::new());
        assert_eq!(endpoint.connections(), count);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let endpoint = names_targets();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let all = (0..20).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.send(all.collect::<Vec<_>>().concat());
    for at in 0..20 {
        assert_eq!(client.response().body.text(), format!("/{at}"));
    }
}

#[test]
fn pipelined_requests_may_have_bodies() {
    let endpoint = names_targets();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(
        "POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
         POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(client.response().body.text(), "/0");
    assert_eq!(client.response().body.text(), "/1");
    let head = client.response_to("HEAD");
    assert_eq!(
        (head.head.value("content-length"), head.body.text().as_str()),
        (Some("2"), "")
    );
    assert_eq!(client.response().body.text(), "/3");
    assert!(client.is_closed());
    let requests = endpoint.requests();
    let bodies: Vec<String> = requests.iter().map(|request| request.body.text()).collect();
    assert_eq!(bodies, ["hello", "abc", "", ""]);
}

#[test]
fn what_is_pipelined_before_a_refused_message_is_answered() {
    let endpoint = names_targets();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(
        "GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n\
         GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.response().body.text(), "/0");
    assert_eq!(client.response().status, 400);
    assert!(client.is_closed());
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn a_message_may_come_a_byte_at_a_time() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for byte in post(
        "Transfer-Encoding: chunked",
        "5;a\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
    ) {
        client.send([byte]);
        pause(Duration::from_millis(1));
    }
    assert_eq!(client.response().status, 200);
    assert_eq!(endpoint.request().body.text(), "hello");
    client.send(get(""));
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_response_may_come_a_byte_at_a_time() {
    let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5;a\r\nhello\r\n0\r\nX-A: b\r\n\r\n";
    let endpoint = Endpoint::answers_slowly(bytes, Duration::from_millis(1));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(get("Expect: 100-continue"));
        assert_eq!(client.response().status, 100);
        assert_eq!(client.response().body.text(), "hello");
    }
}

#[test]
fn http_1_0_closes_by_default() {
    let endpoint = Endpoint::answers(ok("Content-Length: 5", "hello"));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (200, "hello")
    );
    assert!(client.is_closed());
    // To the endpoint it was HTTP/1.1, whose connection stays.
    client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn http_1_0_may_ask_to_keep_the_connection() {
    let endpoint = Endpoint::answers(ok("Content-Length: 5", "hello"));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.body.text(), "hello");
        if response.head.list("connection") != ["keep-alive"] {
            // A server may decline, but then it closes.
            assert!(client.is_closed());
            return;
        }
    }
}

#[test]
fn http_1_0_never_gets_chunks() {
    for keep_alive in ["", "Connection: keep-alive\r\n"] {
        let endpoint = Endpoint::answers(ok(
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
        ));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.0\r\n{keep_alive}\r\n"));
        let response = client.response();
        assert_eq!(
            response.head.values("transfer-encoding"),
            Vec::<&str>::new()
        );
        assert_eq!(response.body.text(), "hello");
        assert_eq!(response.body.end, End::Closed);
        assert_ne!(response.head.list("connection"), ["keep-alive"]);
    }
}

#[test]
fn http_1_0_never_gets_interim_responses() {
    let endpoint = Endpoint::answers(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn interim_responses_are_relayed() {
    let endpoint = Endpoint::answers(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-a\r\n\
         X-A: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(get(""));
        assert_eq!(client.response().status, 102);
        let hints = client.response();
        assert_eq!(
            (hints.status, hints.head.value("link")),
            (103, Some("</a>"))
        );
        assert_eq!(hints.head.value("x-a"), None);
        assert_eq!(client.response().head.value("link"), Some("</b>"));
        assert_eq!(client.response().body.text(), "ok");
    }
}

#[test]
fn a_body_may_wait_for_100_continue() {
    let endpoint = Endpoint::start(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(peer.bytes(5), b"hello");
            peer.send(ok("Content-Length: 2", "ok"));
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 5\r\nExpect: 100-continue", ""));
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().body.text(), "ok");
    let raw = String::from_utf8_lossy(&endpoint.raw()[0]).to_ascii_lowercase();
    assert!(raw.contains("\r\nexpect: 100-continue\r\n"), "{raw}");
}

#[test]
fn a_body_that_nobody_wants_need_not_be_sent() {
    let endpoint = Endpoint::answers_early("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 5\r\nExpect: 100-continue", ""));
    assert_eq!(client.response().status, 417);
    // What comes now is the body that was announced, or nothing: never a request.
    client.send("GET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
    let rest = client.read_to_end();
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "),
        "{rest:?}"
    );
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_client_need_not_wait_for_100_continue() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 5\r\nExpect: 100-continue", "hello"));
    let mut response = client.response();
    while response.status == 100 {
        response = client.response();
    }
    assert_eq!(response.status, 200);
    assert_eq!(endpoint.request().body.text(), "hello");
}

#[test]
fn a_head_that_does_not_end_is_cut() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\ntimeouts = {{ request_head = \"300ms\" }}\n"
    ));
    let mut stalled = proxy.client();
    stalled.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let mut dripping = proxy.client();
    dripping.send("GET / HTTP/1.1\r\nHost: a\r\n");
    // A field every now and then does not start the time afresh.
    for at in 0..10 {
        dripping.send(format!("X-{at}: a\r\n"));
        pause(Duration::from_millis(100));
    }
    dripping.send("\r\n");
    for mut client in [stalled, dripping] {
        let rest = client.read_to_end();
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
            "{rest:?}"
        );
    }
    assert!(endpoint.requests().is_empty());
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\ntimeouts = {{ client_idle = \"200ms\" }}\n"
    ));
    let mut fresh = proxy.client();
    let mut used = proxy.client();
    used.send(get(""));
    assert_eq!(used.response().status, 200);
    // Words would be taken for the answer to a request that is on its way.
    assert_eq!(used.read_to_end(), b"");
    assert_eq!(fresh.read_to_end(), b"");
}

#[test]
fn a_closed_connection_to_an_endpoint_is_replaced() {
    let endpoint = Endpoint::closes_after_each();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for at in 0..20 {
        let request = if at % 2 == 0 {
            get("")
        } else {
            post("Content-Length: 5", "hello")
        };
        // What the endpoint closes right behind its answer is known to be closed a moment later.
        pause(Duration::from_millis(20));
        client.send(request);
        assert_eq!(client.response().status, 200, "request {at}");
    }
    assert_eq!(endpoint.connections(), 20);
}

#[test]
fn an_endpoint_that_closes_idle_connections_is_no_error() {
    let endpoint = Endpoint::closes_idle_after(Duration::from_millis(50));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for at in 0..30 {
        // Now before the endpoint's limit, now after it, now just when it strikes.
        pause(Duration::from_millis(40 + at % 3 * 10));
        client.send(get(""));
        assert_eq!(client.response().status, 200, "request {at}");
    }
}
