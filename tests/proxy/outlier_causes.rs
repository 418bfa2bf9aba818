//! Outlier detection by shares of failures, by rates and by times, each where nothing else tells;
//! and where several upstreams fail together. `outlier.rs` asks what rows of failures do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::client::Client;
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

/// Says that it is over, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn ask_until_over(proxy: &Evenkeel, is_over: &AtomicBool) {
    let mut client = proxy.client();
    while !is_over.load(Ordering::Acquire) {
        assert_eq!(client.get("/").status, 200);
    }
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
        let _ends = Ends(&is_over);
        for proxy in [&proxy, &blind].repeat(8) {
            scope.spawn(|| ask_until_over(proxy, &is_over));
        }
        eventually("it is ejected", || {
            (!proxy.events("endpoint_ejected").is_empty()).then_some(())
        });
        // Nor is it by the other one, a few looks later.
        pause(3 * LOOK);
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

/// The events of this kind that are about all upstreams: of a single one they name that.
fn of_all(proxy: &Evenkeel, kind: &str) -> Vec<Value> {
    let events = proxy.events(kind).into_iter();
    events.filter(|it| it["upstreams"].is_string()).collect()
}

/// Whether nothing is ejected in an upstream, as the metric has it.
fn suspended(proxy: &Evenkeel, name: &str) -> u64 {
    let label = format!("upstream=\"{name}\"");
    proxy.metric_now("evenkeel_upstream_ejections_suspended", &[&label])
}

/// Whether this one has been ejected.
fn is_ejected(proxy: &Evenkeel, endpoint: &Endpoint) -> bool {
    let address = endpoint.address().to_string();
    let events = proxy.events("endpoint_ejected");
    events.iter().any(|event| event["endpoint"] == *address)
}

type Told = (Endpoint, Arc<AtomicBool>);

#[test]
fn where_several_upstreams_fail_nothing_is_ejected_in_any() {
    const NAMES: [&str; 3] = ["one", "other", "third"];
    let three = || [(); 3].map(|()| told());
    let (one, other, third) = (three(), three(), [(); 4].map(|()| told()));
    let all: [&[Told]; 3] = [&one, &other, &third];
    let parts = NAMES.iter().zip(all).map(|(name, all)| {
        let endpoints = all.iter().map(|(endpoint, _)| endpoint);
        part(name, endpoints, "interval = \"200ms\"")
    });
    let proxy = Evenkeel::start(&parts.collect::<String>());
    let mut clients = NAMES.map(|name| Client::connect(proxy.address(name)));
    let mut ask = |times: usize| {
        for client in &mut clients {
            (0..times).for_each(|_| drop(client.get("/")));
        }
    };
    let set = |fails: bool| {
        let both = one.iter().chain(&other);
        both.for_each(|(_, told)| told.store(fails, Ordering::Release));
    };
    ask(30);
    set(true);
    let event = eventually("it is everywhere", || {
        ask(3);
        of_all(&proxy, "outlier_suspended").pop()
    });
    assert_eq!(event["failing"], "2");
    let why = event["why"].as_str().expect("words");
    // It may not have been looked yet whether the third one has requests.
    let fail = "upstreams most endpoints fail (one, other)";
    let extents = [2, 3].map(|all| format!("in 2 of {all} {fail}"));
    assert!(extents.iter().any(|it| why.starts_with(it)), "{why}");

    // One of the third does as well, which would cost it its place at any other time.
    let (bad, fails) = &third[0];
    fails.store(true, Ordering::Release);
    let before = bad.requests().len();
    eventually("it has failed often", || {
        ask(4);
        (bad.requests().len() >= before + 40).then_some(())
    });
    assert_eq!(NAMES.map(|name| suspended(&proxy, name)), [1; 3]);
    assert!(!is_ejected(&proxy, bad));
    for (name, all) in NAMES.iter().zip(all) {
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
    eventually("it is over, and it is ejected", || {
        ask(3);
        let is_over = !of_all(&proxy, "outlier_resumed").is_empty();
        (is_over && is_ejected(&proxy, bad)).then_some(())
    });
    let told = ["outlier_suspended", "outlier_resumed"].map(|kind| of_all(&proxy, kind).len());
    assert_eq!(told, [1, 1], "one event tells of all");
    // One of the two may take a moment longer by itself.
    eventually("nothing is kept from ejections", || {
        ask(3);
        (NAMES.map(|name| suspended(&proxy, name)) == [0; 3]).then_some(())
    });
}
