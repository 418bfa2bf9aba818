//! Endpoints that speak HTTP/2 and fail on some of their connections: what a connection does to its
//! requests it must not do to all that come later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::client::{Client, Response};
use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, flag, kind, setting};
use crate::support::look::cause;

fn config(endpoint: &H2Endpoint, upstream: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n{upstream}\n",
        endpoint.address()
    )
}

/// Of two endpoints the first one that may be picked.
fn first_of(one: &H2Endpoint, other: &H2Endpoint, upstream: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nbalance = \"first_healthy\"\n\
         endpoints = [\"{}\", \"{}\"]\n{upstream}\n",
        one.address(),
        other.address()
    )
}

fn before(endpoint: &H2Endpoint) -> Evenkeel {
    Evenkeel::start(&config(endpoint, ""))
}

fn said(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.body.text()
}

fn get(proxy: &Evenkeel) -> Response {
    proxy.client().get("/")
}

fn post(proxy: &Evenkeel) -> Response {
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    client.response()
}

/// Requests that were sent to an endpoint again, since it had taken no notice.
fn unprocessed(proxy: &Evenkeel) -> u64 {
    proxy.metric(
        "evenkeel_endpoint_requests_total",
        &["class=\"unprocessed\""],
    )
}

/// Takes nothing.
fn refuses(peer: &mut H2Peer) {
    while let Some(head) = peer.head() {
        peer.send(&Frame::reset(head.stream, code::REFUSED_STREAM));
    }
}

/// One that takes so many requests on all its connections, answers none, and refuses the rest. And
/// how many it has seen.
fn works_on(most: u64) -> (H2Endpoint, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&seen);
    let endpoint = H2Endpoint::start(&[], move |peer| {
        // What it has taken it keeps, also once it is told to take no more.
        while let Ok(head) = peer.frame_that(|frame| frame.kind == kind::HEADERS) {
            if taken.fetch_add(1, Ordering::Relaxed) >= most {
                peer.send(&Frame::reset(head.stream, code::REFUSED_STREAM));
            }
        }
    });
    (endpoint, seen)
}

/// Answers everything.
fn goes_on(peer: &mut H2Peer) {
    while let Some(request) = peer.request() {
        let number = peer.number();
        peer.answer(request.id, 200, &[], format!("connection {number}"));
    }
}

/// An endpoint whose first connection answers one request, and does this with each that follows.
fn poisoned(act: impl Fn(&mut H2Peer, u32) + Send + Sync + 'static) -> H2Endpoint {
    H2Endpoint::start(&[], move |peer| {
        if peer.number() > 0 {
            return goes_on(peer);
        }
        let first = peer.request().expect("a request");
        peer.answer(first.id, 200, &[], "at first");
        while let Some(request) = peer.request() {
            act(peer, request.id);
        }
    })
}

#[test]
fn a_connection_that_answers_ping_and_no_request_is_left() {
    let endpoint = poisoned(|_, _| {});
    let proxy = Evenkeel::start(&config(
        &endpoint,
        "timeouts = { response_head = \"200ms\" }",
    ));
    assert_eq!(said(&get(&proxy)), "at first");
    // Three at most, sooner or later: while it is asked for a sign, it is left as well.
    let responses: Vec<_> = (0..12).map(|_| get(&proxy)).collect();
    let (failed, answered): (Vec<_>, Vec<_>) = responses
        .iter()
        .partition(|response| response.status == 504);
    assert!(failed.len() <= 3, "{} failed", failed.len());
    assert!(answered.iter().all(|it| said(it) == "connection 1"));
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_connection_that_refuses_each_request_is_left() {
    let endpoint = poisoned(|peer, id| {
        peer.send(&Frame::reset(id, code::REFUSED_STREAM));
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&get(&proxy)), "at first");
    for _ in 0..6 {
        assert_eq!(said(&post(&proxy)), "connection 1");
    }
    assert_eq!(endpoint.connections(), 2);
    // It was no failure, and no attempt.
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
    assert_eq!(unprocessed(&proxy), 3);
    // Three came here; then it was left.
    let asked = endpoint.requests().len();
    assert_eq!(asked, 1 + 6 + 3);
}

#[test]
fn a_connection_that_resets_each_request_is_left() {
    let endpoint = poisoned(|peer, id| {
        peer.send(&Frame::reset(id, code::INTERNAL_ERROR));
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&get(&proxy)), "at first");
    for _ in 0..3 {
        assert_eq!(post(&proxy).status, 502);
    }
    for _ in 0..3 {
        assert_eq!(said(&post(&proxy)), "connection 1");
    }
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_burst_waits_for_what_the_endpoint_says() {
    let endpoint = H2Endpoint::start_unsettled(|peer| {
        peer.is_polite = false; // an acknowledgement must not come before its own SETTINGS
        let first = peer.head().expect("a request").stream;
        peer.wait_for_release();
        peer.send(&Frame::settings_of(&[(setting::MAX_CONCURRENT_STREAMS, 4)]));
        let heard = |frame: &Frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0;
        peer.frame_that(heard).expect("they are acknowledged");
        let too_early = peer.take_kept(kind::HEADERS, first + 2);
        assert_eq!(too_early, None, "what it had not allowed yet");
        peer.answer(first, 200, &[], "taken");
        while let Some(head) = peer.head() {
            peer.answer(head.stream, 200, &[], "taken");
        }
    });
    let proxy = before(&endpoint);
    let clients = (0..40).map(|_| {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        client
    });
    let clients: Vec<Client> = clients.collect();
    eventually("all of them are here", || {
        let count = proxy.metric("evenkeel_http_requests_in_flight", &[]);
        (count == 40).then_some(())
    });
    for _ in 0..40 {
        endpoint.release();
    }
    for mut client in clients {
        assert_eq!(said(&client.response()), "taken");
    }
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

#[test]
fn an_endpoint_that_says_nothing_holds_nobody_longer_than_a_connection_may_take() {
    let endpoint = H2Endpoint::start_unsettled(|peer| {
        peer.is_polite = false;
        peer.drain();
    });
    let proxy = Evenkeel::start(&config(
        &endpoint,
        "timeouts = { connect = \"300ms\", response_head = \"300ms\" }",
    ));
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut told: Vec<(u16, String)> = clients
        .iter_mut()
        .map(|client| {
            let response = client.response();
            (response.status, cause(&response))
        })
        .collect();
    told.sort();
    // One was sent and not answered. The others waited behind it for a connection that they can be
    // on, since nobody knows how many at once the endpoint takes: they may be asked again.
    let waited = (504, "connection_timeout".to_owned());
    let sent = (504, "http_response_timeout".to_owned());
    assert_eq!(told, [waited.clone(), waited, sent]);
}

#[test]
fn several_goaways_in_a_row_cost_no_attempt() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() >= 4 {
            return goes_on(peer);
        }
        peer.request();
        peer.send(&Frame::goaway(0, code::NO_ERROR, "bye"));
        peer.drain();
    });
    let proxy = before(&endpoint);
    assert_eq!(said(&post(&proxy)), "connection 4");
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

/// Whoever comes last in a burst meets a GOAWAY on one connection after the other, and each of them
/// has served somebody.
#[test]
fn a_burst_outlasts_connections_that_take_a_few_requests_each() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let taken: Vec<_> = (0..2).map_while(|_| peer.request()).collect();
        let Some(last) = taken.last() else { return };
        peer.send(&Frame::goaway(last.id, code::NO_ERROR, "used up"));
        for request in taken {
            peer.answer(request.id, 200, &[], "taken");
        }
        peer.drain();
    });
    let proxy = before(&endpoint);
    let clients = (0..40).map(|_| {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        client
    });
    let clients: Vec<Client> = clients.collect();
    for mut client in clients {
        assert_eq!(said(&client.response()), "taken");
    }
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

/// A server that is being shut down: it announces that, and takes nothing any more.
#[test]
fn an_endpoint_that_leaves_and_refuses_is_not_asked_for_ever() {
    let leaves = || {
        H2Endpoint::start(&[], |peer| {
            while let Some(request) = peer.request() {
                peer.send(&Frame::goaway((1 << 31) - 1, code::NO_ERROR, ""));
                peer.send(&Frame::reset(request.id, code::REFUSED_STREAM));
            }
        })
    };
    let alone = leaves();
    let proxy = before(&alone);
    assert_eq!(post(&proxy).status, 502);
    // Six times at once, and once as another attempt.
    assert_eq!(alone.requests().len(), 7);
    assert_eq!(unprocessed(&proxy), 5);
    let (one, other) = (leaves(), H2Endpoint::says("elsewhere"));
    let proxy = Evenkeel::start(&first_of(&one, &other, ""));
    assert_eq!(said(&post(&proxy)), "elsewhere");
    assert_eq!(one.requests().len(), 2, "once more than the first time");
}

/// It takes connections, and no request. Without health checks nobody else would notice.
#[test]
fn an_endpoint_that_takes_nothing_is_left_alone() {
    let goodbyes = |peer: &mut H2Peer| {
        peer.head();
        peer.send(&Frame::goaway(0, code::NO_ERROR, ""));
        peer.drain();
    };
    for takes_nothing in [goodbyes, refuses] {
        let (one, other) = (
            H2Endpoint::start(&[], takes_nothing),
            H2Endpoint::says("elsewhere"),
        );
        let proxy = Evenkeel::start(&first_of(&one, &other, ""));
        for _ in 0..60 {
            assert_eq!(said(&post(&proxy)), "elsewhere");
        }
        // Each attempt there was another one elsewhere. After the first it is left alone for a
        // second, then for two, and tried once in between.
        let retries = proxy.metric("evenkeel_retries_total", &[]);
        assert!((1..30).contains(&retries), "{retries} of 60");
        let told = proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
        assert_eq!(told, retries);
    }
}

/// It drains: it finishes what it has, which can last for hours, and takes nothing more.
#[test]
fn an_endpoint_that_only_finishes_what_it_has_is_left_alone() {
    let one = H2Endpoint::start(&[], |peer| {
        if peer.number() > 0 {
            return refuses(peer);
        }
        let first = peer.request().expect("a request");
        peer.answer(first.id, 200, &[], "at first");
        let held = peer.request().expect("another");
        peer.send(&Frame::goaway(held.id, code::NO_ERROR, ""));
        peer.wait_for_release();
        peer.answer(held.id, 200, &[], "held");
        peer.drain();
    });
    let other = H2Endpoint::says("elsewhere");
    let config = first_of(&one, &other, "");
    let proxy = Evenkeel::start(&format!("workers = 1\n{config}"));
    assert_eq!(said(&get(&proxy)), "at first");
    let mut held = proxy.client();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is held", || (one.requests().len() == 2).then_some(()));
    for _ in 0..60 {
        assert_eq!(said(&post(&proxy)), "elsewhere");
    }
    let retries = proxy.metric("evenkeel_retries_total", &[]);
    assert!((1..30).contains(&retries), "{retries} of 60");
    assert!(proxy.metric("evenkeel_endpoint_connect_errors_total", &[]) > 0);
    one.release();
    assert_eq!(said(&held.response()), "held");
}

/// It works on as many requests as it can, over all connections, and has answered none yet.
#[test]
fn an_endpoint_that_is_at_work_is_not_left_alone() {
    let (slow, _) = works_on(10);
    let other = H2Endpoint::says("elsewhere");
    let config = first_of(&slow, &other, "");
    let proxy = Evenkeel::start(&format!("workers = 1\n{config}"));
    let clients = (0..BURST).map(|_| {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        client
    });
    let _clients: Vec<Client> = clients.collect();
    eventually("the others are answered", || {
        (other.requests().len() as u64 == BURST - 10).then_some(())
    });
    let told = proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
    assert_eq!(told, 0);
}

/// Where a request is not tried elsewhere, nothing else shows that.
#[test]
fn what_the_retry_budget_keeps_from_going_on_is_counted() {
    let (endpoint, seen) = works_on(1);
    let proxy = Evenkeel::start(&format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"api\"\nretry.attempts = 1\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut held = proxy.client();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is held", || {
        (seen.load(Ordering::Relaxed) == 1).then_some(())
    });
    // Each goes on five times, of which the budget pays four: a hundred at first.
    for _ in 0..50 {
        assert_eq!(post(&proxy).status, 502);
    }
    let exhausted = proxy.metric("evenkeel_retries_total", &["outcome=\"budget_exhausted\""]);
    assert!((1..50).contains(&exhausted), "{exhausted} of 50");
    assert!(unprocessed(&proxy) > 100);
}

/// One that sheds load: on each connection it serves one request, and refuses what comes with it.
#[test]
fn an_endpoint_that_sheds_load_does_not_get_it_over_and_over() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let Some(first) = peer.head() else { return };
        peer.answer(first.stream, 200, &[], "taken");
        while let Some(other) = peer.head() {
            peer.send(&Frame::reset(other.stream, code::REFUSED_STREAM));
        }
    });
    let proxy = before(&endpoint);
    let clients = (0..BURST).map(|_| {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        client
    });
    let clients: Vec<Client> = clients.collect();
    let (mut taken, mut refused) = (0, 0);
    for mut client in clients {
        match client.response().status {
            200 => taken += 1,
            502 => refused += 1,
            status => panic!("{status}"),
        }
    }
    assert_eq!(taken + refused, BURST);
    assert!(taken > 0);
    // Once more each; beyond that what the retry budget has, which is a hundred at first.
    let again = unprocessed(&proxy);
    assert!(again < BURST + 150, "{again} of {BURST}");
}

/// If each went on until it is served, that would be a load of some 1800 requests.
const BURST: u64 = 60;

/// A body that is longer than what is kept of it.
#[test]
fn what_cannot_be_sent_again_does_not_count_as_sent_again() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            peer.send(&Frame::reset(request.id, code::REFUSED_STREAM));
        }
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"api\"\nretry.body = \"16KiB\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n");
    client.send("x".repeat(40_000));
    assert_eq!(client.response().status, 502);
    assert_eq!(endpoint.request().text().len(), 40_000);
    assert_eq!(unprocessed(&proxy), 0);
    let told = proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
    assert_eq!(told, 1, "it takes nothing");
}

/// The other endpoint carries as much as it may: a request that went there would come back.
#[test]
fn who_has_nowhere_else_to_go_stays_as_if_alone() {
    let held = |peer: &mut H2Peer| {
        let first = peer.request().expect("a request");
        peer.wait_for_release();
        peer.answer(first.id, 200, &[], "held");
        peer.drain();
    };
    let one = H2Endpoint::start(&[], move |peer| match peer.number() {
        0 => {
            let first = peer.request().expect("a request");
            peer.wait_for_release();
            peer.answer(first.id, 200, &[], "held");
            peer.send(&Frame::goaway(first.id, code::NO_ERROR, ""));
        }
        1..4 => {
            peer.head();
            peer.send(&Frame::goaway(0, code::NO_ERROR, ""));
            peer.drain();
        }
        _ => goes_on(peer),
    });
    let other = H2Endpoint::start(&[], held);
    let proxy = Evenkeel::start(&first_of(&one, &other, "max_in_flight_per_endpoint = 1"));
    let mut clients = [&one, &other].map(|endpoint| {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("it is held", || {
            (endpoint.requests().len() == 1).then_some(())
        });
        client
    });
    one.release();
    assert_eq!(said(&clients[0].response()), "held");
    assert_eq!(said(&post(&proxy)), "connection 4");
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
    other.release();
    assert_eq!(said(&clients[1].response()), "held");
}

/// Its connections bring an answer each, and take what comes next along.
#[test]
fn an_endpoint_that_loses_one_connection_after_the_other_is_left_alone() {
    let dies = H2Endpoint::start(&[], |peer| {
        let first = peer.request().expect("a request");
        peer.answer(first.id, 200, &[], "at first");
        peer.head();
        peer.stream().close();
    });
    let proxy = before(&dies);
    let failures = || proxy.metric("evenkeel_endpoint_connect_errors_total", &[]);
    for (round, counted) in [(0, 0), (1, 1)] {
        assert_eq!(said(&get(&proxy)), "at first", "{round}");
        assert_eq!(post(&proxy).status, 502, "{round}");
        assert_eq!(failures(), counted, "{round}");
    }
}

#[test]
fn settings_that_a_reload_changes_hold_for_the_next_request() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        if peer.number() > 0 {
            return goes_on(peer);
        }
        let held = peer.head().expect("a request").stream;
        peer.wait_for_release();
        peer.answer(held, 200, &[], "old");
        peer.drain();
    });
    let mut proxy = before(&endpoint);
    let mut held = proxy.client();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is under way", || {
        (endpoint.connections() == 1).then_some(())
    });
    proxy.reload(&config(&endpoint, "http2 = { stream_window = \"128KiB\" }"));
    assert_eq!(said(&get(&proxy)), "connection 1");
    endpoint.release();
    assert_eq!(said(&held.response()), "old");
}
