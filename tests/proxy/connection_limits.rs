//! `max_connections_per_endpoint` over several workers: only connections in use count against those
//! who need one, wherever the idle ones rest.

use std::sync::Arc;
use std::thread;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::look::cause;

/// Two workers in front of one endpoint, by HTTP (`web`) and by TCP (`raw`).
fn config(endpoint: &Endpoint, upstream: &str) -> String {
    format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [listener.raw]\nbind = \"@raw\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n{upstream}\n",
        endpoint.address()
    )
}

fn limited(endpoint: &Endpoint, limit: u32) -> Evenkeel {
    let limit = format!("max_connections_per_endpoint = {limit}\nqueue.size = 0");
    Evenkeel::start(&config(endpoint, &limit))
}

/// An endpoint that answers, or becomes a tunnel if it is asked to.
fn answers_or_upgrades() -> Endpoint {
    Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.head.value("upgrade").is_some() {
                peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                     Upgrade: echo\r\n\r\n",
                );
                return peer.send_all_back();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// One request, as soon as the tunnel of the round before has ended at both sides.
fn answered(proxy: &Evenkeel) {
    eventually("the place is free again", || {
        (proxy.client().get("/").status == 200).then_some(())
    });
}

#[test]
fn nobody_is_refused_while_fewer_ask_than_may() {
    // Every request comes to any of the workers, and is of a kind that reuses or does not.
    let endpoint = Endpoint::echo();
    let proxy = Arc::new(limited(&endpoint, 2));
    let clients: Vec<_> = (0..2)
        .map(|number| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let mut kept = proxy.client();
                for round in 0..200 {
                    let response = match (round + number) % 3 {
                        0 => kept.get("/"),
                        1 => proxy.client().get("/"),
                        _ => proxy
                            .client()
                            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                            .response(),
                    };
                    assert_eq!(response.status, 200, "round {round}: {response:?}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no request failed");
    }
    // Nor was any sent twice, or elsewhere.
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
    assert_eq!(endpoint.requests().len(), 400);
}

#[test]
fn what_is_in_use_is_not_waited_for() {
    let gated = Gated::answering("held");
    // Nobody here would live to see the end of a wait.
    let limits = "max_connections_per_endpoint = 2\nqueue.size = 0\ntimeouts.connect = \"1h\"";
    let proxy = Evenkeel::start(&config(gated.endpoint(), limits));
    let mut held = [proxy.client(), proxy.client()];
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    gated.wait_for(2);
    for _ in 0..8 {
        let refused = proxy.client().get("/");
        assert_eq!(refused.status, 503);
        assert_eq!(cause(&refused), "overload");
        assert!(refused.head.value("retry-after").is_some(), "{refused:?}");
    }
    gated.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn sessions_and_requests_make_room_for_each_other() {
    let endpoint = Endpoint::echo();
    let proxy = limited(&endpoint, 1);
    for round in 0..20 {
        answered(&proxy);
        let mut session = Client::connect(proxy.address("raw"));
        assert_eq!(session.get("/").status, 200, "round {round}");
        // One that is open is in use, whatever it does.
        let refused = proxy.client().get("/");
        assert_eq!(refused.status, 503, "round {round}");
        session.finish();
        assert!(session.is_closed());
    }
}

#[test]
fn a_tunnel_keeps_its_place_until_it_ends() {
    let endpoint = answers_or_upgrades();
    let proxy = limited(&endpoint, 1);
    for round in 0..20 {
        answered(&proxy);
        let mut tunnel = proxy.client();
        tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let head = tunnel.head().expect("the tunnel begins");
        assert_eq!(head.status().ok(), Some(101), "{head:?}");
        assert_eq!(proxy.client().get("/").status, 503, "round {round}");
        tunnel.send("hi");
        assert_eq!(tunnel.bytes(2), b"hi");
        tunnel.finish();
        assert!(tunnel.is_closed());
    }
}

#[test]
fn a_limit_that_a_reload_brings_closes_what_rests() {
    let gated = Gated::answering("held");
    let mut proxy = Evenkeel::start(&config(gated.endpoint(), ""));
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    gated.wait_for(12);
    gated.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    // Twelve rest, with both workers. A session, which can use none of them, has one to itself.
    let config = config(gated.endpoint(), "max_connections_per_endpoint = 1");
    proxy.reload(&config);
    let mut session = Client::connect(proxy.address("raw"));
    assert_eq!(session.get("/").status, 200);
    assert_eq!(proxy.metric("evenkeel_endpoint_connections", &[]), 1);
    drop(session);
    for client in &mut clients {
        answered(&proxy);
        let response = client.get("/");
        assert_eq!(response.status, 200, "{response:?}");
    }
}
