//! Outlier detection by shares of failures, by rates and by times, each where nothing else tells;
//! and where several upstreams fail together. `outlier.rs` asks what rows of failures do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

const WELL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";

/// Fails one request of so many, the first one first, so that no failure follows another.
fn fails_one_of(every: usize) -> Endpoint {
    let asked = AtomicUsize::new(0);
    Endpoint::start(move |peer| {
        while peer.request().is_some() {
            let number = asked.fetch_add(1, Ordering::AcqRel);
            peer.send(if number.is_multiple_of(every) {
                FAILED
            } else {
                WELL
            });
        }
    })
}

fn takes(time: Duration) -> Endpoint {
    Endpoint::start(move |peer| {
        while peer.request().is_some() {
            pause(time);
            peer.send(WELL);
        }
    })
}

/// Fails while it is told to.
fn told() -> (Endpoint, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    let endpoint = Endpoint::start(move |peer| {
        while peer.request().is_some() {
            let fails = told.load(Ordering::Acquire);
            peer.send(if fails { FAILED } else { WELL });
        }
    });
    (endpoint, fails)
}

/// A listener of this name, and an upstream of the same with these endpoints.
fn part<'a>(
    name: &str,
    endpoints: impl IntoIterator<Item = &'a Endpoint>,
    outlier: &str,
) -> String {
    let endpoints = endpoints.into_iter().map(|one| one.address().to_string());
    let endpoints: Vec<String> = endpoints.collect();
    format!(
        "[listener.{name}]\nbind = \"@{name}\"\nupstream = \"{name}\"\n\
         [upstream.{name}]\nbalance = \"round_robin\"\nendpoints = {endpoints:?}\n\
         [upstream.{name}.outlier]\n{outlier}\n"
    )
}

/// Whether an endpoint is out, which event, status and metric agree on; what the event says.
fn ejected(proxy: &Evenkeel, bad: &Endpoint, cause: &str) -> Value {
    let address = bad.address().to_string();
    let event = proxy.event("endpoint_ejected", &address);
    assert_eq!(event["cause"], cause, "{event}");
    let view = proxy.endpoint("web", &address);
    assert_eq!(
        (&view["state"], &view["why"]),
        (&"ejected".into(), &event["why"])
    );
    let status = proxy.command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let why = event["why"].as_str().expect("words");
    assert!(status.contains(why), "{why} is missing in\n{status}");
    let counted = |label: &str| proxy.metric("evenkeel_upstream_ejections_total", &[label]);
    let label = format!("cause=\"{cause}\"");
    assert_eq!((counted(&label), counted("upstream=\"web\"")), (1, 1));
    event
}

/// Sends requests until one is out; how many that were.
fn ask_until_ejected(proxy: &Evenkeel) -> usize {
    let mut client = proxy.client();
    let mut sent = 0;
    eventually("it is ejected", || {
        sent += 10;
        (0..10).for_each(|_| drop(client.get("/")));
        (!proxy.events("endpoint_ejected").is_empty()).then_some(())
    });
    sent
}

/// With this switched off nothing else has it ejected, for twice as many requests.
fn is_blind(bad: &Endpoint, peers: &[Endpoint], outlier: &str, sent: usize) {
    let all = peers.iter().chain([bad]);
    let proxy = Evenkeel::start(&part("web", all, outlier));
    let mut client = proxy.client();
    (0..2 * sent).for_each(|_| drop(client.get("/")));
    // Until it has been looked.
    pause(2 * LOOK);
    (0..20).for_each(|_| drop(client.get("/")));
    assert!(proxy.events("endpoint_ejected").is_empty());
    let all_causes = ["upstream=\"web\""];
    assert_eq!(
        proxy.metric("evenkeel_upstream_ejections_total", &all_causes),
        0
    );
}

/// The `interval` of these tests.
const LOOK: Duration = Duration::from_millis(500);

#[test]
fn half_of_the_requests_are_a_share_that_ejects() {
    let peers = [(); 2].map(|()| Endpoint::answers(WELL));
    let bad = fails_one_of(2);
    let settings = "interval = \"500ms\"";
    let proxy = Evenkeel::start(&part("web", peers.iter().chain([&bad]), settings));
    let sent = ask_until_ejected(&proxy);
    let event = ejected(&proxy, &bad, "failure_ratio");
    let why = event["why"].as_str().expect("words");
    assert!(
        why.ends_with("requests failed, the last with status 500"),
        "{why}"
    );
    let numbers: Vec<usize> = why.split(' ').filter_map(|it| it.parse().ok()).collect();
    let (failed, of) = (numbers[0], numbers[1]);
    assert!(of >= 20 && failed == of.div_ceil(2), "{why}");
    assert!(peers.iter().all(|peer| peer.requests().len() >= of - 1));
    let off = format!("{settings}\nfailure_ratio = \"0%\"");
    is_blind(&fails_one_of(2), &peers, &off, sent);
}

#[test]
fn who_succeeds_less_often_than_its_peers_is_ejected() {
    let peers = [(); 5].map(|()| Endpoint::answers(WELL));
    let bad = fails_one_of(4);
    // Compared from 25 requests on.
    let settings = "interval = \"500ms\"\nmin_requests = 5";
    let proxy = Evenkeel::start(&part("web", peers.iter().chain([&bad]), settings));
    let sent = ask_until_ejected(&proxy);
    let event = ejected(&proxy, &bad, "success_rate");
    let why = event["why"].as_str().expect("words");
    assert!(why.starts_with('7'), "three of four: {why}");
    assert!(
        why.ends_with("of its peers' 100.0%, at least 95.0% are expected"),
        "{why}"
    );
    let off = format!("{settings}\nsuccess_rate_deviation = 0");
    is_blind(&fails_one_of(4), &peers, &off, sent);
}

#[test]
fn who_answers_far_more_slowly_than_its_peers_is_ejected() {
    let peers = [(); 3].map(|()| Endpoint::answers(WELL));
    let bad = takes(Duration::from_millis(400));
    let settings = "interval = \"500ms\"";
    let all = || peers.iter().chain([&bad]);
    let proxy = Evenkeel::start(&part("web", all(), settings));
    let off = format!("{settings}\nlatency_factor = 0");
    let blind = Evenkeel::start(&part("web", all(), &off));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for proxy in [&proxy, &blind] {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = proxy.client();
                    while !is_over.load(Ordering::Acquire) {
                        assert_eq!(client.get("/").status, 200);
                    }
                });
            }
        }
        eventually("it is ejected", || {
            (!proxy.events("endpoint_ejected").is_empty()).then_some(())
        });
        // Nor is it by the other one, a few looks later.
        pause(3 * LOOK);
        is_over.store(true, Ordering::Release);
    });
    let event = ejected(&proxy, &bad, "latency");
    let why = event["why"].as_str().expect("words");
    assert!(why.contains("(median"), "{why}");
    assert!(blind.events("endpoint_ejected").is_empty());
    assert_eq!(blind.metric("evenkeel_upstream_ejections_total", &[]), 0);
    // It is no failure, and nobody else got less.
    let failed = ["class=\"5xx\""];
    assert_eq!(proxy.metric("evenkeel_endpoint_requests_total", &failed), 0);
}

#[test]
fn where_several_upstreams_fail_nothing_is_ejected_in_any() {
    let three = || [(); 3].map(|()| told());
    let (one, other) = (three(), three());
    let third = [(); 4].map(|()| told());
    let settings = "interval = \"200ms\"";
    let of = |name: &str, all: &[(Endpoint, Arc<AtomicBool>)]| {
        part(name, all.iter().map(|(endpoint, _)| endpoint), settings)
    };
    let parts = [of("one", &one), of("other", &other), of("third", &third)];
    let proxy = Evenkeel::start(&parts.concat());
    let names = ["one", "other", "third"];
    let connect = |name: &str| crate::support::client::Client::connect(proxy.address(name));
    let mut clients = names.map(connect);
    let mut ask = |times: usize| {
        for client in &mut clients {
            (0..times).for_each(|_| drop(client.get("/")));
        }
    };
    let of_all = |kind: &str| -> Vec<Value> {
        let events = proxy.events(kind).into_iter();
        // Of a single upstream they name that.
        events.filter(|it| it["upstreams"].is_string()).collect()
    };
    ask(30);
    let set = |fails: bool| {
        for (_, told) in one.iter().chain(&other) {
            told.store(fails, Ordering::Release);
        }
    };
    set(true);
    eventually("it is everywhere", || {
        ask(3);
        (!of_all("outlier_suspended").is_empty()).then_some(())
    });
    let event = of_all("outlier_suspended").remove(0);
    assert_eq!(event["failing"], "2");
    let why = event["why"].as_str().expect("words");
    // It may not have been looked yet whether the third one has requests.
    let fail = "upstreams most endpoints fail (one, other)";
    let extents = [2, 3].map(|all| format!("in 2 of {all} {fail}"));
    assert!(extents.iter().any(|it| why.starts_with(it)), "{why}");
    // One of the third does as well, which would cost it its place at any other time.
    let bad = &third[0];
    bad.1.store(true, Ordering::Release);
    let before = bad.0.requests().len();
    eventually("it has failed often", || {
        ask(4);
        (bad.0.requests().len() >= before + 40).then_some(())
    });
    let suspended = |name: &str| {
        let label = format!("upstream=\"{name}\"");
        proxy.metric_now("evenkeel_upstream_ejections_suspended", &[&label])
    };
    assert_eq!(names.map(suspended), [1; 3]);
    let address = bad.0.address().to_string();
    let is_of = |event: &Value| event["endpoint"] == *address;
    assert!(!proxy.events("endpoint_ejected").iter().any(is_of));
    for (name, all) in [("one", &one[..]), ("other", &other), ("third", &third)] {
        for (endpoint, _) in all {
            let view = proxy.endpoint(name, &endpoint.address().to_string());
            assert_eq!(view["state"], "healthy", "{name}: {view}");
        }
    }
    let status = proxy.command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("none is ejected"), "{status}");
    // Once the others are well again, it is.
    set(false);
    eventually("it is over", || {
        ask(3);
        (!of_all("outlier_resumed").is_empty()).then_some(())
    });
    eventually("it is ejected", || {
        ask(3);
        proxy
            .events("endpoint_ejected")
            .iter()
            .any(is_of)
            .then_some(())
    });
    let told = ["outlier_suspended", "outlier_resumed"].map(|kind| of_all(kind).len());
    assert_eq!(told, [1, 1], "one event tells of all");
    assert_eq!(names.map(suspended), [0; 3]);
}
