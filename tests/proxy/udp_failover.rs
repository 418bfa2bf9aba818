//! What becomes of a UDP session that goes to another endpoint, or to another socket.

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::support::clock::eventually;
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::udp::{await_metric, config, metric, start};

/// Of an endpoint that never answers nothing else would ever tell that it is well.
#[test]
fn what_failed_at_one_endpoint_is_not_said_of_the_next() {
    let mut first = UdpEndpoint::keeps_quiet_if_asked();
    let second = UdpEndpoint::keeps_quiet_if_asked();
    let idle = "timeouts = { session_idle = \"2s\" }";
    let proxy = start(&[&first, &second], idle, "balance = \"first_healthy\"");
    let client = UdpClient::of(proxy.address("web"));
    client.send("quiet");
    eventually("it has come", || first.received().pop());
    first.die();
    eventually("it goes to the other", || {
        client.send("quiet");
        second.received().pop()
    });
    await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "idle"], 1.0);
    let log = eventually("it is logged", || {
        let log = proxy.log();
        let line = log.lines().find(|line| line.contains("\"udp\""));
        line.map(str::to_owned)
    });
    let of_second = format!("\"{}\"", second.address());
    assert!(log.contains(&of_second), "{log}");
    assert!(log.contains("\"connection_read_timeout\""), "{log}");
}

/// Who may not bind a socket to another device has to make another socket. At the time nobody can
/// be asked, but later the answers come by it.
#[test]
fn a_socket_that_a_reload_made_is_listened_to() {
    for capability in [CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN] {
        // Fails for who has no privileges at all, and so none of these.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let mut endpoint = UdpEndpoint::tells_its_port();
    let health = "panic_threshold = \"0%\"\nhealth = { udp = { send = \"ping\" } }";
    let bound = format!("{health}\nsocket = {{ bind_to_device = \"lo\" }}");
    let mut proxy = start(&[&endpoint], "", &bound);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    let address = endpoint.address().to_string();
    let state = "evenkeel_endpoint_state";
    endpoint.die();
    await_metric(&proxy, state, &[&address, "unhealthy"], 1.0);
    proxy.reload(&config(&[&endpoint], "", health));
    let dropped = "evenkeel_udp_dropped_total";
    assert!(metric(&proxy, dropped, &["web", "no_endpoint"]).abs() < 0.5);
    client.send("who");
    await_metric(&proxy, dropped, &["web", "no_endpoint"], 1.0);
    endpoint.restart();
    await_metric(&proxy, state, &[&address, "healthy"], 1.0);
    assert_eq!(client.ask("who"), endpoint.name());
    let asked = endpoint.received().into_iter();
    let mut peers: Vec<_> = asked
        .filter(|(_, bytes)| bytes == b"who")
        .map(|(peer, _)| peer)
        .collect();
    peers.dedup();
    assert_eq!(peers.len(), 2, "by another socket");
}
