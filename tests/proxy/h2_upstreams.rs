//! Endpoints that speak HTTP/2: requests share connections, and what is wrong with one connection
//! or one stream hurts nobody who could have been served otherwise.

use std::thread;

use crate::support::client::{Client, Response};
use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, flag, kind, setting};
use crate::support::look::cause;

/// A listener in front of these endpoints, whose upstream has these settings.
fn config(endpoints: &[&H2Endpoint], upstream: &str) -> String {
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstream.api]\nprotocol = \"h2c\"\nbalance = \"first_healthy\"\n\
         endpoints = [{}]\n{upstream}\n",
        addresses.join(", ")
    )
}

fn before(endpoint: &H2Endpoint) -> Evenkeel {
    Evenkeel::start(&config(&[endpoint], ""))
}

fn said(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.body.text()
}

/// Sends requests on connections of their own, all at once.
fn ask_all(proxy: &Evenkeel, count: usize) -> Vec<Client> {
    let clients = (0..count).map(|number| {
        let mut client = proxy.client();
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    });
    clients.collect()
}

/// Answers everything.
fn goes_on(peer: &mut H2Peer) {
    while let Some(request) = peer.request() {
        let number = peer.number();
        peer.answer(request.id, 200, &[], format!("connection {number}"));
    }
}

fn post(proxy: &Evenkeel) -> Response {
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    client.response()
}

#[test]
fn requests_share_a_connection_and_answers_find_their_way() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let mut requests: Vec<_> = (0..5).map_while(|_| peer.request()).collect();
        requests.reverse();
        for request in requests {
            let path = request.field(":path").expect("a path").to_owned();
            peer.answer(request.id, 200, &[], path);
        }
    });
    let proxy = before(&endpoint);
    for (number, mut client) in ask_all(&proxy, 5).into_iter().enumerate() {
        assert_eq!(said(&client.response()), format!("/{number}"));
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_request_is_translated() {
    let endpoint = H2Endpoint::says("ok");
    let proxy = before(&endpoint);
    let mut client = proxy.client();
    client.send(
        "POST /a?b HTTP/1.1\r\nHost: api.test\r\nX-Mixed: Case\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
         TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(said(&response), "ok");
    assert!(response.head.list("via").contains(&"2 evenkeel".to_owned()));
    let request = endpoint.request();
    let pseudo = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "api.test"),
        (":path", "/a?b"),
    ];
    for (name, value) in pseudo {
        assert_eq!(request.field(name), Some(value), "{name}");
    }
    assert_eq!(request.field("x-mixed"), Some("Case"));
    assert_eq!(request.text(), "hi");
    for absent in ["host", "connection", "x-hop", "transfer-encoding"] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
}

#[test]
fn beyond_the_endpoints_limit_another_connection_is_opened() {
    let endpoint = H2Endpoint::start(&[(setting::MAX_CONCURRENT_STREAMS, 2)], |peer| {
        let first = peer.request().expect("a first request");
        peer.answer(first.id, 200, &[], "settled");
        let held: Vec<_> = (0..2).map_while(|_| peer.head()).collect();
        peer.wait_for_release();
        for head in held {
            peer.answer(head.stream, 200, &[], "held");
        }
        goes_on(peer);
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&proxy.client().get("/")), "settled");
    let mut held = ask_all(&proxy, 2);
    // They are under way once the endpoint's connection is full: a third one needs another.
    let third = eventually("another connection", || {
        let answer = proxy.client().get("/third");
        (endpoint.connections() == 2).then_some(answer)
    });
    assert_eq!(said(&third), "settled");
    endpoint.release();
    for client in &mut held {
        assert_eq!(said(&client.response()), "held");
    }
}

#[test]
fn what_a_goaway_leaves_unprocessed_is_sent_again_whatever_its_method() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() == 0 {
            peer.request();
            peer.send(&Frame::goaway(0, code::NO_ERROR, "bye"));
            return peer.drain();
        }
        goes_on(peer);
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&post(&proxy)), "connection 1");
    let again = endpoint.requests().pop().expect("it came again");
    assert_eq!(
        (again.field(":method"), again.text()),
        (Some("POST"), "hello".to_owned())
    );
    // It says nothing about the endpoint.
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

#[test]
fn streams_below_a_goaway_are_finished_and_new_ones_go_elsewhere() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() > 0 {
            return goes_on(peer);
        }
        let request = peer.request().expect("a request");
        peer.send(&Frame::goaway(request.id, code::NO_ERROR, ""));
        peer.wait_for_release();
        peer.answer(request.id, 200, &[], "to its end");
        peer.drain();
    });
    let proxy = before(&endpoint);
    let mut first = ask_all(&proxy, 1);
    eventually("it is asked", || {
        (endpoint.connections() == 1).then_some(())
    });
    eventually("the end is known", || {
        (proxy.client().get("/").status == 200 && endpoint.connections() == 2).then_some(())
    });
    endpoint.release();
    assert_eq!(said(&first[0].response()), "to its end");
}

#[test]
fn a_refused_stream_is_tried_at_another_endpoint_whatever_its_method() {
    let refuses = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            peer.send(&Frame::reset(request.id, code::REFUSED_STREAM));
        }
    });
    let takes = H2Endpoint::says("elsewhere");
    let proxy = Evenkeel::start(&config(&[&refuses, &takes], ""));
    assert_eq!(said(&post(&proxy)), "elsewhere");
    assert_eq!(takes.request().text(), "hello");
    // Once more on another connection: then it is the endpoint.
    assert_eq!(refuses.requests().len(), 2);
    assert_eq!(
        proxy.metric("evenkeel_retries_total", &["outcome=\"success\""]),
        1
    );
    // And one that nobody takes is an error in the end.
    drop(takes);
    assert_eq!(post(&proxy).status, 502);
}

#[test]
fn a_reset_before_the_answer_is_explained_and_hurts_no_other_stream() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            let id = request.id;
            match request.field(":path") {
                Some("/internal") => peer.send(&Frame::reset(id, code::INTERNAL_ERROR)),
                Some("/protocol") => peer.send(&Frame::reset(id, code::PROTOCOL_ERROR)),
                Some("/1.1") => peer.send(&Frame::reset(id, code::HTTP_1_1_REQUIRED)),
                _ => {
                    peer.answer(id, 200, &[], "well");
                    continue;
                }
            };
        }
    });
    let proxy = Evenkeel::start(&config(&[&endpoint], "") .replace(
        "[upstream.api]",
        "[route.all]\nlistener = \"web\"\nupstream = \"api\"\nretry = { attempts = 1 }\n[upstream.api]",
    ).replace("upstream = \"api\"\ntrusted", "trusted"));
    let failures = [
        ("/internal", "connection_terminated"),
        ("/protocol", "http_protocol_error"),
        ("/1.1", "http_protocol_error"),
    ];
    for (path, word) in failures {
        let response = proxy.client().get(path);
        assert_eq!(response.status, 502, "{path}: {response:?}");
        assert_eq!(cause(&response), word, "{path}");
        assert_eq!(said(&proxy.client().get("/")), "well");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_reset_within_the_body_reaches_the_client_as_no_whole_body() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            peer.begin_answer(request.id, 200, &[], false);
            peer.send(&Frame::data(request.id, "half", false));
            peer.wait_for_release();
            peer.send(&Frame::reset(request.id, code::INTERNAL_ERROR));
        }
    });
    let proxy = before(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().expect("a head");
    assert_eq!(head.status(), Ok(200));
    endpoint.release();
    let rest = client.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it takes half of it for all");
}

#[test]
fn a_client_that_goes_takes_its_stream_back_and_no_other() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let gone = peer.head().expect("a request").stream;
        peer.send(&Frame::headers(gone, &[(":status", "103")], false));
        let stays = peer.head().expect("another").stream;
        peer.wait_for_release();
        peer.expect_reset(gone, code::CANCEL);
        peer.answer(stays, 200, &[], "there");
        peer.drain();
    });
    let proxy = before(&endpoint);
    let mut goes = ask_all(&proxy, 1).remove(0);
    // It is under way: one that goes before that was never asked for.
    assert_eq!(goes.head().expect("a head").status(), Ok(103));
    let mut stays = ask_all(&proxy, 1);
    goes.abort();
    endpoint.release();
    let answer = stays[0].response();
    assert_eq!(said(&answer), "there");
}

#[test]
fn interim_responses_and_trailers_pass() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let request = peer.request().expect("a request");
        peer.begin_answer(request.id, 103, &[("link", "</a.css>")], false);
        peer.begin_answer(request.id, 200, &[("trailer", "x-sum")], false);
        peer.send(&Frame::data(request.id, "body", false));
        peer.send(&Frame::headers(request.id, &[("x-sum", "42")], true));
        peer.drain();
    });
    let proxy = before(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let hints = client.head().expect("an interim response");
    assert_eq!(
        (hints.status(), hints.value("link")),
        (Ok(103), Some("</a.css>"))
    );
    let response = client.response();
    assert_eq!(said(&response), "body");
    assert!(
        response.body.trailers.iter().any(|(_, sum)| sum == "42"),
        "{response:?}"
    );
}

/// So many interim responses and a final one, in one write.
fn hinting(count: u32) -> H2Endpoint {
    H2Endpoint::start(&[], move |peer| {
        let request = peer.request().expect("a request");
        let hint = Frame::headers(request.id, &[(":status", "103")], false).bytes();
        let last = Frame::headers(request.id, &[(":status", "204")], true).bytes();
        let hints = (0..count).flat_map(|_| hint.clone());
        let answer: Vec<u8> = hints.chain(last).collect();
        peer.send_bytes(answer);
        peer.drain();
    })
}

#[test]
fn interim_responses_without_end_are_refused() {
    // As many as over HTTP/1.1 pass, although they come at once.
    for (count, passed, last) in [(32, 32, 204), (33, 32, 502), (100, 32, 502)] {
        let endpoint = hinting(count);
        let proxy = before(&endpoint);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        for number in 0..passed {
            let head = client.head().expect("a head");
            assert_eq!(head.status(), Ok(103), "{number} of {count}");
        }
        assert_eq!(client.head().expect("a head").status(), Ok(last), "{count}");
    }
}

#[test]
fn a_lost_connection_is_one_failure_and_safe_requests_go_elsewhere() {
    let dies = H2Endpoint::start(&[], |peer| {
        for _ in 0..4 {
            peer.head();
        }
        peer.stream().close();
    });
    let lives = H2Endpoint::says("elsewhere");
    let proxy = Evenkeel::start(&config(&[&dies, &lives], ""));
    for mut client in ask_all(&proxy, 4) {
        assert_eq!(said(&client.response()), "elsewhere");
    }
    let failures = proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
    assert_eq!(
        failures, 1,
        "one connection was lost, four requests with it"
    );
}

/// As with a kept connection of HTTP/1.1: whether the endpoint is still there, the next one tells.
#[test]
fn a_connection_that_ends_after_it_brought_answers_is_no_failure() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() > 0 {
            return goes_on(peer);
        }
        let first = peer.request().expect("a request");
        peer.answer(first.id, 200, &[], "at first");
        peer.head();
        peer.stream().close();
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&proxy.client().get("/")), "at first");
    assert_eq!(said(&proxy.client().get("/")), "connection 1");
    let failures = proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
    assert_eq!(failures, 0);
}

#[test]
fn a_connection_on_which_nothing_is_heard_gets_no_more_requests() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() > 0 {
            return goes_on(peer);
        }
        let first = peer.request().expect("a request");
        peer.answer(first.id, 200, &[], "settled");
        let request = peer.request().expect("another");
        peer.is_polite = false;
        // Asked whether it is there as soon as the request is given up.
        peer.expect_reset(request.id, code::CANCEL);
        peer.frame_that(|frame| frame.kind == kind::PING && frame.flags & flag::ACK == 0)
            .expect("a question");
        peer.wait_for_release();
    });
    let proxy = Evenkeel::start(&config(
        &[&endpoint],
        "timeouts = { response_head = \"300ms\" }",
    ));
    assert_eq!(said(&proxy.client().get("/")), "settled");
    let late = proxy.client().get("/");
    assert_eq!(
        (late.status, cause(&late)),
        (504, "http_response_timeout".to_owned())
    );
    for _ in 0..3 {
        assert_eq!(said(&proxy.client().get("/")), "connection 1");
    }
    endpoint.release();
}

#[test]
fn an_idle_connection_is_closed_with_a_word() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let request = peer.request().expect("a request");
        peer.answer(request.id, 200, &[], "first");
        peer.expect_goaway(code::NO_ERROR);
        assert!(peer.is_closed(), "it stays open");
        peer.stream().close();
    });
    let proxy = Evenkeel::start(&config(
        &[&endpoint],
        "timeouts = { upstream_idle = \"1s\" }",
    ));
    assert_eq!(said(&proxy.client().get("/")), "first");
    let open = || proxy.metric("evenkeel_endpoint_connections", &[]);
    eventually("it is counted out", || (open() == 0).then_some(()));
}

#[test]
fn bodies_larger_than_all_windows_pass_in_both_directions() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            peer.begin_answer(request.id, 200, &[], false);
            // No more than the window that is there at the beginning, and then what is given back.
            let mut window = 65_535_usize;
            let mut left = request.body.as_slice();
            while !left.is_empty() {
                while window == 0 {
                    let more = peer.expect(kind::WINDOW_UPDATE, request.id);
                    window += more.number_at(0) as usize;
                }
                let (piece, rest) = left.split_at(left.len().min(16_384).min(window));
                window -= piece.len();
                left = rest;
                peer.send(&Frame::data(request.id, piece, left.is_empty()));
            }
        }
    });
    let proxy = before(&endpoint);
    let body = "0123456789abcdef".repeat(40_000);
    for _ in 0..3 {
        let mut client = proxy.client();
        let mut twin = client.twin();
        let (head, sent) = (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ),
            body.clone(),
        );
        let sender = thread::spawn(move || {
            twin.send(head).send(sent);
        });
        assert!(
            said(&client.response()) == body,
            "it comes back as it was sent"
        );
        sender.join().expect("sent");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_websocket_needs_another_protocol_and_other_offers_are_ignored() {
    let endpoint = H2Endpoint::says("plain");
    let proxy = before(&endpoint);
    let upgrade = |protocol: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        ));
        client.response()
    };
    let refused = upgrade("websocket");
    assert_eq!(
        (refused.status, cause(&refused)),
        (502, "http_upgrade_failed".to_owned())
    );
    eventually("the log says why", || {
        proxy.log().contains("it needs HTTP/1.1").then_some(())
    });
    assert_eq!(said(&upgrade("h2c")), "plain");
}

#[test]
fn an_endpoint_that_speaks_something_else_is_told_apart() {
    let endpoint = crate::support::endpoint::Endpoint::echo();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let response = proxy.client().get("/");
    assert_eq!(response.status, 502, "{response:?}");
}

#[test]
fn a_reload_keeps_connections_and_streams() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let held = peer.head().expect("a request").stream;
        let other = peer.request().expect("another");
        peer.answer(other.id, 200, &[], "new");
        peer.answer(held, 200, &[], "old");
        goes_on(peer);
    });
    let written = config(&[&endpoint], "");
    let mut proxy = Evenkeel::start(&written);
    let mut held = ask_all(&proxy, 1);
    eventually("it is under way", || {
        (endpoint.connections() == 1).then_some(())
    });
    proxy.reload(&format!("{written}max_idle_per_endpoint = 7\n"));
    assert_eq!(said(&proxy.client().get("/")), "new");
    assert_eq!(said(&held[0].response()), "old");
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn endpoints_are_checked_in_what_they_speak() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            let is_well = request.field(":path") == Some("/healthz");
            peer.answer(request.id, if is_well { 204 } else { 500 }, &[], "");
        }
    });
    let health =
        "health = { http = { path = \"/healthz\" }, interval = \"200ms\", timeout = \"200ms\" }";
    let proxy = Evenkeel::start(&config(&[&endpoint], health));
    let up = proxy.event("endpoint_up", &endpoint.address().to_string());
    let why = up["why"].as_str().expect("a reason");
    assert!(why.contains("GET /healthz answered 204"), "{why}");
    assert_eq!(
        endpoint.requests()[0].field("user-agent"),
        Some("evenkeel-health")
    );
}
