//! Connections that a firewall brings: taken where they were going, within bounds, and never in
//! circles. With the rules of `deploy/intercept/`, in network namespaces of the test's own.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::namespace::Namespace;
use crate::support::proxy_header::{Said, take};

/// A service and Evenkeel beside it, and a neighbour.
struct Scene {
    pod: Namespace,
    neighbour: Namespace,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Redirect,
    Tproxy,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Tproxy => "tproxy",
        }
    }

    fn rules(self) -> String {
        let word = self.word();
        format!("{}/deploy/intercept/{word}.nft", env!("CARGO_MANIFEST_DIR"))
    }
}

impl Scene {
    /// `None` where there are no namespaces.
    fn new() -> Option<Self> {
        let (pod, neighbour) = (Namespace::create()?, Namespace::create()?);
        pod.join(&neighbour, "eth0", "eth0");
        pod.run("ip addr add 10.8.0.2/24 dev eth0 && ip addr add fd08::2/64 dev eth0 nodad");
        neighbour.run("ip addr add 10.8.0.1/24 dev eth0 && ip addr add fd08::1/64 dev eth0 nodad");
        // A destination that is not to be reached.
        neighbour.run("ip addr add 10.9.0.1/32 dev lo");
        pod.run("ip route add 10.9.0.1 via 10.8.0.1");
        Some(Self { pod, neighbour })
    }

    /// Puts the rules in force.
    fn intercept(&self, how: How) {
        if let How::Tproxy = how {
            for family in ["-4", "-6"] {
                self.pod.run(&format!(
                    "ip {family} rule add fwmark 0x46 lookup 146 && \
                     ip {family} route add local default dev lo table 146"
                ));
            }
        }
        self.pod.run(&format!("nft -f {}", how.rules()));
    }

    /// An endpoint of the neighbour.
    fn outside(&self, address: &str) -> Endpoint {
        let address = address.parse().expect("an address");
        self.neighbour.within(|| greeting(address))
    }
}

/// An endpoint that says where it was reached, and then sends all back.
fn greeting(address: SocketAddr) -> Endpoint {
    Endpoint::start_at(address, move |peer| {
        peer.send(format!("{address}\n"));
        peer.send_all_back();
    })
}

fn config(how: How, mark: &str) -> String {
    let how = how.word();
    format!(
        "[defaults]\n{mark}\n\
         [listener.outbound]\nbind = \":15001\"\nprotocols = [\"tcp\"]\nintercept = \"{how}\"\n\
         upstream = \"there\"\n\
         [listener.inbound]\nbind = \":15006\"\nprotocols = [\"tcp\"]\nintercept = \"{how}\"\n\
         upstream = \"there\"\n\
         [upstream.there]\nendpoints = \"original_dst\"\nallowed = [\"10.8.0.0/24\", \"fd08::/64\"]\n"
    )
}

const MARK: &str = "mark = 0x45";

/// Connects, and returns the first line that the other end says.
fn ask(address: &str) -> (Client, String) {
    let mut client = Client::connect(address.parse().expect("an address"));
    let said = client.bytes(address.len() + 1);
    let said = String::from_utf8(said).expect("an address");
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    (client, said.trim().to_owned())
}

/// Who is refused is reset, at once or once he has said something.
fn is_refused(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else {
        return true;
    };
    Client::over(stream).is_reset()
}

fn refused(proxy: &Evenkeel, listener: &str, reason: &str) -> u64 {
    let labels = [
        &*format!("listener=\"{listener}\""),
        &format!("reason=\"{reason}\""),
    ];
    proxy.metric("evenkeel_destinations_refused_total", &labels)
}

/// Waits until a listener has had as many sessions: one that ends at this moment is neither open
/// nor ended for a while.
#[track_caller]
fn assert_sessions(proxy: &Evenkeel, listener: &str, number: u64) {
    eventually(&format!("{number} sessions at {listener}"), || {
        (sessions(proxy, listener) == number).then_some(())
    });
}

/// Sessions of a listener that have ended, or are open.
fn sessions(proxy: &Evenkeel, listener: &str) -> u64 {
    let label = format!("listener=\"{listener}\"");
    let ended = proxy.metric("evenkeel_l4_sessions_total", &[&label]);
    ended + proxy.metric("evenkeel_l4_sessions", &[&label])
}

/// What the service sends, and what it is sent, goes where it was going by way of the proxy.
fn passes_both_ways(how: How) {
    let Some(scene) = Scene::new() else { return };
    let (four, six) = ("10.8.0.1:8080", "[fd08::1]:8080");
    let _outside = [four, six].map(|address| scene.outside(address));
    let (own_four, own_six) = ("10.8.0.2:8080", "[fd08::2]:8080");
    let neighbour = &scene.neighbour;
    scene.pod.within(|| {
        let own = [own_four, own_six].map(|text| greeting(text.parse().expect("an address")));
        let proxy = Evenkeel::start(&config(how, MARK));
        scene.intercept(how);
        for (nth, destination) in [four, six].into_iter().enumerate() {
            let (client, said) = ask(destination);
            assert_eq!(said, destination);
            assert_sessions(&proxy, "outbound", nth as u64 + 1);
            drop(client);
        }
        for (nth, destination) in [own_four, own_six].into_iter().enumerate() {
            let (client, said) = neighbour.within(|| ask(destination));
            assert_eq!(said, destination);
            assert_sessions(&proxy, "inbound", nth as u64 + 1);
            drop(client);
        }
        assert_sessions(&proxy, "outbound", 2);
        assert_eq!(own.each_ref().map(Endpoint::connections), [1, 1]);
        // What is logged is where it went; what is counted has one name for all.
        let line = &proxy.access_lines(4)[0];
        assert_eq!(line["endpoint"], four);
        let metrics = proxy.admin("/metrics").body.text();
        assert!(metrics.contains("endpoint=\"original_dst\""), "{metrics}");
        assert!(
            !metrics.contains("10.8.0.1"),
            "a client can make series: {metrics}"
        );
        let upstreams = proxy.admin_json("/v1/upstreams");
        assert!(
            upstreams.to_string().contains("original_dst"),
            "{upstreams}"
        );
        assert_eq!(
            proxy.admin_json("/v1/status")["warnings"],
            serde_json::json!([])
        );
    });
}

#[test]
fn what_is_redirected_goes_where_it_was_going() {
    passes_both_ways(How::Redirect);
}

#[test]
fn what_tproxy_brings_goes_where_it_was_going() {
    passes_both_ways(How::Tproxy);
}

/// Neither networks that are not allowed, nor this instance itself.
fn refuses(how: How) {
    let Some(scene) = Scene::new() else { return };
    let secret = scene.outside("10.9.0.1:8080");
    let neighbour = &scene.neighbour;
    scene.pod.within(|| {
        let proxy = Evenkeel::start(&config(how, MARK));
        scene.intercept(how);
        assert!(is_refused("10.9.0.1:8080"));
        assert_eq!(refused(&proxy, "outbound", "not_allowed"), 1);
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["error.type"], "destination_ip_prohibited");
        assert_eq!(line["end"], "denied");
        for address in ["10.8.0.2:15001", "10.8.0.2:15006", "[fd08::2]:15001"] {
            assert!(neighbour.within(|| is_refused(address)), "{address}");
        }
        let unknown =
            |reason| refused(&proxy, "outbound", reason) + refused(&proxy, "inbound", reason);
        eventually("those to itself are refused", || {
            (unknown("own_address") + unknown("unknown") == 3).then_some(())
        });
    });
    assert_eq!(secret.connections(), 0);
}

#[test]
fn a_redirected_connection_may_not_go_anywhere() {
    refuses(How::Redirect);
}

#[test]
fn one_that_tproxy_brings_may_not_go_anywhere() {
    refuses(How::Tproxy);
}

/// Without the mark the rules bring what Evenkeel sends as well: it is found at the first turn.
fn is_no_circle(how: How) {
    let Some(scene) = Scene::new() else { return };
    let endpoint = scene.outside("10.8.0.1:8080");
    scene.pod.within(|| {
        let proxy = Evenkeel::start(&config(how, ""));
        scene.intercept(how);
        assert!(is_refused("10.8.0.1:8080"));
        eventually("it is known as one of its own", || {
            (refused(&proxy, "outbound", "own_connection") >= 1).then_some(())
        });
        eventually("all have ended", || {
            (proxy.metric("evenkeel_l4_sessions", &[]) == 0).then_some(())
        });
        let made = sessions(&proxy, "outbound");
        assert!(made <= 4, "{made} connections of one");
        eventually("the log tells it", || {
            proxy.log().contains("proxy_loop_detected").then_some(())
        });
    });
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn what_is_redirected_without_a_mark_goes_round_once() {
    is_no_circle(How::Redirect);
}

#[test]
fn what_tproxy_brings_without_a_mark_goes_round_once() {
    is_no_circle(How::Tproxy);
}

#[test]
fn endpoints_that_are_listed_take_what_is_intercepted() {
    let Some(scene) = Scene::new() else { return };
    let other = scene.outside("10.8.0.1:9090");
    scene.pod.within(|| {
        let proxy = Evenkeel::start(
            "[defaults]\nmark = 0x45\n[listener.outbound]\nbind = \":15001\"\n\
             protocols = [\"tcp\"]\nintercept = \"redirect\"\nto = [\"10.8.0.1:9090\"]\n",
        );
        scene.intercept(How::Redirect);
        let mut client = Client::connect(([10, 8, 0, 1], 8080).into());
        assert_eq!(client.bytes(14), b"10.8.0.1:9090\n");
        drop(client);
        assert_sessions(&proxy, "outbound", 1);
    });
    assert_eq!(other.connections(), 1);
}

#[test]
fn a_destination_has_its_limits() {
    let Some(scene) = Scene::new() else { return };
    let _outside = ["10.8.0.1:8080", "10.8.0.1:8081"].map(|address| scene.outside(address));
    scene.pod.within(|| {
        let text = config(How::Redirect, MARK)
            + "max_connections_per_endpoint = 1\ntimeouts = { connect = \"300ms\" }\n";
        let _proxy = Evenkeel::start(&text);
        scene.intercept(How::Redirect);
        let (first, _) = ask("10.8.0.1:8080");
        let (_second, _) = ask("10.8.0.1:8081");
        assert!(is_refused("10.8.0.1:8080"), "two at one destination");
        drop(first);
        ask("10.8.0.1:8080");
    });
}

/// What an endpoint is told of a client, it is told of where that was going.
fn is_introduced(how: How) {
    let Some(scene) = Scene::new() else { return };
    let endpoint = scene.neighbour.within(|| {
        let address = "10.8.0.1:8080".parse().expect("an address");
        Endpoint::start_at(address, |peer| {
            if take(peer).is_some() {
                peer.send_all_back();
            }
        })
    });
    scene.pod.within(|| {
        let text = config(how, MARK) + "proxy_protocol = \"v2\"\n";
        let _proxy = Evenkeel::start(&text);
        scene.intercept(how);
        let mut client = Client::connect(([10, 8, 0, 1], 8080).into());
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
        let own = client.stream().local_addr().expect("it is open");
        let said = Said::parse(&endpoint.raw()[0]);
        assert_eq!(said.source, own.to_string());
        assert_eq!(said.destination, "10.8.0.1:8080");
    });
}

#[test]
fn a_header_tells_where_a_redirected_client_was_going() {
    is_introduced(How::Redirect);
}

#[test]
fn a_header_tells_where_one_was_going_that_tproxy_brings() {
    is_introduced(How::Tproxy);
}
