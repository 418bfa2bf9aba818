//! What the kernel says of the network, on either side: that a slow way can be told from a slow
//! service. In namespaces with a slow link between them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::namespace::{Namespace, skipped};
use crate::support::python::python;

/// Two namespaces with a slow link between them, which goes with this value.
struct Scene {
    near: Namespace,
    far: Namespace,
    link: Child,
}

impl Scene {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        let (near, far) = (Namespace::create()?, Namespace::create()?);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/delay.py");
        let link = Command::new(python())
            .args([script, near.name(), far.name(), &DELAY.to_string()])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut link) = link else {
            return skipped("there is no Python");
        };
        let mut said = String::new();
        let output = link.stdout.take().expect("it was asked for");
        drop(BufReader::new(output).read_line(&mut said));
        if said.trim() != "ready" {
            drop((link.kill(), link.wait()));
            return skipped("no device of packets (/dev/net/tun)");
        }
        for (namespace, address) in [(&near, "10.8.1.1"), (&far, "10.8.1.2")] {
            namespace.run(&format!(
                "ip addr add {address}/24 dev slow0 && ip link set slow0 up"
            ));
        }
        Some(Self { near, far, link })
    }

    /// An endpoint behind the slow link.
    fn behind_it(&self) -> Endpoint {
        let address = "10.8.1.2:8080".parse().expect("an address");
        let behaviour = |peer: &mut crate::support::endpoint::Peer| peer.send_all_back();
        self.far.within(|| Endpoint::start_at(address, behaviour))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop((self.link.kill(), self.link.wait()));
    }
}

fn relay() -> Evenkeel {
    Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"10.8.1.2:8080\"]\n",
    )
}

/// The value of the only series with this name, which may have a fraction.
fn value(proxy: &Evenkeel, name: &str) -> Option<f64> {
    let metrics = proxy.admin("/metrics").body.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The mean of a histogram once it has as many observations.
fn mean(proxy: &Evenkeel, name: &str, least: f64) -> f64 {
    eventually(&format!("{name} has samples"), || {
        let count = value(proxy, &format!("{name}_count"))?;
        let sum = value(proxy, &format!("{name}_sum"))?;
        (count >= least).then_some(sum / count)
    })
}

/// Asks and is answered a few times, and ends the connection.
fn talk(proxy: &Evenkeel) {
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
    }
    client.finish();
    assert!(client.is_closed());
}

#[test]
fn a_slow_way_to_an_endpoint_is_told_from_a_fast_one_to_clients() {
    let Some(scene) = Scene::new() else { return };
    let _endpoint = scene.behind_it();
    scene.near.within(|| {
        let proxy = relay();
        for _ in 0..3 {
            talk(&proxy);
        }
        let there = mean(&proxy, "evenkeel_endpoint_tcp_rtt_seconds", 3.0);
        let here = mean(&proxy, "evenkeel_tcp_rtt_seconds", 3.0);
        let both_ways = 2.0 * f64::from(DELAY) / 1000.0;
        assert!(there >= both_ways * 0.9, "{there} s to the endpoint");
        assert!(
            here < there / 4.0,
            "{here} s to clients, {there} s to the endpoint"
        );
        assert!(value(&proxy, "evenkeel_endpoint_tcp_segments_total") >= Some(15.0));
    });
}

#[test]
fn what_is_lost_on_the_way_is_seen() {
    let Some(scene) = Scene::new() else { return };
    let _endpoint = scene.behind_it();
    scene.near.within(|| {
        let proxy = relay();
        talk(&proxy);
        let again = || value(&proxy, "evenkeel_endpoint_tcp_retransmits_total");
        eventually("a sample was taken", || {
            (again() == Some(0.0)).then_some(())
        });
        // At its other end: what the sender's own firewall drops was never sent to the sender.
        scene.far.run(
            "nft 'table inet loss { chain in { type filter hook input priority 0; \
             iifname \"slow0\" tcp flags & (syn | fin) == 0 meta length > 52 \
             numgen random mod 5 == 0 drop; }; }'",
        );
        eventually("segments were sent again", || {
            talk(&proxy);
            again().is_some_and(|again| again > 0.0).then_some(())
        });
        assert_eq!(
            value(&proxy, "evenkeel_tcp_retransmits_total"),
            Some(0.0),
            "to clients"
        );
    });
}

/// Nor does one have to end for it.
#[test]
fn a_connection_that_lasts_is_sampled_meanwhile() {
    let Some(scene) = Scene::new() else { return };
    let _endpoint = scene.behind_it();
    scene.near.within(|| {
        let proxy = relay();
        let mut client = proxy.client();
        eventually("it is sampled while it is open", || {
            client.send("hello");
            assert_eq!(client.bytes(5), b"hello");
            let count = value(&proxy, "evenkeel_endpoint_tcp_rtt_seconds_count");
            count.is_some_and(|count| count >= 1.0).then_some(())
        });
    });
}

#[test]
fn requests_are_sampled_as_well() {
    let Some(scene) = Scene::new() else { return };
    let address = "10.8.1.2:8080".parse().expect("an address");
    let _endpoint = scene.far.within(|| {
        Endpoint::start_at(address, |peer| {
            while peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        })
    });
    scene.near.within(|| {
        let proxy = Evenkeel::start(
            "[listener.web]\nbind = \"@web\"\nto = [\"10.8.1.2:8080\"]\n\
             [upstream.none]\nendpoints = [\"10.8.1.2:8081\"]\n",
        );
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
        }
        drop(client);
        let here = mean(&proxy, "evenkeel_tcp_rtt_seconds", 1.0);
        // The connection to the endpoint rests; it is closed after four seconds.
        let there = mean(&proxy, "evenkeel_endpoint_tcp_rtt_seconds", 1.0);
        assert!(
            here < there / 4.0,
            "{here} s to clients, {there} s to the endpoint"
        );
    });
}

/// So few segments may be under way that nothing but the way is the limit, however busy the machine
/// is: the other side has room for many more.
#[test]
fn how_fast_a_way_delivers_is_taken() {
    let Some(scene) = Scene::new() else { return };
    let address = "10.8.1.2:8080".parse().expect("an address");
    let behaviour = |peer: &mut crate::support::endpoint::Peer| peer.drain();
    let _endpoint = scene.far.within(|| Endpoint::start_at(address, behaviour));
    scene
        .near
        .run("ip route change 10.8.1.0/24 dev slow0 cwnd lock 4");
    scene.near.within(|| {
        let proxy = relay();
        let name = "evenkeel_endpoint_tcp_delivery_rate_bytes_per_second";
        let is_taken = || value(&proxy, &format!("{name}_count")).is_some_and(|count| count >= 1.0);
        // The kernel heeds that from the second connection on.
        assert!(proxy.client().finish().is_closed());
        // Some four seconds each, in which there is always more to send.
        for _ in 0..5 {
            let mut client = proxy.client();
            client.send(vec![7; 256 * 1024]);
            client.finish();
            assert!(client.is_closed());
            if is_taken() {
                break;
            }
        }
        let rate = mean(&proxy, name, 1.0);
        // Four segments in a round trip are 73,000; who is held up sends fewer.
        assert!(rate > 0.0 && rate < 400_000.0, "{rate} bytes a second");
    });
}

/// The network is as fast as it can be, so whatever rate there is would be the endpoint's.
#[test]
fn an_endpoint_that_reads_slowly_is_no_slow_network() {
    let endpoint = Endpoint::start(|peer| {
        let mut socket = peer.socket();
        let mut piece = vec![0; 65_536];
        while socket.read(&mut piece).is_ok_and(|count| count > 0) {
            pause(Duration::from_millis(5));
        }
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send(vec![7; 16 << 20]);
    client.finish();
    assert!(client.is_closed());
    let name = "evenkeel_endpoint_tcp_rtt_seconds";
    mean(&proxy, name, 1.0);
    let rates = value(
        &proxy,
        "evenkeel_endpoint_tcp_delivery_rate_bytes_per_second_count",
    );
    assert_eq!(rates, Some(0.0));
}

/// Milliseconds each way: far more than a busy machine needs within itself.
const DELAY: u32 = 40;
