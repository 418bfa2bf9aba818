//! Retries: by which cause, for whom, how often, and what is left alone.
//!
//! `attempts.rs` asks what an attempt is; this asks what a route's settings make of one that
//! failed.

use std::time::Duration;

use crate::attempts::in_order;
use crate::support::clock::eventually;
use crate::support::endpoint::{Endpoint, Peer, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::look::cause;
use crate::support::message::Broken;

pub(crate) const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const AWAY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 4\r\n\r\naway";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
pub(crate) const ON_503: &str = "retry.statuses = [502, 503]";

pub(crate) fn outcomes(proxy: &Evenkeel, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    proxy.metric("evenkeel_retries_total", &[&label])
}

pub(crate) fn attempt_of(request: &Request) -> Option<&str> {
    request.head.value("evenkeel-attempt")
}

/// A request whose body comes in these pieces, each by itself.
fn send_in_pieces(proxy: &Evenkeel, method: &str, pieces: &[Vec<u8>], seen: impl Fn(usize)) -> u16 {
    let length: usize = pieces.iter().map(Vec::len).sum();
    let mut client = proxy.client();
    client.send(format!(
        "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut sent = 0;
    for piece in pieces {
        client.send(piece);
        sent += piece.len();
        seen(sent);
    }
    client.response().status
}

#[test]
fn a_status_that_the_route_names_is_asked_for_elsewhere() {
    let (bad, good) = (Endpoint::answers(BUSY), Endpoint::says("good"));
    let proxy = in_order(ON_503, "", &[&bad, &good]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status, &*response.body.text()), (200, "good"));
    }
    let lines = proxy.access_lines(2);
    assert!(lines.iter().all(|line| line["attempts"] == 2), "{lines:?}");
    assert_eq!(outcomes(&proxy, "success"), 2);
    // What was given up had come wholly, so that its connection goes on.
    assert_eq!((bad.requests().len(), bad.connections()), (2, 1));
    // The second endpoint is told that it is the second.
    assert!(bad.requests().iter().all(|it| attempt_of(it).is_none()));
    assert!(good.requests().iter().all(|it| attempt_of(it) == Some("2")));

    // What nobody named is the client's to see, and what nobody may repeat.
    let proxy = in_order("", "", &[&bad, &good]);
    assert_eq!(proxy.client().get("/").body.text(), "busy");
    let proxy = in_order(ON_503, "", &[&bad, &good]);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(proxy.client().send(post).response().status, 503);
    // Unless the route says that it may.
    let listed = "retry = { statuses = [503], methods = [\"POST\"] }";
    let proxy = in_order(listed, "", &[&bad, &good]);
    assert_eq!(proxy.client().send(post).response().status, 200);
    let arrived = good.requests().pop().expect("a request");
    assert_eq!(arrived.body.text(), "hello");
}

#[test]
fn the_last_answer_is_handed_on_as_it_is() {
    let (first, second) = (Endpoint::answers(BUSY), Endpoint::answers(BUSY));
    let proxy = in_order(ON_503, "", &[&first, &second]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (503, "busy"));
    let status = response.head.value("proxy-status").unwrap_or_default();
    assert_eq!(status, "evenkeel; received-status=503; no-retry");
    assert_eq!(outcomes(&proxy, "failure"), 1);
    assert_eq!(first.requests().len() + second.requests().len(), 2);
}

#[test]
fn a_long_answer_that_is_given_up_ends_with_its_connection() {
    let bad =
        Endpoint::stalls_after("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000000\r\n\r\nlong");
    let good = Endpoint::says("good");
    let proxy = in_order(ON_503, "", &[&bad, &good]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (200, "good"));
    assert_eq!(bad.wait_for_end(), Broken::Closed);
}

#[test]
fn a_body_in_many_pieces_goes_elsewhere_as_a_whole() {
    let pieces: Vec<Vec<u8>> = (0..8_u8).map(|number| vec![b'a' + number; 5_000]).collect();
    let whole = pieces.concat();
    let bad = Endpoint::closes_unanswered();
    let good = Endpoint::says("good");
    let proxy = in_order("retry.body = \"64KiB\"", "", &[&bad, &good]);
    let received = |sent: usize| {
        eventually("the endpoint has the piece", || {
            let raw: usize = bad.raw().iter().map(Vec::len).sum();
            (raw >= sent).then_some(())
        });
    };
    assert_eq!(send_in_pieces(&proxy, "PUT", &pieces, received), 200);
    assert_eq!(bad.request().body.data, whole, "the first one had it all");
    assert_eq!(good.request().body.data, whole);

    // Beyond its limit it is not, and that is said.
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [route.all]\nupstream = \"app\"\nretry.body = \"16KiB\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{}\", \"{}\"]\n",
        bad.address(),
        good.address()
    ));
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n");
    client.send(&whole);
    let response = client.response();
    assert_eq!(response.status, 502);
    assert_eq!(good.requests().len(), 1, "none besides the one before");
    assert_eq!(outcomes(&proxy, "body_gone"), 1);
    let said = response.head.value("proxy-status").unwrap_or_default();
    assert!(said.contains("than is kept"), "{said}");
}

#[test]
fn while_others_wait_for_the_upstream_nothing_is_tried_again() {
    let busy = Endpoint::start(|peer| {
        while peer.request().is_some() {
            peer.wait_for_release();
            peer.send(BUSY);
        }
    });
    let good = Endpoint::says("good");
    let proxy = in_order(ON_503, "max_in_flight = 1", &[&busy, &good]);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = proxy.client();
    first.send(get);
    eventually("it is asked", || (busy.requests().len() == 1).then_some(()));
    let mut second = proxy.client();
    second.send(get);
    eventually("another one waits", || {
        (proxy.metric("evenkeel_queue_depth", &[]) == 1).then_some(())
    });
    busy.release("");
    assert_eq!(first.response().status, 503);
    assert_eq!(outcomes(&proxy, "shed"), 1);
    drop(second);
}

#[test]
fn the_only_one_at_a_full_upstream_is_tried_again() {
    let (busy, good) = (Endpoint::answers(BUSY), Endpoint::says("good"));
    let proxy = in_order(ON_503, "max_in_flight = 1", &[&busy, &good]);
    assert_eq!(proxy.client().get("/").body.text(), "good");
}

#[test]
fn bodies_that_one_route_keeps_leave_room_for_those_of_another() {
    let slow = Endpoint::start(Peer::drain);
    let (bad, good) = (Endpoint::closes_unanswered(), Endpoint::says("good"));
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.slow]\npath = \"/slow/\"\nupstream = \"slow\"\nretry.body = \"16MiB\"\n\
         [route.all]\nupstream = \"app\"\n\
         [upstream.slow]\nendpoints = [\"{}\"]\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{}\", \"{}\"]\n",
        slow.address(),
        bad.address(),
        good.address()
    ));
    // Two bodies of which each would take half of what there is, and whose ends never come.
    let part = vec![b'x'; 9 * 1024 * 1024];
    let uploads = [(); 2].map(|()| {
        let mut client = proxy.client();
        client.send("PUT /slow/ HTTP/1.1\r\nHost: a\r\nContent-Length: 16000000\r\n\r\n");
        client.send(&part);
        client
    });
    let arrived = |from: &Endpoint, bytes: usize| {
        eventually("the endpoint has it", || {
            let raw: usize = from.raw().iter().map(Vec::len).sum();
            (raw >= bytes).then_some(())
        });
    };
    arrived(&slow, 2 * part.len());
    let pieces = [vec![b'a'; 5_000], vec![b'b'; 5_000]];
    let status = send_in_pieces(&proxy, "PUT", &pieces, |sent| arrived(&bad, sent));
    assert_eq!(status, 200);
    assert_eq!(good.request().body.data, pieces.concat());
    drop(uploads);
}

#[test]
fn only_the_causes_that_the_route_names_are_repeated() {
    let good = Endpoint::says("good");
    let (refuses, closes) = (Endpoint::refuses(), Endpoint::closes_unanswered());
    let silent = Endpoint::stalls_after("");
    let cases = [
        ("connect", &refuses),
        ("reset", &closes),
        ("timeout", &silent),
    ];
    for (cause, _) in cases {
        let route = format!("retry = {{ on = [\"{cause}\"], per_try_timeout = \"300ms\" }}");
        for (other, bad) in cases {
            let proxy = in_order(&route, "", &[bad, &good]);
            let status = proxy.client().get("/").status;
            assert_eq!(
                status == 200,
                cause == other,
                "{other} on {cause}: {status}"
            );
        }
    }
}

#[test]
fn without_budget_there_is_none() {
    let (bad, good) = (Endpoint::closes_unanswered(), Endpoint::says("good"));
    let none = "retry_budget = { ratio = \"0%\", per_second = 0 }";
    let proxy = in_order("", none, &[&bad, &good]);
    let response = proxy.client().get("/");
    assert_eq!(response.status, 502);
    let said = response.head.value("proxy-status").unwrap_or_default();
    assert!(said.ends_with("no-retry"), "{said}");
    assert_eq!(outcomes(&proxy, "budget_exhausted"), 1);
    assert!(good.requests().is_empty());
    // As many as it says in ten seconds.
    let few = "retry_budget = { ratio = \"0%\", per_second = 1 }";
    let proxy = in_order(ON_503, few, &[&Endpoint::answers(BUSY), &good]);
    let statuses: Vec<u16> = (0..30).map(|_| proxy.client().get("/").status).collect();
    let repeated = statuses.iter().filter(|status| **status == 200).count();
    assert!(repeated >= 10, "{statuses:?}");
    assert!(statuses[..10].iter().all(|status| *status == 200));
}

#[test]
fn who_sheds_load_is_asked_no_second_time() {
    let away = || Endpoint::answers(AWAY);
    // The only one there is.
    let alone = away();
    let proxy = in_order("retry = { statuses = [503], attempts = 5 }", "", &[&alone]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (503, "away"));
    assert_eq!(response.head.value("retry-after"), Some("30"));
    assert_eq!(alone.requests().len(), 1);
    assert_eq!(outcomes(&proxy, "shed"), 1);

    // One that does not may be asked, and then nobody.
    let (first, second) = (away(), away());
    let several = "retry = { statuses = [503], attempts = 5 }";
    let proxy = in_order(several, "", &[&first, &second]);
    assert_eq!(proxy.client().get("/").status, 503);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    // It still gets what comes for the first time.
    assert_eq!(proxy.client().get("/").status, 503);
    assert_eq!(first.requests().len() + second.requests().len(), 3);
}

/// As many servers say it that are about to be maintained.
#[test]
fn who_sheds_load_until_a_date_is_asked_no_second_time() {
    let later = jiff::Timestamp::now() + Duration::from_secs(30);
    let date = later.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let away = format!("HTTP/1.1 503 X\r\nRetry-After: {date}\r\nContent-Length: 4\r\n\r\naway");
    let alone = Endpoint::answers(away);
    let proxy = in_order("retry = { statuses = [503], attempts = 5 }", "", &[&alone]);
    assert_eq!(proxy.client().get("/").status, 503);
    assert_eq!(alone.requests().len(), 1);
    assert_eq!(outcomes(&proxy, "shed"), 1);
}

#[test]
fn what_one_client_may_not_is_no_reason_to_ask_less_for_others() {
    let limited = || {
        Endpoint::start(|peer| {
            while let Some(request) = peer.request() {
                if request.target() == "/greedy" {
                    peer.send("HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
                } else if request.head.value("evenkeel-attempt").is_none() {
                    return;
                } else {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            }
        })
    };
    let (first, second) = (limited(), limited());
    let route = "retry = { statuses = [429], attempts = 5 }";
    let proxy = in_order(route, "", &[&first, &second]);
    let response = proxy.client().get("/greedy");
    assert_eq!(response.status, 429);
    assert_eq!(response.head.value("retry-after"), Some("30"));
    // It is asked for at each of them, but at none again.
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    assert_eq!(outcomes(&proxy, "shed"), 1);
    assert_eq!(proxy.client().get("/").status, 200, "others go elsewhere");
    assert_eq!(outcomes(&proxy, "shed"), 1);
}

/// Whatever the other one says.
#[test]
fn who_told_a_client_to_come_later_is_not_asked_again_for_it() {
    let later = Endpoint::answers("HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n");
    let broken = Endpoint::answers("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    let route = "retry = { statuses = [429, 503], attempts = 5, backoff = \"1ms\" }";
    for endpoints in [[&later, &broken], [&later, &Endpoint::refuses()]] {
        let before = later.requests().len();
        let proxy = in_order(route, "", &endpoints);
        for number in 1..=5 {
            let response = proxy.client().get("/");
            assert!([429, 502, 503].contains(&response.status), "{response:?}");
            assert!(later.requests().len() - before <= number, "once for each");
        }
    }
}

#[test]
fn who_is_turned_away_pays_for_nobody() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some_and(|it| it.target() == "/held") {
            peer.wait_for_release();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let upstream = "max_in_flight_per_endpoint = 1\nqueue.size = 0\n\
                    retry_budget = { ratio = \"5%\", per_second = 0 }";
    let proxy = in_order("", upstream, &[&endpoint]);
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is held", || {
        (endpoint.requests().len() == 1).then_some(())
    });
    let mut others = proxy.client();
    for _ in 0..100 {
        assert_eq!(others.get("/").status, 503);
    }
    endpoint.release("");
    assert_eq!(held.response().status, 200);
    // Of the two that were let in there is a tenth of a retry.
    assert_eq!(others.get("/").status, 502);
    assert_eq!(outcomes(&proxy, "budget_exhausted"), 1);
}

/// A retry that loads somebody has to stand behind those who ask for the first time: its client
/// hears at once what came of the attempt.
#[test]
fn what_may_have_been_acted_on_is_not_tried_again_while_others_wait() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some_and(|it| it.target() == "/first") {
            peer.wait_for_release();
        } else {
            peer.drain();
        }
    });
    let upstream = "max_in_flight_per_endpoint = 1\nqueue.wait = \"2s\"";
    let proxy = in_order("", upstream, &[&endpoint]);
    let ask = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    let mut first = ask("/first");
    eventually("it is asked", || {
        (endpoint.requests().len() == 1).then_some(())
    });
    let _second = ask("/second");
    eventually("another one waits", || {
        let depth = proxy.metric("evenkeel_queue_depth", &["upstream=\"app\""]);
        (depth == 1).then_some(())
    });
    endpoint.release("");
    let response = first.response();
    assert_eq!(
        (response.status, &*cause(&response)),
        (502, "connection_terminated")
    );
    assert_eq!(outcomes(&proxy, "shed"), 1);
}

#[test]
fn no_attempt_begins_that_nobody_would_wait_for() {
    // A pause within an hour is longer than a second, but for one time in thousands.
    let route = "timeouts.request = \"1s\"\nretry = { backoff = \"1h\", backoff_at_most = \"1h\" }";
    let (bad, good) = (Endpoint::closes_unanswered(), Endpoint::says("good"));
    let proxy = in_order(route, "", &[&bad, &good]);
    let response = proxy.client().get("/");
    assert_eq!(response.status, 502, "and not 504, which takes a second");
    assert_eq!(cause(&response), "connection_terminated");
    assert!(good.requests().is_empty());
    assert_eq!(outcomes(&proxy, "no_time"), 1);
    // What surely reached nobody goes elsewhere without a pause.
    let proxy = in_order(route, "", &[&Endpoint::refuses(), &good]);
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn a_client_that_leaves_during_a_pause_is_tried_for_no_more() {
    let route = "retry = { backoff = \"1h\", backoff_at_most = \"1h\" }";
    let (bad, good) = (Endpoint::closes_unanswered(), Endpoint::says("good"));
    let proxy = in_order(route, "", &[&bad, &good]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the first one is asked", || {
        (bad.requests().len() == 1).then_some(())
    });
    drop(client);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["end"], "client_abort");
    assert_eq!(line["attempts"], 1);
    assert!(good.requests().is_empty());
}

#[test]
fn what_a_proxy_in_front_repeats_is_repeated_only_where_it_reached_nobody() {
    let start = |trusted: &str, bad: &Endpoint, good: &Endpoint| {
        Evenkeel::start(&format!(
            "[listener.web]\nbind = \"@web\"\ntrusted_proxies = [{trusted}]\n\
             [route.all]\nupstream = \"app\"\n[upstream.app]\nbalance = \"first_healthy\"\n\
             endpoints = [\"{}\", \"{}\"]\n",
            bad.address(),
            good.address()
        ))
    };
    let ask = |proxy: &Evenkeel, field: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}: 2\r\n\r\n");
        proxy.client().send(request).response().status
    };
    let closes = Endpoint::closes_unanswered();
    let good = Endpoint::says("good");
    let proxy = start("\"127.0.0.0/8\"", &closes, &good);
    assert_eq!(ask(&proxy, "Evenkeel-Attempt"), 502);
    assert_eq!(attempt_of(&closes.requests()[0]), Some("2"), "passed on");
    // It reached nobody.
    let proxy = start("\"127.0.0.0/8\"", &Endpoint::refuses(), &good);
    assert_eq!(ask(&proxy, "Evenkeel-Attempt"), 200);
    assert_eq!(attempt_of(&good.requests()[0]), Some("3"));
    // A client that nobody knows says nothing of the kind, however it spells it.
    for field in ["Evenkeel-Attempt", "Evenkeel_Attempt"] {
        let closes = Endpoint::closes_unanswered();
        let proxy = start("", &closes, &good);
        assert_eq!(ask(&proxy, field), 200, "{field}");
        let first = &closes.requests()[0];
        assert_eq!(attempt_of(first), None);
        assert_eq!(first.head.value("evenkeel_attempt"), None);
        let last = good.requests().pop().expect("a request");
        assert_eq!(attempt_of(&last), Some("2"));
    }
}

#[test]
fn what_one_of_us_has_tried_elsewhere_is_handed_on() {
    let tried = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
                 Proxy-Status: evenkeel; received-status=503; no-retry\r\n\r\n";
    let untried = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
                   Proxy-Status: evenkeel; error=connection_refused\r\n\r\n";
    for (answer, status) in [(tried, 503), (untried, 200)] {
        let (before, good) = (Endpoint::answers(answer), Endpoint::says("good"));
        let proxy = in_order(ON_503, "", &[&before, &good]);
        assert_eq!(proxy.client().get("/").status, status, "{answer}");
        assert_eq!(good.requests().len(), usize::from(status == 200));
    }
}

#[test]
fn nothing_is_repeated_once_the_client_has_a_byte() {
    // The head and some of the body have been passed on when the endpoint breaks off.
    let bad = Endpoint::resets_after("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
    let good = Endpoint::says("good");
    let proxy = in_order(
        "retry = { attempts = 5, statuses = [502] }",
        "",
        &[&bad, &good],
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().expect("a head").status(), Ok(200));
    assert_eq!(client.bytes(5), b"begun");
    assert!(client.is_closed());
    assert!(good.requests().is_empty());
    assert_eq!(proxy.access_lines(1)[0]["attempts"], 1);
}

#[test]
fn a_reload_changes_how_often_and_forgets_nothing_of_what_was_spent() {
    let (bad, good) = (Endpoint::answers(BUSY), Endpoint::says("good"));
    let config = |per_second: u32| {
        format!(
            "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{ON_503}\n\
             [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{}\", \"{}\"]\n\
             retry_budget = {{ ratio = \"0%\", per_second = {per_second} }}\n",
            bad.address(),
            good.address()
        )
    };
    let mut proxy = Evenkeel::start(&config(0));
    assert_eq!(proxy.client().get("/").status, 503);
    proxy.reload(&config(100));
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.reload(&config(0));
    assert_eq!(proxy.client().get("/").status, 503);
}

#[test]
fn a_pause_does_not_end_what_the_endpoint_may_take() {
    // The limit of one attempt begins with the attempt, and not with the pause before it.
    let bad = Endpoint::closes_unanswered();
    let good = Endpoint::answers_slowly(
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        Duration::from_millis(1),
    );
    let route = "retry = { per_try_timeout = \"5s\", backoff = \"200ms\" }";
    let proxy = in_order(route, "", &[&bad, &good]);
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").body.text(), "good");
    }
}
