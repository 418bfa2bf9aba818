//! What goes wrong on one route costs no other route a request: not its endpoints, not its clients,
//! and not its limits; at the same listener, and on the same worker.

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::h2::H2;
use crate::support::h2::client::request;
use crate::support::h2::frame::{Frame, code};
use crate::support::look::cause;

/// One worker, one listener: what is asked for under `/bad` and everything else.
fn config(bad: &str, route: &str, upstream: &str, good: &Endpoint) -> String {
    format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\n\
         [route.good]\nupstream = \"good\"\n\
         [route.bad]\npath = \"/bad\"\nupstream = \"bad\"\n{route}\n\
         [upstream.good]\nendpoints = [\"{}\"]\n\
         [upstream.bad]\nendpoints = [\"{bad}\"]\n{upstream}\n",
        good.address()
    )
}

const BAD: &str = "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n";

/// Every request of the other route succeeds, on connections of all ages.
fn others_are_served(proxy: &Evenkeel, kept: &mut Client) {
    for round in 0..25 {
        for response in [kept.get("/"), proxy.client().get("/")] {
            assert_eq!(response.status, 200, "round {round}: {response:?}");
        }
    }
    let refused = ["route=\"good\""];
    assert_eq!(proxy.metric("evenkeel_shed_total", &refused), 0);
    assert_eq!(proxy.metric("evenkeel_http_errors_total", &refused), 0);
}

fn in_flight(proxy: &Evenkeel, route: &str) -> u64 {
    let label = format!("route=\"{route}\"");
    proxy.metric("evenkeel_http_requests_in_flight", &[&label])
}

/// Whatever was under way has ended.
fn comes_to_rest(proxy: &Evenkeel) {
    for route in ["good", "bad"] {
        eventually("nothing is under way", || {
            (in_flight(proxy, route) == 0).then_some(())
        });
    }
    let families = ["evenkeel_upstream_in_flight", "evenkeel_queue_depth"];
    for family in families {
        eventually(family, || (proxy.metric(family, &[]) == 0).then_some(()));
    }
}

#[test]
fn an_exhausted_limit_of_a_route_is_its_own() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let address = bad.address().to_string();
    let with = |most: u32| config(&address, &format!("max_in_flight = {most}"), "", &good);
    let mut proxy = Evenkeel::start(&with(2));
    let mut kept = proxy.client();
    let mut held: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send(BAD);
    }
    bad.wait_for(2);
    let refused = || {
        let response = proxy.client().send(BAD).response();
        let after = response.head.value("retry-after").unwrap_or_default();
        assert!(["1", "2", "3"].contains(&after), "{response:?}");
        (response.status, cause(&response))
    };
    for _ in 0..8 {
        assert_eq!(refused(), (503, "concurrency_limit_reached".to_owned()));
    }
    others_are_served(&proxy, &mut kept);
    let labels = ["route=\"bad\"", "reason=\"concurrency\""];
    assert_eq!(proxy.metric("evenkeel_shed_total", &labels), 8);
    let status = proxy.admin_json("/v1/status");
    let routes = status["routes"].as_array().expect("routes");
    let shown = routes
        .iter()
        .find(|route| route["name"] == "bad")
        .expect("it");
    assert_eq!(
        (&shown["in_flight"], &shown["max_in_flight"]),
        (&2.into(), &2.into())
    );
    let limit = ["route=\"bad\""];
    eventually("it is told of", || {
        let events = proxy.admin_json("/v1/events")["events"].to_string();
        let is_told = events.contains("route_full") && events.contains("2 of 2 under way");
        is_told.then_some(())
    });
    assert_eq!(proxy.metric("evenkeel_route_max_in_flight", &limit), 2);
    let warnings = proxy.admin_json("/v1/status")["warnings"].to_string();
    assert!(warnings.contains("route bad of listener web"), "{warnings}");
    // A reload keeps the count, and may raise the limit.
    proxy.reload(&with(2));
    assert_eq!(proxy.client().send(BAD).response().status, 503);
    proxy.reload(&with(3));
    let mut third = proxy.client();
    third.send(BAD);
    bad.wait_for(3);
    assert_eq!(proxy.client().send(BAD).response().status, 503);
    bad.open();
    for client in held.iter_mut().chain([&mut third]) {
        assert_eq!(client.response().status, 200);
    }
    for _ in 0..8 {
        assert_eq!(proxy.client().send(BAD).response().status, 200);
    }
    others_are_served(&proxy, &mut kept);
    comes_to_rest(&proxy);
}

/// Nothing is written about it, and the endpoints of one route accept and say nothing.
#[test]
fn a_route_whose_endpoints_hang_leaves_places_at_the_listener_to_others() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let with_places = |config: String| config.replace("@web\"", "@web\"\nmax_connections = 40");
    let text = config(&bad.address().to_string(), "", "", &good);
    let proxy = Evenkeel::start(&with_places(text));
    let mut kept = proxy.client();
    others_are_served(&proxy, &mut kept);
    let mut held: Vec<Client> = (0..30).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send(BAD);
    }
    bad.wait_for(30);
    // Who is turned away leaves a place as well.
    let mut refused: Vec<Client> = Vec::new();
    for _ in 0..60 {
        let mut client = proxy.client();
        let response = client.send(BAD).response();
        assert_eq!(response.status, 503, "{response:?}");
        assert_eq!(cause(&response), "concurrency_limit_reached");
        assert_eq!(response.head.value("connection"), Some("close"));
        refused.push(client);
    }
    others_are_served(&proxy, &mut kept);
    let refused = ["reason=\"full\""];
    assert_eq!(
        proxy.metric("evenkeel_connections_refused_total", &refused),
        0
    );
    bad.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

/// The same with forty places, and HTTP/2 spoken as well.
fn with_places_and_h2(bad: &Gated, good: &Endpoint) -> String {
    let text = config(&bad.address().to_string(), "", "", good);
    text.replace(
        "@web\"",
        "@web\"\nmax_connections = 40\nprotocols = [\"h2c\", \"http/1.1\"]",
    )
}

/// A route that is well and has many requests on few connections: they take no places of others.
#[test]
fn many_requests_of_a_route_on_one_connection_have_one_place() {
    let (slow, good) = (Gated::answering("late"), Endpoint::echo());
    let proxy = Evenkeel::start(&with_places_and_h2(&slow, &good));
    let mut clients: Vec<_> = (0..2).map(|_| H2::connect(proxy.address("web"))).collect();
    let mut asked: Vec<(usize, u32)> = Vec::new();
    for _ in 0..60 {
        for (place, client) in clients.iter_mut().enumerate() {
            asked.push((place, client.ask("/bad")));
        }
    }
    slow.wait_for(120);
    others_are_served(&proxy, &mut proxy.client());
    slow.open();
    for (place, id) in asked {
        assert_eq!(clients[place].message(id).status, 200);
    }
    let labels = ["route=\"bad\""];
    assert_eq!(proxy.metric("evenkeel_shed_total", &labels), 0);
    comes_to_rest(&proxy);
}

/// The endpoints of one route hang, and each of its clients has a connection of HTTP/2.
#[test]
fn clients_of_http2_that_wait_for_a_route_leave_places_to_others() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let proxy = Evenkeel::start(&with_places_and_h2(&bad, &good));
    let web = proxy.address("web");
    let mut kept = proxy.client();
    others_are_served(&proxy, &mut kept);
    // Of both kinds; one of them has two requests, in one place.
    let mut held: Vec<_> = (0..20).map(|_| H2::connect(web)).collect();
    let mut asked: Vec<u32> = held.iter_mut().map(|client| client.ask("/bad")).collect();
    let mut of_http1: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut of_http1 {
        client.send(BAD);
    }
    bad.wait_for(30);
    let another = held[0].ask("/bad");
    bad.wait_for(31);
    // Who is turned away leaves a place as well.
    for _ in 0..60 {
        let mut client = H2::connect(web);
        let id = client.ask("/bad");
        let answer = client.message(id);
        assert_eq!(answer.status, 503, "{answer:?}");
        let why = answer.field("proxy-status").unwrap_or_default();
        assert!(why.contains("concurrency_limit_reached"), "{answer:?}");
        client.expect_goaway(code::NO_ERROR);
        assert!(client.is_closed());
    }
    // But not where others of its requests are under way.
    let mut busy = H2::connect(web);
    let open = busy.open(&request("POST", "/"), false);
    let refused = busy.ask("/bad");
    assert_eq!(busy.message(refused).status, 503);
    assert_eq!(busy.get("/").status, 200);
    busy.send(&Frame::data(open, "all", true));
    assert_eq!(busy.message(open).status, 200);
    others_are_served(&proxy, &mut kept);
    let refused = ["reason=\"full\""];
    assert_eq!(
        proxy.metric("evenkeel_connections_refused_total", &refused),
        0
    );
    bad.open();
    for (client, id) in held.iter_mut().zip(&mut asked) {
        assert_eq!(client.message(*id).status, 200);
    }
    assert_eq!(held[0].message(another).status, 200);
    for client in &mut of_http1 {
        assert_eq!(client.response().status, 200);
    }
    // All places have come back.
    for _ in 0..2 {
        for client in &mut held {
            assert_eq!(client.get("/bad").status, 200);
        }
    }
    comes_to_rest(&proxy);
}

/// The same at two listeners, of which one is small: places are counted at each.
#[test]
fn what_a_route_leaves_to_others_it_leaves_at_each_listener() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let text = config(&bad.address().to_string(), "", "", &good);
    let proxy = Evenkeel::start(&text.replace(
        "@web\"",
        "@web\"\nmax_connections = 40\n[listener.small]\nbind = \"@small\"\nmax_connections = 8",
    ));
    let listeners = [("web", 30), ("small", 6)];
    let mut held: Vec<Client> = Vec::new();
    for (name, places) in listeners {
        held.extend((0..places).map(|_| Client::connect(proxy.address(name))));
    }
    for client in &mut held {
        client.send(BAD);
    }
    bad.wait_for(36);
    for (name, _) in listeners {
        let response = Client::connect(proxy.address(name)).send(BAD).response();
        assert_eq!(cause(&response), "concurrency_limit_reached", "{name}");
        assert_eq!(Client::connect(proxy.address(name)).get("/").status, 200);
    }
    bad.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
    comes_to_rest(&proxy);
}

#[test]
fn a_route_that_is_alone_at_its_listener_may_have_all_of_its_places() {
    let slow = Gated::answering("late");
    let proxy = Evenkeel::start(&format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\nmax_connections = 40\n\
         [route.all]\nupstream = \"slow\"\n[upstream.slow]\nendpoints = [\"{}\"]\n",
        slow.address()
    ));
    let mut held: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send(BAD);
    }
    slow.wait_for(40);
    slow.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_limit_that_was_taken_out_and_is_put_back_counts_what_is_still_under_way() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let address = bad.address().to_string();
    // The other route has another listener, so that this one has no limit unless it is written.
    let with = |limit: &str| {
        let text = config(&address, limit, "", &good);
        let text = text.replace(
            "[route.good]",
            "[listener.other]\nbind = \"@other\"\n[route.good]\nlistener = \"other\"",
        );
        text.replace("[route.bad]", "[route.bad]\nlistener = \"web\"")
    };
    let mut proxy = Evenkeel::start(&with("max_in_flight = 2"));
    let mut held: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send(BAD);
    }
    bad.wait_for(2);
    proxy.reload(&with(""));
    proxy.reload(&with("max_in_flight = 2"));
    assert_eq!(proxy.client().send(BAD).response().status, 503);
    bad.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(proxy.client().send(BAD).response().status, 200);
}

#[test]
fn a_full_queue_of_a_routes_upstream_is_its_own() {
    let (bad, good) = (Gated::answering("late"), Endpoint::echo());
    let upstream = "max_in_flight = 1\nqueue = { size = 20, wait = \"60s\" }";
    let config = config(&bad.address().to_string(), "", upstream, &good);
    let proxy = Evenkeel::start(&config);
    let mut kept = proxy.client();
    let mut waiting: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send(BAD);
    }
    let depth = || proxy.metric("evenkeel_queue_depth", &["upstream=\"bad\""]);
    let labels = ["route=\"bad\"", "reason=\"queue_full\""];
    let refused = || proxy.metric("evenkeel_shed_total", &labels);
    eventually("it is full", || {
        ((depth(), refused()) == (20, 19)).then_some(())
    });
    others_are_served(&proxy, &mut kept);
    bad.open();
    let ended = waiting.iter_mut().map(|client| client.response().status);
    assert_eq!(ended.filter(|status| *status == 200).count(), 21);
    comes_to_rest(&proxy);
}

#[test]
fn a_failing_upstream_fails_its_own_route() {
    let good = Endpoint::echo();
    let silent = Endpoint::stalls_after("");
    let kinds = [
        Endpoint::refuses(),
        Endpoint::resets_after(""),
        Endpoint::never_reads(),
        silent,
    ];
    for bad in kinds {
        let config = config(&bad.address().to_string(), "", "", &good);
        let proxy = Evenkeel::start(&config);
        let mut kept = proxy.client();
        let mut asking: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
        for client in &mut asking {
            client.send(BAD);
        }
        others_are_served(&proxy, &mut kept);
        for client in asking {
            client.abort();
        }
        comes_to_rest(&proxy);
    }
}

#[test]
fn slow_clients_of_a_route_hold_up_their_own() {
    // More than the kernel takes between two sockets: 4 MiB to send, and what the reader lets in.
    let body = "x".repeat(24 << 20);
    let length = body.len();
    let bad = Endpoint::answers(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let good = Endpoint::echo();
    let config = config(&bad.address().to_string(), "max_in_flight = 30", "", &good);
    let proxy = Evenkeel::start(&config);
    let mut kept = proxy.client();
    // Some send half of what they announce, some read nothing of what they get.
    let mut slow: Vec<Client> = (0..30).map(|_| proxy.client()).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        if number % 2 == 0 {
            client.send("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nhalf");
        } else {
            client.send(BAD);
        }
    }
    let refuses = || {
        let head = proxy.client().send(BAD).head().ok()?;
        (head.status().ok() == Some(503)).then_some(())
    };
    eventually("they have all that there is", refuses);
    others_are_served(&proxy, &mut kept);
    for client in slow {
        client.abort();
    }
    comes_to_rest(&proxy);
    assert_eq!(proxy.client().send(BAD).response().status, 200);
}

#[test]
fn the_limit_of_a_route_holds_over_listeners_and_workers_and_for_tunnels() {
    let endpoint = Endpoint::upgrades_to("echo");
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\n[listener.other]\nbind = \"@other\"\n\
         [route.all]\nupstream = \"app\"\nmax_in_flight = 2\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let listeners = ["web", "other"].map(|name| proxy.address(name));
    let mut tunnels = listeners.map(Client::connect);
    for tunnel in &mut tunnels {
        tunnel.send(upgrade);
        let head = tunnel.head().expect("the tunnel begins");
        assert_eq!(head.status().ok(), Some(101), "{head:?}");
    }
    for address in listeners.into_iter().cycle().take(8) {
        let response = Client::connect(address).send(upgrade).response();
        assert_eq!(cause(&response), "concurrency_limit_reached");
    }
    let [first, second] = tunnels;
    first.abort();
    eventually("there is room again", || {
        let mut client = proxy.client();
        let head = client.send(upgrade).head().ok()?;
        (head.status().ok() == Some(101)).then_some(())
    });
    second.abort();
}
