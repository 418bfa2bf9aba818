//! Who is blamed for what did not come: an endpoint only for what it had a fair time to do,
//! whatever limit passed and whoever set it.
//!
//! A failure costs a penalty, which `/v1/upstreams` tells; so nothing has to be waited for to see
//! that there was none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::attempts::in_order;
use crate::support::client::{Client, connected};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, setting};
use crate::support::look::cause;
use crate::time_limits::deaf;

fn penalty(proxy: &Evenkeel, address: SocketAddr) -> u64 {
    let penalty = &proxy.endpoint("app", &address.to_string())["penalty"];
    penalty.as_u64().expect("a number")
}

fn ask(proxy: &Evenkeel, fields: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client
}

fn silent() -> Endpoint {
    Endpoint::stalls_after("")
}

#[test]
fn a_client_s_deadline_blames_nobody_that_had_no_time() {
    let endpoint = silent();
    let route = "deadline_field = \"x-time\"\ntimeouts.request = \"30s\"";
    let proxy = in_order(route, "", &[&endpoint]);
    for time in ["1", "50", "400ms"] {
        let response = ask(&proxy, &format!("X-Time: {time}\r\n")).response();
        assert_eq!(response.status, 504);
        assert_eq!(cause(&response), "deadline_exceeded");
        assert_eq!(penalty(&proxy, endpoint.address()), 0, "{time}");
    }
    // Whoever says nothing for seconds is blamed, whoever set the limit.
    assert_eq!(ask(&proxy, "X-Time: 2s\r\n").response().status, 504);
    assert!(penalty(&proxy, endpoint.address()) > 0);
}

#[test]
fn a_slow_upload_blames_nobody_who_waited_for_it() {
    let endpoint = silent();
    let proxy = in_order("timeouts.request = \"800ms\"", "", &[&endpoint]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    pause(Duration::from_millis(500));
    client.send("b");
    assert_eq!(client.response().status, 504);
    assert_eq!(penalty(&proxy, endpoint.address()), 0);
    // The limit is the operator's, and this time nobody else took of it.
    assert_eq!(ask(&proxy, "").response().status, 504);
    assert!(penalty(&proxy, endpoint.address()) > 0);
}

#[test]
fn the_limit_of_an_attempt_is_not_for_its_client() {
    let endpoint = Endpoint::echo();
    let proxy = in_order("retry.per_try_timeout = \"1s\"", "", &[&endpoint]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    for piece in ["a", "b", "c", "d"] {
        pause(Duration::from_millis(400));
        client.send(piece);
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_connection_that_does_not_come_is_blamed_although_a_shorter_limit_cuts_it() {
    let (address, _listening, _queued) = deaf();
    let quick = Endpoint::says("quick");
    let second = quick.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         retry.per_try_timeout = \"1s\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{address}\", \"{second}\"]\n"
    ));
    assert_eq!(ask(&proxy, "").response().status, 200);
    assert!(penalty(&proxy, address) > 0);
    assert_eq!(proxy.access_lines(1)[0]["attempts"], 2);
    // Those who leave after a while have waited long enough as well.
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let client = ask(&proxy, "");
    pause(Duration::from_millis(1_500));
    drop(client);
    eventually("it is blamed", || {
        (penalty(&proxy, address) > 0).then_some(())
    });
}

#[test]
fn clients_that_give_up_can_have_nobody_ejected() {
    let (one, other) = (silent(), silent());
    let (last, endpoints) = (silent(), [one.address(), other.address()]);
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{}\", \"{}\", \"{}\"]\n\
         [upstream.app.outlier]\ninterval = \"100ms\"\n",
        endpoints[0],
        endpoints[1],
        last.address()
    ));
    let hasty: Vec<Client> = (0..8).map(|_| ask(&proxy, "")).collect();
    eventually("all are under way", || {
        (one.requests().len() == 8).then_some(())
    });
    // A close alone could mean that they go on listening, for a moment.
    for client in hasty {
        client.abort();
    }
    proxy.access_lines(8);
    assert_eq!(penalty(&proxy, one.address()), 0, "they did not wait");
    let patient: Vec<Client> = (0..8).map(|_| ask(&proxy, "")).collect();
    eventually("all are under way", || {
        (one.requests().len() == 16).then_some(())
    });
    pause(Duration::from_millis(1_200));
    drop(patient);
    proxy.access_lines(16);
    assert!(penalty(&proxy, one.address()) >= 8, "they have waited");
    pause(Duration::from_millis(500));
    let state = &proxy.endpoint("app", &one.address().to_string())["state"];
    assert_eq!(state, "healthy");
    assert!(proxy.events("endpoint_ejected").is_empty());
}

#[test]
fn silence_within_a_body_is_a_failure_if_more_was_promised() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (rest, is_failure) in [
        ("Content-Length: 100\r\n\r\nhalf", true),
        // It may have nothing more to tell for hours.
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
    ] {
        let endpoint = Endpoint::stalls_after(format!("{head}{rest}"));
        let upstream = "timeouts.body_idle = \"300ms\"";
        let proxy = in_order("", upstream, &[&endpoint]);
        let response = ask(&proxy, "").response();
        assert!(response.status == 200 && !response.is_whole());
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["error.type"], "connection_read_timeout", "{line}");
        let is_blamed = penalty(&proxy, endpoint.address()) > 0;
        assert_eq!(is_blamed, is_failure, "{rest}");
    }
    // It may be the rest of the request that is missing.
    let endpoint = Endpoint::answers_early(format!("{head}Content-Length: 100\r\n\r\nhalf"));
    let proxy = in_order("", "timeouts.body_idle = \"300ms\"", &[&endpoint]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha");
    assert!(!client.response().is_whole());
    proxy.access_lines(1);
    assert_eq!(penalty(&proxy, endpoint.address()), 0);
}

#[test]
fn interim_responses_do_not_hold_a_request_for_ever() {
    let endpoint = Endpoint::start(|peer| {
        peer.request();
        for _ in 0..30 {
            peer.send("HTTP/1.1 102 Processing\r\n\r\n");
            pause(Duration::from_millis(100));
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let proxy = in_order("timeouts.response_head = \"1s\"", "", &[&endpoint]);
    let mut client = ask(&proxy, "");
    let status = loop {
        let status = client
            .head()
            .and_then(|head| head.status())
            .expect("a head");
        if status != 102 {
            break status;
        }
    };
    assert_eq!(status, 504);
}

/// A call whose response ends so.
fn calls(answer: impl Fn(u32) -> Vec<Frame> + Send + Sync + 'static) -> (H2Endpoint, Evenkeel) {
    let endpoint = H2Endpoint::start(&[], move |peer| {
        while let Some(request) = peer.request() {
            peer.send_all(&answer(request.id));
        }
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.all]\nupstream = \"app\"\ntimeouts.request = \"9s\"\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    (endpoint, proxy)
}

fn call(proxy: &Evenkeel) {
    let mut client = H2::connect(proxy.address("web"));
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let id = client.open(&request_with("POST", "/a.B/C", &fields), true);
    assert_eq!(client.message(id).field(":status"), Some("200"));
    proxy.access_lines(1);
}

#[test]
fn a_call_that_ends_without_a_status_has_failed() {
    let with = |kind: &'static str| {
        move |id| {
            let head = [(":status", "200"), ("content-type", kind)];
            vec![
                Frame::headers(id, &head, false),
                Frame::data(id, [0; 5], true),
            ]
        }
    };
    let (endpoint, proxy) = calls(with("application/grpc"));
    call(&proxy);
    assert!(penalty(&proxy, endpoint.address()) > 0);
    // Any client may say that its request is a call, to any server of HTTP.
    let (endpoint, proxy) = calls(with("text/plain"));
    call(&proxy);
    assert_eq!(penalty(&proxy, endpoint.address()), 0);
}

#[test]
fn an_endpoint_is_told_the_time_of_a_call_whose_client_gave_none() {
    let (endpoint, proxy) = calls(|id| {
        let head = [(":status", "200"), ("grpc-status", "0")];
        vec![Frame::headers(id, &head, true)]
    });
    call(&proxy);
    let request = endpoint.request();
    let told = request.field("grpc-timeout").expect("it is told");
    assert!(told.starts_with('8') || told.starts_with('9'), "{told}");
}

#[test]
fn an_answer_that_the_time_is_over_comes_through() {
    let pieces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pieces);
    let large = Endpoint::start(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 64 * 1024];
        while peer.try_send(&piece) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let silent = silent();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.large]\npath = \"/large\"\nupstream = \"large\"\n\
         [route.all]\nupstream = \"app\"\ntimeouts.request = \"200ms\"\n\
         [upstream.large]\nendpoints = [\"{}\"]\n[upstream.app]\nendpoints = [\"{}\"]\n",
        large.address(),
        silent.address()
    ));
    let wide = [(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)];
    let mut client = H2::client_with(connected(proxy.address("web")), &wide);
    client.send(&Frame::window_update(0, 0x7fff_0000 - 65_535));
    client.sync();
    client.ask("/large");
    eventually("nothing goes to the client, which does not read", || {
        let before = pieces.load(Ordering::Relaxed);
        pause(Duration::from_millis(300));
        (before > 0 && pieces.load(Ordering::Relaxed) == before).then_some(())
    });
    let late = client.ask("/late");
    eventually("it is asked", || {
        (silent.requests().len() == 1).then_some(())
    });
    pause(Duration::from_millis(500));
    assert_eq!(client.message(late).status, 504);
}

/// Who waits for a 100 has nothing else to do: it is the endpoint that is waited for. Over HTTP/1.1
/// and HTTP/2.
#[test]
fn an_endpoint_that_does_not_say_that_it_wants_a_body_is_blamed() {
    let endpoint = silent();
    let route = "timeouts = { response_head = \"1200ms\", body_idle = \"30s\" }";
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let proxy = in_order(route, "", &[&endpoint]);
    let response = proxy.client().send(upload).response();
    assert_eq!(response.status, 504, "{response:?}");
    assert_eq!(cause(&response), "http_response_timeout");
    assert!(penalty(&proxy, endpoint.address()) > 0);

    let endpoint = H2Endpoint::start(&[], H2Peer::drain);
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.all]\nupstream = \"app\"\n{route}\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = H2::connect(proxy.address("web"));
    let expect = [("content-length", "4"), ("expect", "100-continue")];
    let id = client.open(&request_with("PUT", "/", &expect), false);
    assert_eq!(client.message(id).status, 504);
    assert!(penalty(&proxy, endpoint.address()) > 0);
}

#[test]
fn who_waits_for_leave_to_send_a_body_is_sent_elsewhere() {
    let (first, second) = (silent(), Endpoint::start(takes_a_body));
    let proxy = in_order("retry.per_try_timeout = \"300ms\"", "", &[&first, &second]);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let interim = client.head().expect("a head");
    assert_eq!(interim.start, "HTTP/1.1 100 Continue");
    // From here on it is the client that is waited for.
    pause(Duration::from_millis(1500));
    assert_eq!(client.send("body").response().status, 200);
}

/// Answers once all of a body has come that it has asked for.
fn takes_a_body(peer: &mut Peer) {
    if peer.head().is_some() {
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        peer.bytes(4);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn a_client_that_may_send_its_body_and_does_not_is_to_blame() {
    let asks = Endpoint::start(takes_a_body);
    let says_nothing = silent();
    for (endpoint, begun) in [(&asks, ""), (&says_nothing, "b")] {
        let route = "timeouts = { response_head = \"30s\", body_idle = \"1200ms\" }";
        let proxy = in_order(route, "", &[endpoint]);
        let mut client = proxy.client();
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        if begun.is_empty() {
            client.head().expect("it may go on");
        } else {
            client.send(begun);
        }
        let response = client.response();
        assert_eq!(response.status, 408, "{response:?}");
        assert_eq!(cause(&response), "request_body_timeout");
        assert_eq!(penalty(&proxy, endpoint.address()), 0);
    }
}

/// What a request waits for a place says nothing of the connection that it then meets.
#[test]
fn a_connection_that_was_kept_too_long_blames_nobody_after_a_long_wait() {
    let endpoint = Arc::new(Endpoint::start(|peer| {
        let first = peer.request().expect("a request");
        if first.target() == "/first" {
            peer.wait_for_release();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            // It is closed when the next request has just left.
            peer.head();
            return;
        }
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }));
    let one = "max_in_flight_per_endpoint = 1\nqueue = { size = 9, wait = \"60s\" }";
    let proxy = in_order("", one, &[&endpoint]);
    let mut first = proxy.client();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is there", || {
        (endpoint.requests().len() == 1).then_some(())
    });
    let mut waits = proxy.client();
    waits.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    pause(Duration::from_millis(1200));
    endpoint.release("");
    assert_eq!(first.response().status, 200);
    assert_eq!(waits.response().status, 200);
    assert_eq!(penalty(&proxy, endpoint.address()), 0);
    let lines = proxy.access_lines(2);
    let put = lines
        .iter()
        .find(|line| line["http.request.method"] == "PUT");
    assert_eq!(put.expect("its line")["attempts"], 1, "{lines:?}");
}

/// A connection that others share breaks as one that a request has for itself: those that it had
/// been at work for count, each of them; unless its end was announced, or it had just been kept.
#[test]
fn calls_that_a_dying_connection_takes_along_count_as_if_each_had_its_own() {
    for (how, long, expected) in [("", true, 2), ("", false, 0), ("goaway", true, 0)] {
        let endpoint = H2Endpoint::start(&[], move |peer| {
            let first = peer.request().expect("a request");
            peer.answer(first.id, 200, &[], "");
            let held = [peer.head(), peer.head()];
            if let [Some(_), Some(last)] = held {
                peer.wait_for_release();
                if how == "goaway" {
                    peer.send(&Frame::goaway(last.stream, code::NO_ERROR, "bye"));
                    pause(Duration::from_millis(100));
                }
                peer.stream().close();
            }
        });
        let proxy = Evenkeel::start(&format!(
            "workers = 1\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
            endpoint.address()
        ));
        assert_eq!(proxy.client().get("/").status, 200);
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let mut clients = [proxy.client(), proxy.client()];
        for client in &mut clients {
            client.send(post);
        }
        pause(Duration::from_millis(if long { 1200 } else { 100 }));
        endpoint.release();
        for client in &mut clients {
            assert_eq!(client.response().status, 502);
        }
        let penalty = penalty(&proxy, endpoint.address());
        let is_as_expected = (penalty >= expected) && (expected > 0 || penalty == 0);
        assert!(is_as_expected, "{how} {long}: {penalty}");
    }
}
