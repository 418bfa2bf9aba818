//! Hedging: a second endpoint for what takes long, one answer, and nothing twice that may not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::attempts::in_order;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::message::Broken;

const SOON: &str = "hedge.after = \"50ms\"";

fn outcomes(proxy: &Evenkeel, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    proxy.metric("evenkeel_hedges_total", &[&label])
}

#[test]
fn a_second_endpoint_answers_where_the_first_one_stalls() {
    let (stalls, good) = (Endpoint::stalls_after(""), Endpoint::says("good"));
    let proxy = in_order(SOON, "", &[&stalls, &good]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (200, "good"));
    // Whoever lost is let go, and is told nothing of a failure.
    assert_eq!(stalls.wait_for_end(), Broken::Closed);
    assert_eq!(outcomes(&proxy, "won"), 1);
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["attempts"], 2);
    assert_eq!(line["endpoint"], good.address().to_string());
    let failed = ["class=\"none\""];
    assert_eq!(proxy.metric("evenkeel_endpoint_requests_total", &failed), 0);
    let in_flight = proxy.metric("evenkeel_endpoint_in_flight", &[]);
    assert_eq!(in_flight, 0, "both attempts have ended");
    // The layers behind know that it is the second.
    let said = good.request();
    assert_eq!(said.head.value("evenkeel-attempt"), Some("2"));
    assert_eq!(stalls.request().head.value("evenkeel-attempt"), None);
}

#[test]
fn the_first_answer_counts_and_the_other_attempt_is_given_up() {
    let (first, stalls) = (Gated::answering("first"), Endpoint::stalls_after(""));
    let proxy = in_order(SOON, "", &[first.endpoint(), &stalls]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("both are asked", || {
        (stalls.requests().len() == 1).then_some(())
    });
    first.open();
    assert_eq!(client.response().body.text(), "first");
    assert_eq!(stalls.wait_for_end(), Broken::Closed);
    assert_eq!(outcomes(&proxy, "lost"), 1);
    // The connection of whoever answered goes on.
    assert_eq!(client.get("/").body.text(), "first");
    assert_eq!(first.endpoint().connections(), 1);
}

#[test]
fn a_second_answer_that_is_none_is_not_taken() {
    let bad = [
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for bad in bad {
        let (first, second) = (Gated::answering("first"), Endpoint::answers(bad));
        let proxy = in_order(SOON, "", &[first.endpoint(), &second]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the second one is asked", || {
            (second.requests().len() == 1).then_some(())
        });
        pause(Duration::from_millis(50));
        first.open();
        let response = client.response();
        assert_eq!((response.status, &*response.body.text()), (200, "first"));
        assert_eq!(outcomes(&proxy, "lost"), 1);
    }
}

#[test]
fn what_failed_while_the_second_is_asked_is_answered_by_the_second() {
    let first = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.wait_for_release();
        }
    });
    let second = Gated::answering("second");
    let proxy = in_order(SOON, "", &[&first, second.endpoint()]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    second.wait_for(1);
    first.release("");
    pause(Duration::from_millis(50));
    second.open();
    assert_eq!(client.response().body.text(), "second");
    assert_eq!(second.count(), 1, "and it is asked once");
}

#[test]
fn only_safe_requests_without_a_body_are_at_two_endpoints() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let (first, second) = (Gated::answering("first"), Endpoint::says("second"));
        let proxy = in_order("hedge.after = \"10ms\"", "", &[first.endpoint(), &second]);
        let mut client = proxy.client();
        client.send(request);
        first.wait_for(1);
        pause(Duration::from_millis(150));
        first.open();
        assert_eq!(client.response().body.text(), "first", "{request:?}");
        assert!(second.requests().is_empty(), "{request:?}");
    }
    // A route may say that others do no harm.
    let (stalls, second) = (Endpoint::stalls_after(""), Endpoint::says("second"));
    let route = "hedge = { after = \"10ms\", methods = [\"DELETE\"] }";
    let proxy = in_order(route, "", &[&stalls, &second]);
    let mut client = proxy.client();
    client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().body.text(), "second");
}

#[test]
fn without_budget_or_another_endpoint_there_is_one_attempt() {
    let none = "retry_budget = { ratio = \"0%\", per_second = 0 }";
    let (first, second) = (Gated::answering("first"), Endpoint::says("second"));
    let proxy = in_order(SOON, none, &[first.endpoint(), &second]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("a hedge was due", || {
        (outcomes(&proxy, "budget_exhausted") == 1).then_some(())
    });
    first.open();
    assert_eq!(client.response().body.text(), "first");
    assert!(second.requests().is_empty());

    let alone = Gated::answering("alone");
    let proxy = in_order("hedge.after = \"10ms\"", "", &[alone.endpoint()]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    alone.wait_for(1);
    pause(Duration::from_millis(100));
    alone.open();
    assert_eq!(client.response().body.text(), "alone");
    assert_eq!(alone.count(), 1);
}

#[test]
fn an_endpoint_that_has_said_something_is_at_work() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    let first = Endpoint::start(move |peer| {
        if peer.request().is_some() {
            peer.send(early);
            peer.wait_for_release();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
        }
    });
    let second = Endpoint::says("second");
    let proxy = in_order("hedge.after = \"100ms\"", "", &[&first, &second]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().expect("hints").status(), Ok(103));
    pause(Duration::from_millis(250));
    first.release("");
    assert_eq!(client.response().body.text(), "first");
    assert!(second.requests().is_empty());
}

#[test]
fn what_is_usual_is_learned() {
    // Quick for as long as it takes to be known, then silent.
    let asked = AtomicUsize::new(0);
    let first = Endpoint::start(move |peer| {
        while peer.request().is_some() {
            if asked.fetch_add(1, Ordering::AcqRel) >= 120 {
                return peer.wait_for_end();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
        }
    });
    let second = Endpoint::says("second");
    let proxy = in_order("hedge = {}", "", &[&first, &second]);
    let mut client = proxy.client();
    for _ in 0..120 {
        client.get("/");
    }
    // What was read a moment ago is not read again.
    pause(Duration::from_millis(150));
    assert_eq!(client.get("/").body.text(), "second");
    assert!(outcomes(&proxy, "won") >= 1);
}

#[test]
fn an_endpoint_that_only_hedges_answer_for_is_found_out() {
    let (stalls, good) = (Endpoint::stalls_after(""), Endpoint::says("good"));
    let addresses = [&stalls, &good].map(|it| it.address().to_string());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\nhedge.after = \"10ms\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = {addresses:?}\n\
         retry_budget = {{ per_second = 1000 }}\n"
    ));
    let mut client = proxy.client();
    let view = || proxy.endpoint("app", &addresses[0]);
    eventually("it is left alone", || {
        for _ in 0..10 {
            assert_eq!(client.get("/").body.text(), "good");
        }
        (view()["backing_off"] == true).then_some(())
    });
    let before = stalls.requests().len();
    for _ in 0..200 {
        assert_eq!(client.get("/").body.text(), "good");
    }
    let met = stalls.requests().len() - before;
    assert!(met <= 20, "{met} of 200 met it, as if nobody knew");
    assert_eq!(outcomes(&proxy, "lost"), 0);
}

#[test]
fn at_the_limit_of_the_upstream_nothing_is_hedged_and_no_budget_is_spent() {
    let (first, second) = (Gated::answering("first"), Endpoint::says("second"));
    let proxy = in_order(
        "hedge.after = \"10ms\"",
        "max_in_flight = 2\nretry_budget = { ratio = \"0%\", per_second = 1 }",
        &[first.endpoint(), &second],
    );
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    // One that is not hedged fills the upstream, so that none of twenty others is: the budget has
    // ten.
    let mut holds = proxy.client();
    holds.send(post);
    first.wait_for(1);
    for number in 2..22 {
        let mut client = proxy.client();
        client.send(get);
        first.wait_for(number);
        pause(Duration::from_millis(40));
        drop(client);
        eventually("it has left", || {
            let in_flight = proxy.metric("evenkeel_endpoint_in_flight", &[]);
            (in_flight == 1).then_some(())
        });
    }
    assert_eq!(outcomes(&proxy, "budget_exhausted"), 0);
    assert!(second.requests().is_empty());
    // All of it is there.
    first.open();
    assert_eq!(holds.response().body.text(), "first");
}

#[test]
fn a_backup_is_asked_for_no_hedge() {
    let (first, backup) = (Gated::answering("first"), Endpoint::says("backup"));
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\nhedge.after = \"10ms\"\n\
         [upstream.app]\nendpoints = [\"{}\", {{ address = \"{}\", backup = true }}]\n",
        first.address(),
        backup.address()
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    first.wait_for(1);
    pause(Duration::from_millis(100));
    first.open();
    assert_eq!(client.response().body.text(), "first");
    assert!(backup.requests().is_empty());
}

#[test]
fn one_of_three_stalls_and_no_request_waits_for_it_or_runs_twice() {
    let stalls = Gated::answering("late");
    let good: Vec<Endpoint> = (0..2).map(|_| Endpoint::says("good")).collect();
    let addresses: Vec<String> = [stalls.address(), good[0].address(), good[1].address()]
        .iter()
        .map(ToString::to_string)
        .collect();
    let proxy = Arc::new(Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{SOON}\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = {addresses:?}\n\
         retry_budget = {{ per_second = 1000 }}\n"
    )));
    // Those that write wait for whom they have got; there is no other way.
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
                proxy.client().send(post).response().status
            })
        })
        .collect();
    let mut reader = proxy.client();
    for _ in 0..60 {
        let response = reader.get("/");
        assert_eq!((response.status, &*response.body.text()), (200, "good"));
    }
    assert!(outcomes(&proxy, "won") >= 15);
    stalls.open();
    for writer in writers {
        assert_eq!(writer.join().expect("it was answered"), 200);
    }
    let all = good.iter().flat_map(Endpoint::requests);
    let all = all.chain(stalls.endpoint().requests());
    let posts = all.filter(|request| request.method() == "POST").count();
    assert_eq!(posts, 6, "each was carried out once");
}
