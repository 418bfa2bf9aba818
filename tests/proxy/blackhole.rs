//! Endpoints whose packets are dropped: nothing says that they are gone, and connections to them
//! stand for a quarter of an hour. In namespaces.

use std::net::SocketAddr;

use crate::support::clock::eventually;
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::look::cause;
use crate::support::namespace::Namespace;

/// The proxy's network, and one with two endpoints, each at an address of its own.
struct Scene<E = Endpoint> {
    near: Namespace,
    far: Namespace,
    endpoints: [E; 2],
}

const ADDRESSES: [&str; 2] = ["10.9.3.2:8080", "10.9.3.3:8080"];

impl Scene {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        Self::of(|address| Endpoint::start_at(address, answers))
    }
}

impl Scene<H2Endpoint> {
    /// The same with endpoints that speak HTTP/2.
    fn of_http2() -> Option<Self> {
        Self::of(|address| H2Endpoint::says_at(address, "ok"))
    }
}

impl<E: Send> Scene<E> {
    fn of(start: impl Fn(SocketAddr) -> E + Sync) -> Option<Self> {
        let (near, far) = (Namespace::create()?, Namespace::create()?);
        near.join(&far, "near0", "far0");
        near.run("ip addr add 10.9.3.1/24 dev near0");
        far.run("ip addr add 10.9.3.2/24 dev far0 && ip addr add 10.9.3.3/24 dev far0");
        let endpoints = ADDRESSES.map(|address| {
            let address = address.parse().expect("an address");
            far.within(|| start(address))
        });
        Some(Self {
            near,
            far,
            endpoints,
        })
    }

    /// From now on nothing reaches the second one.
    fn drop_the_second(&self) {
        self.far.run(
            "nft add table ip hole && \
             nft add chain ip hole in '{ type filter hook input priority 0; }' && \
             nft add rule ip hole in ip daddr 10.9.3.3 drop",
        );
    }

    fn proxy(&self, endpoints: &[&str], lines: &str) -> Evenkeel {
        let config = format!(
            "workers = 1\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [upstream.app]\nbalance = \"round_robin\"\nendpoints = {endpoints:?}\n{lines}\n"
        );
        self.near.within(|| Evenkeel::start(&config))
    }
}

fn answers(peer: &mut Peer) {
    while peer.request().is_some() {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

/// Both are asked, each on a connection that is kept.
fn warm(proxy: &Evenkeel, connections: impl Fn() -> [usize; 2]) {
    let mut client = proxy.client();
    eventually("there are connections to both", || {
        assert_eq!(client.get("/").status, 200);
        connections().iter().all(|count| *count > 0).then_some(())
    });
}

/// How often it was noticed that the second one is gone.
fn noticed(proxy: &Evenkeel) -> u64 {
    let labels = ["reason=\"connection_timeout\""];
    proxy.metric("evenkeel_endpoint_connect_errors_total", &labels)
}

/// With the defaults: the time for a connection is three seconds, that for a response thirty, which
/// is more than these clients wait.
#[test]
fn requests_on_kept_connections_go_elsewhere_within_the_time_for_a_connection() {
    let Some(scene) = Scene::new() else { return };
    let proxy = scene.proxy(&ADDRESSES, "");
    scene.near.within(|| {
        warm(&proxy, || {
            scene.endpoints.each_ref().map(Endpoint::connections)
        });
        scene.drop_the_second();
        let mut client = proxy.client();
        for number in 0..20 {
            let response = client.get("/");
            assert_eq!(response.status, 200, "request {number}: {response:?}");
        }
        let noticed = noticed(&proxy);
        // More than once if this took so long that it was tried whether it is back.
        assert!((1..=3).contains(&noticed), "noticed {noticed} times");
    });
}

/// What may have been acted on is not sent again: its client hears of it as soon.
#[test]
fn what_may_have_been_acted_on_is_told_as_soon() {
    let Some(scene) = Scene::new() else { return };
    let proxy = scene.proxy(&ADDRESSES[1..], "");
    scene.near.within(|| {
        let mut client = proxy.client();
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(client.send(post).response().status, 200);
        scene.drop_the_second();
        let response = client.send(post).response();
        assert_eq!(response.status, 504, "{response:?}");
        assert_eq!(cause(&response), "connection_timeout");
    });
}

#[test]
fn requests_on_a_shared_connection_go_elsewhere_as_soon() {
    let Some(scene) = Scene::of_http2() else {
        return;
    };
    // No sign of life is waited for until then.
    let lines = "protocol = \"h2c\"\nhttp2 = { keepalive_timeout = \"60s\" }";
    let proxy = scene.proxy(&ADDRESSES, lines);
    scene.near.within(|| {
        warm(&proxy, || {
            scene.endpoints.each_ref().map(H2Endpoint::connections)
        });
        scene.drop_the_second();
        let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
        for _ in 0..20 {
            assert_eq!(clients[0].get("/").status, 200);
        }
        let noticed = noticed(&proxy);
        assert!((1..=3).contains(&noticed), "noticed {noticed} times");
    });
}

/// All that are on the connection hear of it when the first does, and the endpoint once.
#[test]
fn what_may_have_been_acted_on_over_a_shared_connection_is_told_as_soon() {
    let Some(scene) = Scene::of_http2() else {
        return;
    };
    let proxy = scene.proxy(&ADDRESSES[1..], "protocol = \"h2c\"");
    scene.near.within(|| {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
        assert_eq!(clients[0].send(post).response().status, 200);
        scene.drop_the_second();
        for client in &mut clients {
            client.send(post);
        }
        for client in &mut clients {
            let response = client.response();
            assert_eq!(response.status, 504, "{response:?}");
            assert_eq!(cause(&response), "connection_timeout");
        }
        assert_eq!(noticed(&proxy), 1);
    });
}
