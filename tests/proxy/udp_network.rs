//! Datagrams in networks that part, refuse or lose them: what the network says of an endpoint is
//! heard, and what a client can have it say is not held against any. In namespaces.

use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::namespace::{Namespace, skipped};
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::udp::{await_metric, metric};

/// The proxy's network, one behind a router, and the way between: the second half is narrow.
struct Scene {
    near: Namespace,
    far: Namespace,
    _router: Namespace,
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
        Some(Self {
            near,
            far,
            _router: router,
        })
    }
}

fn relay_to(endpoints: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [{endpoints}]\n"
    ))
}

/// The failures of endpoints, for whatever reason.
fn failures(proxy: &Evenkeel) -> f64 {
    let reasons = [
        "connection_refused",
        "destination_ip_unroutable",
        "destination_unavailable",
    ];
    let name = "evenkeel_endpoint_connect_errors_total";
    reasons.map(|why| metric(proxy, name, &[why])).iter().sum()
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
                crate::support::clock::pause(std::time::Duration::from_millis(300));
                let after = metric(&proxy, name, &["destination_ip_unroutable"]);
                ((after - before).abs() < 0.5).then_some(after)
            });
            assert!(quiet < 20.0, "{quiet}");
        });
    }
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

/// What the network is slow to take waits, and is not lost.
#[test]
fn answers_wait_for_the_network() {
    let Some(scene) = Scene::new() else { return };
    let slow = "tc qdisc add dev wide0 root tbf rate 4mbit burst 10kb limit 4000000";
    if let Err(why) = scene.near.try_run(slow) {
        skipped::<()>(&format!("no queue that is slow: {why}"));
        return;
    }
    let (proxy, _endpoint) = scene.near.within(|| {
        let endpoint = UdpEndpoint::sends_much();
        let proxy = Evenkeel::start(&format!(
            "[listener.web]\nbind = \"10.9.1.1:5353\"\nprotocols = [\"udp\"]\n\
             socket = {{ send_buffer = \"8KiB\" }}\nto = [\"{}\"]\n",
            endpoint.address()
        ));
        (proxy, endpoint)
    });
    scene.far.within(|| {
        let listener = "10.9.1.1:5353".parse().expect("an address");
        let client = UdpClient::from([10, 9, 2, 2], listener);
        client.send("go on");
        for number in 0..60_u32 {
            let bytes = client.receive();
            assert_eq!(
                (&bytes[..4], bytes.len()),
                (&number.to_be_bytes()[..], 1_000)
            );
        }
    });
    scene.near.within(|| {
        let name = "evenkeel_udp_dropped_total";
        assert!(metric(&proxy, name, &["web", "send_buffer"]) < 0.5);
        await_metric(&proxy, "evenkeel_udp_datagrams_total", &["received"], 60.0);
    });
}
