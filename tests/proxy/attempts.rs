//! Attempts: connections that turn out closed, and requests that are tried again elsewhere.
//!
//! `upstreams.rs` asks which endpoint is picked; this asks what becomes of a request once it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::look::cause;
use crate::support::message::Broken;

/// A proxy that asks these endpoints in this order, with these lines for its route and upstream.
pub(crate) fn in_order(route: &str, upstream: &str, endpoints: &[&Endpoint]) -> Evenkeel {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.address().to_string())
        .collect();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{route}\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = {endpoints:?}\n{upstream}\n"
    ))
}

#[test]
fn an_endpoint_that_closes_idle_connections_costs_nothing() {
    let endpoint = Endpoint::closes_idle_after(Duration::from_millis(300));
    let proxy = Arc::new(in_order("", "", &[&endpoint]));
    // Requests arrive just when the endpoint closes, before and behind.
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let mut client = proxy.client();
                for round in 0..12 {
                    let response = client.get("/");
                    assert_eq!(response.status, 200, "{response:?}");
                    pause(Duration::from_millis(293 + (number + round) % 16));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no request failed");
    }
    assert!(
        endpoint
            .ends()
            .iter()
            .any(|end| matches!(end, Broken::Silent(_)))
    );
    // To replace a connection is no attempt at anything: nothing was tried elsewhere.
    let lines = proxy.access_lines(16 * 12);
    assert!(lines.iter().all(|line| line["attempts"] == 1));
}

#[test]
fn when_an_endpoint_closes_is_learned_and_kept_under() {
    // The first time nobody knows; a short time is believed when it is seen again.
    for (idle, at_least) in [(2500, 1), (700, 2)] {
        let endpoint = Endpoint::closes_idle_after(Duration::from_millis(idle));
        let proxy = in_order("", "timeouts.upstream_idle = \"1m\"", &[&endpoint]);
        let mut client = proxy.client();
        let mut rounds = 0;
        eventually("the proxy closes first", || {
            assert_eq!(client.get("/").status, 200);
            rounds += 1;
            let ends = eventually("either side closes", || {
                let ends = endpoint.ends();
                (ends.len() == rounds).then_some(ends)
            });
            let by_proxy = ends.last() == Some(&Broken::Closed);
            assert!(!by_proxy || rounds > at_least, "too early: {ends:?}");
            by_proxy.then_some(())
        });
    }
}

#[test]
fn a_small_body_is_sent_again_where_a_kept_connection_turns_out_closed() {
    let bodies = [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    for body in bodies {
        // Each connection is closed on its second request.
        let endpoint = Endpoint::start(|peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                peer.request();
            }
        });
        let proxy = in_order("", "", &[&endpoint]);
        let mut client = proxy.client();
        for method in ["PUT", "DELETE", "PUT", "PUT"] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{body}"));
            let response = client.response();
            assert_eq!(response.status, 200, "{method} {body:?}: {response:?}");
        }
        let requests = endpoint.requests();
        assert_eq!(requests.len(), 7, "three were sent twice");
        let is_whole = |request: &Request| request.body.text() == "abc";
        assert!(requests.iter().all(is_whole), "{requests:?}");
        let lines = proxy.access_lines(4);
        assert!(lines.iter().all(|line| line["attempts"] == 1));
        let size = "http.request.body.size";
        assert!(lines.iter().all(|line| line[size] == 3), "{lines:?}");
    }
}

#[test]
fn what_nobody_may_repeat_goes_over_a_connection_that_is_surely_open() {
    // A body may turn out to be longer than what is kept of it.
    for method in ["POST", "PUT"] {
        let endpoint = Endpoint::echo();
        let proxy = in_order("", "timeouts.upstream_idle = \"1s\"", &[&endpoint]);
        let mut client = proxy.client();
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.get("/").status, 200);
        assert_eq!(client.send(&request).response().status, 200);
        assert_eq!(endpoint.connections(), 1);
        // Idle for more than half of its time: it may be closed at this moment.
        pause(Duration::from_millis(600));
        assert_eq!(client.send(&request).response().status, 200);
        assert_eq!(endpoint.connections(), 2, "{method}");
    }
}

#[test]
fn what_ends_after_a_while_of_work_was_kept_for_no_time_too_long() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/deadly" && request.head.value("evenkeel-attempt").is_none() {
                pause(Duration::from_millis(1_200));
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = in_order("", "", &[&endpoint]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/deadly").status, 200);
    // So it is an attempt, which the budget pays for, and others are told of.
    assert_eq!(proxy.access_lines(2)[1]["attempts"], 2);
    let penalty = &proxy.endpoint("app", &endpoint.address().to_string())["penalty"];
    assert!(penalty.as_u64() > Some(0), "{penalty}");
}

#[test]
fn what_a_route_says_may_not_run_twice_does_not_on_a_kept_connection() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            peer.request();
        }
    });
    let proxy = in_order("retry.methods = [\"GET\"]", "", &[&endpoint]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 502);
    assert_eq!(endpoint.requests().len(), 2);
    // By default it may.
    let proxy = in_order("", "", &[&endpoint]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_connection_that_is_kept_does_not_stand_in_its_own_way() {
    // One connection is all that there may be, and the one that is idle is too old for a POST.
    let endpoint = Endpoint::echo();
    let limits = "timeouts.upstream_idle = \"1s\"\nmax_connections_per_endpoint = 1";
    let proxy = in_order("", limits, &[&endpoint]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    pause(Duration::from_millis(600));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let response = client.response();
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn a_get_that_was_not_answered_goes_elsewhere_once() {
    for bad in [Endpoint::closes_unanswered, || Endpoint::resets_after("")] {
        let (first, second, good) = (bad(), bad(), Endpoint::echo());
        let proxy = in_order("", "", &[&first, &good]);
        let response = proxy.client().get("/");
        assert_eq!(response.status, 200);
        // The client is told that it had luck.
        let status = response.head.value("proxy-status").unwrap_or_default();
        assert!(status.starts_with("evenkeel"), "{response:?}");
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["attempts"], 2);
        assert_eq!(line["endpoint"], good.address().to_string());
        let retried = ["outcome=\"success\""];
        assert_eq!(proxy.metric("evenkeel_retries_total", &retried), 1);

        // Two in a row are an outage, which more attempts would only make heavier…
        let first = bad();
        let proxy = in_order("", "", &[&first, &second, &good]);
        let response = proxy.client().get("/");
        assert_eq!(response.status, 502);
        assert_eq!(cause(&response), "connection_terminated");
        assert_eq!(proxy.access_lines(1)[0]["attempts"], 2);
        // … unless the route says otherwise.
        let (first, second) = (bad(), bad());
        let proxy = in_order("retry.attempts = 3", "", &[&first, &second, &good]);
        assert_eq!(proxy.client().get("/").status, 200);
        assert_eq!(good.requests().len(), 2);
    }
}

#[test]
fn a_retry_that_finds_nobody_has_failed() {
    // Well until it is asked, it ends unhealthy, and is the only one.
    let was_asked = AtomicBool::new(false);
    let endpoint = Endpoint::start(move |peer| {
        let Some(request) = peer.request() else {
            return;
        };
        if request.target() != "/healthz" {
            was_asked.store(true, Ordering::Release);
            peer.wait_for_release();
        } else if !was_asked.load(Ordering::Acquire) {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let health = "panic_threshold = \"0%\"\n[upstream.app.health]\nhttp.path = \"/healthz\"\n\
                  interval = \"1s\"\nunhealthy_after = 1\nhealthy_after = 1";
    let proxy = in_order("", health, &[&endpoint]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let address = endpoint.address().to_string();
    eventually("the endpoint is unhealthy", || {
        (proxy.endpoint("app", &address)["state"] == "unhealthy").then_some(())
    });
    endpoint.release("");
    let response = client.response();
    assert_eq!(response.status, 502);
    assert_eq!(cause(&response), "connection_terminated");
    assert_eq!(proxy.access_lines(1)[0]["attempts"], 1);
    let failed = ["outcome=\"failure\""];
    assert_eq!(proxy.metric("evenkeel_retries_total", &failed), 1);
}

#[test]
fn what_may_have_run_is_not_repeated() {
    let long = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{}",
        "x".repeat(200_000)
    );
    let cases = [
        // Not idempotent.
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "",
        ),
        (
            "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "",
        ),
        // An answer had begun.
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 2"),
        // Its body has gone, and nobody kept it.
        (&long, ""),
    ];
    for (request, answer) in cases {
        let (bad, good) = (Endpoint::resets_after(answer), Endpoint::echo());
        let proxy = in_order("retry.attempts = 5", "", &[&bad, &good]);
        let response = proxy.client().send(request).response();
        assert_eq!(response.status, 502, "{request:?}: {response:?}");
        assert_eq!(good.requests().len(), 0, "{request:?}");
        assert_eq!(bad.requests().len(), 1, "{request:?}");
    }
}

#[test]
fn what_has_little_content_may_be_put_twice() {
    let (bad, good) = (Endpoint::closes_unanswered(), Endpoint::echo());
    for method in ["PUT", "DELETE", "OPTIONS"] {
        for body in ["", "hello"] {
            let proxy = in_order("", "", &[&bad, &good]);
            let mut client = proxy.client();
            let length = body.len();
            client.send(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
            assert_eq!(client.response().status, 200, "{method}");
            let arrived = good.requests().pop().expect("a request");
            assert_eq!(arrived.body.text(), body, "{method}");
        }
    }
}

#[test]
fn a_body_that_has_only_begun_goes_elsewhere_as_a_whole() {
    for (framing, first, second) in [
        ("Content-Length: 6", "abc", "def"),
        (
            "Transfer-Encoding: chunked",
            "3\r\nabc\r\n",
            "3\r\ndef\r\n0\r\n\r\n",
        ),
    ] {
        let bad = Endpoint::start(|peer| {
            peer.head();
            peer.bytes(first.len());
            peer.reset();
        });
        let good = Endpoint::echo();
        let proxy = in_order("", "", &[&bad, &good]);
        let mut client = proxy.client();
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{first}"
        ));
        eventually("another one is asked", || {
            (good.connections() == 1).then_some(())
        });
        client.send(second);
        assert_eq!(client.response().status, 200, "{framing}");
        assert_eq!(good.request().body.text(), "abcdef", "{framing}");
    }
}

#[test]
fn one_attempt_may_have_a_limit_of_its_own() {
    let (silent, good) = (Endpoint::stalls_after(""), Endpoint::echo());
    let limit = "retry.per_try_timeout = \"200ms\"";
    let proxy = in_order(limit, "", &[&silent, &good]);
    assert_eq!(proxy.client().get("/").status, 200);
    let silent_too = Endpoint::stalls_after("");
    let proxy = in_order(limit, "", &[&silent, &silent_too]);
    let response = proxy.client().get("/");
    assert_eq!(response.status, 504);
    assert_eq!(cause(&response), "try_timeout");
    // Whoever did not answer must not go on working for nobody.
    assert_eq!(silent_too.wait_for_end(), Broken::Closed);
}

#[test]
fn beyond_the_limit_of_connections_others_are_asked() {
    let (full, other) = (Gated::answering("full"), Endpoint::says("other"));
    let limit = "max_connections_per_endpoint = 1\nqueue.size = 0";
    let proxy = in_order("", limit, &[full.endpoint(), &other]);
    let mut held = proxy.client();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    full.wait_for(1);
    assert_eq!(proxy.client().get("/").body.text(), "other");

    let alone = Gated::answering("alone");
    let proxy = in_order("", limit, &[alone.endpoint()]);
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    alone.wait_for(1);
    let mut second = proxy.client();
    let refused = second.get("/");
    assert_eq!(refused.status, 503);
    assert_eq!(cause(&refused), "overload");
    assert!(refused.head.value("retry-after").is_some(), "{refused:?}");
    // The connection that comes back is there for others.
    alone.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(second.get("/").body.text(), "alone");
    assert_eq!(alone.endpoint().connections(), 1);
}

#[test]
fn a_limit_of_connections_holds_over_all_workers() {
    // Connections that rest in one worker's pool must not keep the other one from its work.
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nmax_connections_per_endpoint = 1\nendpoints = [\"{address}\"]\n"
    ));
    for _ in 0..40 {
        let response = proxy.client().get("/");
        assert_eq!(response.status, 200, "{response:?}");
    }
}
