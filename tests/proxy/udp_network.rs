//! Datagrams in networks that part, refuse or lose them: what the network says of an endpoint is
//! heard, and what a client can have it say is not held against any. In namespaces.

use std::time::Duration;

use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::namespace::{Namespace, skipped};
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::udp::{await_metric, metric, series};

/// The proxy's network, one behind a router, and the way between: the second half is narrow.
struct Scene {
    near: Namespace,
    far: Namespace,
    router: Namespace,
}

impl Scene {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        let near = Namespace::create()?;
        let (router, far) = (Namespace::create()?, Namespace::create()?);
        near.join(&router, "wide0", "wide1");
        router.join(&far, "narrow0", "narrow1");
        for (namespace, link, host) in [
            (&near, "wide0", "1::1"),
            (&router, "wide1", "1::2"),
            (&router, "narrow0", "2::1"),
            (&far, "narrow1", "2::2"),
        ] {
            let ipv4 = host.replace("::", ".");
            namespace.run(&format!(
                "ip addr add 10.9.{ipv4}/24 dev {link} && ip addr add fd09:{host}/64 dev {link}"
            ));
        }
        for (namespace, link) in [(&router, "narrow0"), (&far, "narrow1")] {
            namespace.run(&format!("ip link set {link} mtu 1280"));
        }
        router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        near.run("ip route add 10.9.2.0/24 via 10.9.1.2 && ip route add fd09:2::/64 via fd09:1::2");
        far.run("ip route add 10.9.1.0/24 via 10.9.2.1 && ip route add fd09:1::/64 via fd09:2::1");
        Some(Self { near, far, router })
    }
}

fn relay_to(endpoints: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [{endpoints}]\n"
    ))
}

/// The failures of endpoints, for whatever reason. Each has a series from its first one on: that
/// these are their names, others here show.
fn failures(proxy: &Evenkeel) -> f64 {
    let reasons = [
        "connection_refused",
        "destination_ip_unroutable",
        "destination_unavailable",
    ];
    let name = "evenkeel_endpoint_connect_errors_total";
    let count = |why| series(proxy, name, &[why]).unwrap_or(0.0);
    reasons.map(count).iter().sum()
}

/// Its client chose the size: nobody else must lose the endpoint over it.
#[test]
fn what_is_too_long_for_the_way_harms_nobody() {
    let Some(scene) = Scene::new() else { return };
    for address in ["10.9.2.2:5353", "[fd09:2::2]:5353"] {
        let parsed = address.parse().expect("an address");
        let _endpoint = scene.far.within(|| UdpEndpoint::sends_back_at(parsed));
        scene.near.within(|| {
            let proxy = relay_to(&format!("\"{address}\""));
            let client = UdpClient::of(proxy.address("web"));
            let long = "x".repeat(1_400);
            // Of IPv6 the first is lost, and it is learned from that.
            for _ in 0..3 {
                assert_eq!(client.ask_until_answered(&long), long, "{address}");
            }
            let other = UdpClient::of(proxy.address("web"));
            assert_eq!(other.ask("short"), "short");
            assert!(failures(&proxy) < 0.5, "{address}: {}", proxy.log());
            await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 2.0);
        });
    }
}

/// Nobody refuses what is sent there: the router says that there is nobody.
#[test]
fn a_machine_that_is_dead_is_left() {
    let Some(scene) = Scene::new() else { return };
    for (dead, alive) in [
        ("10.9.2.77:5353", "10.9.2.2:5353"),
        ("[fd09:2::77]:5353", "[fd09:2::2]:5353"),
        ("10.9.7.7:5353", "10.9.2.2:5353"),
    ] {
        let parsed = alive.parse().expect("an address");
        let _endpoint = scene.far.within(|| UdpEndpoint::sends_back_at(parsed));
        scene.near.run("ip route replace 10.9.7.0/24 via 10.9.1.2");
        scene.near.within(|| {
            let proxy = relay_to(&format!("\"{dead}\", \"{alive}\""));
            let client = UdpClient::of(proxy.address("web"));
            assert_eq!(client.ask_until_answered("hello"), "hello", "{dead}");
            let name = "evenkeel_endpoint_connect_errors_total";
            let told = metric(&proxy, name, &["destination_ip_unroutable"]);
            assert!(told > 0.5, "{dead}");
            // The next client does not find out for itself.
            let other = UdpClient::of(proxy.address("web"));
            assert_eq!(other.ask("hello"), "hello");
            // What was heard is not heard again and again.
            let quiet = eventually("it rests", || {
                let before = metric(&proxy, name, &["destination_ip_unroutable"]);
                pause(Duration::from_millis(300));
                let after = metric(&proxy, name, &["destination_ip_unroutable"]);
                ((after - before).abs() < 0.5).then_some(after)
            });
            assert!(quiet < 20.0, "{quiet}");
        });
    }
}

/// Until the network has said that nobody is there, silence proves nothing.
#[test]
fn a_dead_machine_is_not_called_back_by_sessions_that_end_early() {
    let Some(scene) = Scene::new() else { return };
    let alive = "10.9.2.2:5353".parse().expect("an address");
    let endpoint = scene.far.within(|| UdpEndpoint::sends_back_at(alive));
    scene.near.within(|| {
        let proxy = Evenkeel::start(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nupstream = \"app\"\n\
             timeouts = { session_idle = \"300ms\" }\n[upstream.app]\nbalance = \"first_healthy\"\n\
             endpoints = [\"10.9.2.77:5353\", \"10.9.2.2:5353\"]\n",
        );
        let client = || UdpClient::of(proxy.address("web"));
        assert_eq!(client().ask_until_answered("hello"), "hello");
        let to_the_dead = || {
            let name = "evenkeel_endpoint_datagrams_total";
            metric(&proxy, name, &["10.9.2.77:5353", "sent"])
        };
        let failed = failures(&proxy);
        let _trial = eventually("one tries it", || {
            let (before, new) = (to_the_dead(), client());
            new.send("hello");
            pause(Duration::from_millis(100));
            (to_the_dead() > before + 0.5).then_some(new)
        });
        // Its session would have ended by now, and all would go there.
        pause(Duration::from_secs(1));
        let (before, answered) = (to_the_dead(), endpoint.received().len());
        let clients = [(); 8].map(|()| client());
        for client in &clients {
            client.send("hello");
        }
        eventually("all are served, but who tries it", || {
            (endpoint.received().len() >= answered + 6).then_some(())
        });
        assert!(to_the_dead() < before + 2.5, "{}", proxy.log());
        eventually("whoever tried it hears of it", || {
            (failures(&proxy) > failed + 0.5).then_some(())
        });
    });
}

/// Each session has a port, of as many as the machine has for all endpoints together.
#[test]
fn no_endpoint_is_blamed_for_want_of_ports() {
    let Some(scene) = Scene::new() else { return };
    let address = "10.9.2.2:5353".parse().expect("an address");
    let endpoint = scene.far.within(|| UdpEndpoint::sends_back_at(address));
    scene.near.within(|| {
        let proxy = relay_to("\"10.9.2.2:5353\"");
        let clients = [(); 9].map(|()| UdpClient::of(proxy.address("web")));
        let range = |ports: &str| {
            let set = format!("sysctl -qw net.ipv4.ip_local_port_range=\"{ports}\"");
            scene.near.run(&set);
        };
        range("30100 30103");
        for client in &clients {
            client.send("hello");
        }
        // One worker takes them in their order, and so has looked at all of them by then.
        clients[0].send("mark");
        eventually("those that have ports are relayed", || {
            let mut received = endpoint.received().into_iter();
            received.find(|(_, bytes)| bytes == b"mark")
        });
        assert_eq!(endpoint.peers().len(), 4);
        range("32768 60999");
        await_metric(&proxy, "evenkeel_udp_dropped_total", &["web", "error"], 5.0);
        assert!(failures(&proxy) < 0.5, "{}", proxy.log());
        let name = "evenkeel_endpoint_connect_errors_total";
        await_metric(&proxy, name, &["proxy_internal_error"], 5.0);
        assert_eq!(clients[8].ask("hello"), "hello");
    });
}

/// A proxy with a small buffer whose clients are behind a slow network, and its endpoint.
struct Narrow {
    scene: Scene,
    proxy: Evenkeel,
    _endpoint: UdpEndpoint,
}

impl Narrow {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        let scene = Scene::new()?;
        let slow = "tc qdisc add dev wide0 root tbf rate 4mbit burst 10kb limit 4000000";
        if let Err(why) = scene.near.try_run(slow) {
            return skipped(&format!("no queue that is slow: {why}"));
        }
        let (proxy, endpoint) = scene.near.within(|| {
            let endpoint = UdpEndpoint::sends_so_many();
            let proxy = Evenkeel::start(&format!(
                "[listener.web]\nbind = \"10.9.1.1:5353\"\nprotocols = [\"udp\"]\n\
                 socket = {{ send_buffer = \"8KiB\" }}\nto = [\"{}\"]\n",
                endpoint.address()
            ));
            (proxy, endpoint)
        });
        Some(Self {
            scene,
            proxy,
            _endpoint: endpoint,
        })
    }

    /// Has a client on the other side of the router get sixty answers.
    fn answers_sixty(&self) {
        self.scene.far.within(|| {
            let listener = "10.9.1.1:5353".parse().expect("an address");
            let client = UdpClient::from([10, 9, 2, 2], listener);
            client.send("60");
            for number in 0..60_u32 {
                let bytes = client.receive();
                assert_eq!(
                    (&bytes[..4], bytes.len()),
                    (&number.to_be_bytes()[..], 1_000)
                );
            }
        });
    }

    /// Has a neighbour ask for so many answers, whom the kernel looks for in vain for minutes.
    fn neighbour_asks(&self, answers: &str) {
        let Scene { near, router, .. } = &self.scene;
        near.run("sysctl -qw net.ipv4.neigh.wide0.mcast_solicit=600");
        router.run(
            "sysctl -qw net.ipv4.conf.wide1.arp_ignore=1 net.ipv4.conf.wide1.arp_announce=2 && \
             ip addr add 10.9.1.77/32 dev lo",
        );
        router.within(|| {
            let listener = "10.9.1.1:5353".parse().expect("an address");
            UdpClient::from([10, 9, 1, 77], listener).send(answers);
        });
    }

    fn dropped(&self) -> f64 {
        let name = "evenkeel_udp_dropped_total";
        let words = ["web", "send_buffer"];
        self.scene.near.within(|| metric(&self.proxy, name, &words))
    }

    /// Answers that the kernel took.
    fn received(&self) -> f64 {
        let name = "evenkeel_udp_datagrams_total";
        let words = ["web", "received"];
        self.scene.near.within(|| metric(&self.proxy, name, &words))
    }

    fn await_received(&self, answers: f64) {
        eventually("answers are taken", || {
            (self.received() > answers - 0.5).then_some(())
        });
    }
}

/// What the network is slow to take waits, and is not lost.
#[test]
fn answers_wait_for_the_network() {
    let Some(narrow) = Narrow::new() else { return };
    narrow.answers_sixty();
    assert!(narrow.dropped() < 0.5);
    narrow.await_received(60.0);
}

/// What it holds is more than half of the buffer, so that the kernel never says that there is room.
#[test]
fn a_dead_neighbour_holds_up_nobody() {
    let Some(narrow) = Narrow::new() else { return };
    narrow.neighbour_asks("5");
    narrow.await_received(5.0);
    narrow.answers_sixty();
    assert!(narrow.dropped() < 0.5);
}

/// It holds the whole buffer, so that nothing can leave.
#[test]
fn answers_do_not_wait_for_a_dead_neighbour() {
    let Some(narrow) = Narrow::new() else { return };
    narrow.neighbour_asks("60");
    eventually("what does not leave is dropped", || {
        let taken = narrow.received();
        (taken < 30.0 && taken + narrow.dropped() > 59.5).then_some(())
    });
    let found = "ip neigh replace 10.9.1.77 dev wide0 lladdr 02:00:00:00:00:77";
    narrow.scene.near.run(found);
    narrow.answers_sixty();
}
