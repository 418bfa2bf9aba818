//! Endpoints whose packets are dropped: nothing says that they are gone, and connections to them
//! stand for a quarter of an hour. In namespaces.

use crate::support::clock::eventually;
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::look::cause;
use crate::support::namespace::Namespace;

/// The proxy's network, and one with two endpoints, each at an address of its own.
struct Scene {
    near: Namespace,
    far: Namespace,
    endpoints: [Endpoint; 2],
}

const ADDRESSES: [&str; 2] = ["10.9.3.2:8080", "10.9.3.3:8080"];

impl Scene {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        let (near, far) = (Namespace::create()?, Namespace::create()?);
        near.join(&far, "near0", "far0");
        near.run("ip addr add 10.9.3.1/24 dev near0");
        far.run("ip addr add 10.9.3.2/24 dev far0 && ip addr add 10.9.3.3/24 dev far0");
        let endpoints = ADDRESSES.map(|address| {
            let address = address.parse().expect("an address");
            far.within(|| Endpoint::start_at(address, answers))
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
fn warm(proxy: &Evenkeel, scene: &Scene) {
    let mut client = proxy.client();
    eventually("there are connections to both", || {
        assert_eq!(client.get("/").status, 200);
        let are_known = |one: &Endpoint| one.connections() > 0;
        scene.endpoints.iter().all(are_known).then_some(())
    });
}

/// With the defaults: the time for a connection is three seconds, that for a response thirty, which
/// is more than these clients wait.
#[test]
fn requests_on_kept_connections_go_elsewhere_within_the_time_for_a_connection() {
    let Some(scene) = Scene::new() else { return };
    let proxy = scene.proxy(&ADDRESSES, "");
    scene.near.within(|| {
        warm(&proxy, &scene);
        scene.drop_the_second();
        let mut client = proxy.client();
        for number in 0..20 {
            let response = client.get("/");
            assert_eq!(response.status, 200, "request {number}: {response:?}");
        }
        let labels = ["reason=\"connection_timeout\""];
        let noticed = proxy.metric("evenkeel_endpoint_connect_errors_total", &labels);
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
