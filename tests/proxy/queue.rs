//! Requests that find every endpoint at its limits: they wait for a moment, clients take turns, and
//! who cannot be served is told so at once.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Client, Response};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::look::cause;

/// Two workers; clients are who the proxy in front says.
fn config(endpoints: &[&Endpoint], upstream: &str) -> String {
    let quoted = endpoints.iter().map(|one| format!("\"{}\"", one.address()));
    let quoted: Vec<String> = quoted.collect();
    format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [{}]\n{upstream}\n",
        quoted.join(", ")
    )
}

/// Room for one request, and so many may wait for so long.
fn one_at_once(size: u32, wait: &str) -> String {
    format!("max_in_flight_per_endpoint = 1\nqueue = {{ size = {size}, wait = \"{wait}\" }}")
}

/// A request that does not wait for its answer.
fn ask(proxy: &Evenkeel, client: u8, path: &str) -> Client {
    let mut asks = proxy.client();
    asks.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n"
    ));
    asks
}

fn depth(proxy: &Evenkeel) -> u64 {
    proxy.metric("evenkeel_queue_depth", &["upstream=\"app\""])
}

fn wait_for_depth(proxy: &Evenkeel, expected: u64) {
    eventually("as many wait", || (depth(proxy) == expected).then_some(()));
}

/// One that is held at an endpoint.
fn hold(proxy: &Evenkeel, endpoint: &Gated) -> Client {
    let held = ask(proxy, 1, "/held");
    endpoint.wait_for(1);
    held
}

/// Nothing is left of what was in flight and of what waited.
fn comes_to_rest(proxy: &Evenkeel) {
    let counts = [
        ("evenkeel_upstream_in_flight", "upstream=\"app\""),
        ("evenkeel_queue_depth", "upstream=\"app\""),
        ("evenkeel_http_requests_in_flight", "route=\"all\""),
    ];
    for (family, label) in counts {
        eventually(family, || {
            (proxy.metric(family, &[label]) == 0).then_some(())
        });
    }
}

fn shed(proxy: &Evenkeel, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric("evenkeel_shed_total", &["route=\"all\"", &reason])
}

fn is_refused(response: &Response, word: &str) {
    assert_eq!((response.status, cause(response).as_str()), (503, word));
    let after = response
        .head
        .value("retry-after")
        .expect("when to come again");
    assert!(["1", "2", "3"].contains(&after), "{after}");
}

/// The line of a request in the access log.
fn line(proxy: &Evenkeel, count: usize, path: &str) -> Value {
    let lines = proxy.access_lines(count);
    let found = lines.into_iter().find(|line| line["url.path"] == path);
    found.unwrap_or_else(|| panic!("no line of {path}"))
}

/// What came to an endpoint, in order.
fn order(endpoint: &Endpoint) -> Vec<String> {
    let requests = endpoint.requests();
    requests
        .iter()
        .map(|request| request.target().to_owned())
        .collect()
}

#[test]
fn a_request_waits_for_room_and_is_answered() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(9, "60s")));
    let mut held = hold(&proxy, &endpoint);
    let mut waits = ask(&proxy, 2, "/waits");
    wait_for_depth(&proxy, 1);
    let status = proxy.admin_json("/v1/status");
    let upstream = &status["upstreams"][0];
    assert_eq!(
        (&upstream["waiting"], &upstream["in_flight"]),
        (&1.into(), &1.into())
    );
    endpoint.open();
    assert_eq!(held.response().status, 200);
    assert_eq!(waits.response().body.text(), "late");
    let line = line(&proxy, 2, "/waits");
    assert!(
        line["queue_s"].as_f64().is_some_and(|time| time > 0.0),
        "{line}"
    );
    // It is not our time, nor the endpoint's.
    let [queued, overhead] = ["queue_s", "overhead_s"].map(|key| line[key].as_f64());
    assert!(overhead < queued, "{line}");
    comes_to_rest(&proxy);
}

#[test]
fn who_finds_the_queue_full_is_told_at_once() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(1, "60s")));
    let mut held = hold(&proxy, &endpoint);
    let mut waits = ask(&proxy, 2, "/waits");
    wait_for_depth(&proxy, 1);
    for client in 3..6 {
        is_refused(&ask(&proxy, client, "/refused").response(), "queue_full");
    }
    assert_eq!(shed(&proxy, "queue_full"), 3);
    let refused = ["upstream=\"app\"", "reason=\"full\""];
    assert_eq!(proxy.metric("evenkeel_queue_refused_total", &refused), 3);
    let line = line(&proxy, 3, "/refused");
    assert_eq!(
        (&line["end"], &line["error.type"]),
        (&"shed".into(), &"queue_full".into())
    );
    endpoint.open();
    for client in [&mut held, &mut waits] {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

#[test]
fn patience_ends() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(9, "200ms")));
    let mut held = hold(&proxy, &endpoint);
    is_refused(&ask(&proxy, 2, "/refused").response(), "queue_timeout");
    assert_eq!(shed(&proxy, "queue_timeout"), 1);
    let line = line(&proxy, 1, "/refused");
    assert_eq!(line["error.type"], "queue_timeout");
    assert!(
        line["queue_s"].as_f64().is_some_and(|time| time >= 0.2),
        "{line}"
    );
    endpoint.open();
    assert_eq!(held.response().status, 200);
    comes_to_rest(&proxy);
}

#[test]
fn without_a_queue_nobody_waits() {
    for queue in ["queue.size = 0", "queue.wait = \"0s\""] {
        let endpoint = Gated::answering("late");
        let upstream = format!("max_in_flight = 1\n{queue}");
        let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &upstream));
        let _held = hold(&proxy, &endpoint);
        is_refused(&ask(&proxy, 2, "/refused").response(), "overload");
        // It is counted once it has been answered.
        eventually("it is counted", || {
            (shed(&proxy, "overload") == 1).then_some(())
        });
    }
}

#[test]
fn clients_take_turns_and_who_asks_most_makes_room() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(5, "60s")));
    let mut clients = vec![hold(&proxy, &endpoint)];
    for number in 1..=5 {
        clients.push(ask(&proxy, 1, &format!("/greedy/{number}")));
        wait_for_depth(&proxy, number);
    }
    is_refused(&ask(&proxy, 1, "/greedy/6").response(), "queue_full");
    clients.push(ask(&proxy, 2, "/other"));
    // The last of those that are too many goes.
    is_refused(&clients.remove(5).response(), "queue_full");
    assert_eq!(depth(&proxy), 5);
    endpoint.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let expected = [
        "/held",
        "/greedy/1",
        "/other",
        "/greedy/2",
        "/greedy/3",
        "/greedy/4",
    ];
    assert_eq!(order(endpoint.endpoint()), expected);
    comes_to_rest(&proxy);
}

#[test]
fn once_somebody_has_waited_in_vain_the_newest_is_first() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(9, "4s")));
    let mut clients = vec![hold(&proxy, &endpoint)];
    let mut in_vain = ask(&proxy, 2, "/in-vain");
    wait_for_depth(&proxy, 1);
    pause(Duration::from_millis(1_500));
    clients.push(ask(&proxy, 3, "/old"));
    wait_for_depth(&proxy, 2);
    is_refused(&in_vain.response(), "queue_timeout");
    clients.push(ask(&proxy, 4, "/new"));
    wait_for_depth(&proxy, 2);
    endpoint.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(order(endpoint.endpoint()), ["/held", "/new", "/old"]);
}

/// One host has a whole /64, and is one client with all of it.
#[test]
fn a_network_of_ipv6_cannot_fill_the_queue_for_others() {
    let endpoint = Gated::answering("late");
    let proxy = Evenkeel::start(&config(&[endpoint.endpoint()], &one_at_once(3, "60s")));
    let mut clients = vec![hold(&proxy, &endpoint)];
    let ask = |address: &str| {
        let mut asks = proxy.client();
        asks.send(format!(
            "GET /{address} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"
        ));
        asks
    };
    for number in 1..=3 {
        clients.push(ask(&format!("2001:db8:0:1::{number}")));
        wait_for_depth(&proxy, number);
    }
    is_refused(&ask("2001:db8:0:1::4").response(), "queue_full");
    let mut other = ask("2001:db8:0:2::1");
    is_refused(&clients.remove(3).response(), "queue_full");
    endpoint.open();
    for client in clients.iter_mut().chain([&mut other]) {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

#[test]
fn who_waits_for_an_upstream_that_a_reload_takes_out_is_answered() {
    let endpoint = Gated::answering("late");
    let text = config(&[endpoint.endpoint()], &one_at_once(9, "60s"));
    let mut proxy = Evenkeel::start(&text);
    let mut held = hold(&proxy, &endpoint);
    let mut waits = ask(&proxy, 2, "/waits");
    wait_for_depth(&proxy, 1);
    let other = Endpoint::says("other");
    proxy.reload(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n",
        other.address()
    ));
    // What it waits for is there as long as somebody holds it.
    endpoint.open();
    assert_eq!(held.response().status, 200);
    assert_eq!(waits.response().status, 200);
}

#[test]
fn a_reload_that_makes_room_lets_in_who_waits() {
    let (one, other) = (Gated::answering("one"), Gated::answering("other"));
    let of_all = |most: u32| format!("max_in_flight = {most}\nqueue.wait = \"60s\"");
    let with = |endpoints: &[&Endpoint], most: u32| config(endpoints, &of_all(most));
    let mut proxy = Evenkeel::start(&with(&[one.endpoint()], 1));
    let mut clients = vec![hold(&proxy, &one)];
    for client in 2..5 {
        clients.push(ask(&proxy, client, "/waits"));
        wait_for_depth(&proxy, u64::from(client) - 1);
    }
    proxy.reload(&with(&[one.endpoint()], 2));
    one.wait_for(2);
    wait_for_depth(&proxy, 2);
    // Another limit, and another endpoint.
    let each = "max_in_flight_per_endpoint = 2\nqueue.wait = \"60s\"";
    proxy.reload(&config(&[one.endpoint(), other.endpoint()], each));
    other.wait_for(2);
    one.open();
    other.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

#[test]
fn the_limit_of_an_upstream_holds_over_endpoints_and_workers() {
    let endpoints = [Gated::answering("a"), Gated::answering("b")];
    let all = [endpoints[0].endpoint(), endpoints[1].endpoint()];
    let proxy = Evenkeel::start(&config(&all, "max_in_flight = 3\nqueue.wait = \"60s\""));
    let mut clients: Vec<Client> = (1..=8).map(|client| ask(&proxy, client, "/")).collect();
    wait_for_depth(&proxy, 5);
    let in_flight = || endpoints.iter().map(Gated::count).sum::<usize>();
    eventually("three are there", || (in_flight() == 3).then_some(()));
    let label = ["upstream=\"app\""];
    assert_eq!(proxy.metric("evenkeel_upstream_in_flight", &label), 3);
    endpoints.iter().for_each(Gated::open);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

#[test]
fn who_leaves_leaves_the_queue_and_so_does_who_is_out_of_time() {
    let endpoint = Gated::answering("late");
    let upstream = one_at_once(9, "60s");
    let limited = "[route.hurried]\npath = \"/hurried\"\nupstream = \"app\"\n\
                   timeouts.request = \"200ms\"\n";
    let config = limited.to_owned() + &config(&[endpoint.endpoint()], &upstream);
    let config = config.replace("workers = 2\n", "");
    let proxy = Evenkeel::start(&config);
    let mut held = hold(&proxy, &endpoint);
    let leaves = ask(&proxy, 2, "/leaves");
    wait_for_depth(&proxy, 1);
    leaves.abort();
    wait_for_depth(&proxy, 0);
    // So does one who leaves in the middle of his body.
    let mut leaves = proxy.client();
    leaves.send("POST /leaves HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    wait_for_depth(&proxy, 1);
    leaves.abort();
    wait_for_depth(&proxy, 0);
    // Its own time, and not that of the queue.
    assert_eq!(ask(&proxy, 3, "/hurried").response().status, 504);
    assert_eq!(depth(&proxy), 0);
    let mut last = ask(&proxy, 4, "/last");
    wait_for_depth(&proxy, 1);
    endpoint.open();
    for client in [&mut held, &mut last] {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(order(endpoint.endpoint()), ["/held", "/last"]);
    comes_to_rest(&proxy);
}

#[test]
fn one_client_that_floods_keeps_nobody_else_out() {
    let endpoint = Endpoint::answers_slowly(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Duration::from_millis(1),
    );
    let upstream = "max_in_flight = 2\nqueue = { size = 16, wait = \"60s\" }";
    let proxy = Evenkeel::start(&config(&[&endpoint], upstream));
    let mut flood: Vec<Client> = (0..64).map(|_| ask(&proxy, 1, "/flood")).collect();
    for round in 0..10 {
        let response = ask(&proxy, 2, "/other").response();
        assert_eq!(response.status, 200, "round {round}: {response:?}");
        flood.push(ask(&proxy, 1, "/flood"));
    }
    let ended = flood.iter_mut().map(|client| client.response().status);
    let served = ended.filter(|status| *status == 200).count();
    assert!(served >= 16, "{served} of its own are served as well");
    comes_to_rest(&proxy);
}
