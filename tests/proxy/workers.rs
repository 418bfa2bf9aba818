//! Connections that live long are spread over the workers, and the metrics show how.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::unix::Sockets;

/// More than a kernel's hash would leave within a tenth by luck, twice over.
const CONNECTIONS: u64 = 1_000;

/// Connections of the first and of the second worker.
fn counts(proxy: &Evenkeel) -> [u64; 2] {
    ["0", "1"].map(|worker| {
        let label = format!("worker=\"{worker}\"");
        proxy.metric("evenkeel_runtime_connections", &[&label])
    })
}

/// Waits until so many are served, and wants them within a tenth of each other.
fn assert_even(proxy: &Evenkeel, total: u64) {
    let counts = eventually("all connections to be counted", || {
        let counts = counts(proxy);
        (counts.iter().sum::<u64>() == total).then_some(counts)
    });
    let [least, most] = [counts[0].min(counts[1]), counts[0].max(counts[1])];
    assert!((most - least) * 10 <= total / 2, "{counts:?}");
}

#[test]
fn a_thousand_long_connections_are_spread_within_a_tenth() {
    let endpoint = Endpoint::echo();
    let sockets = Sockets::new("workers");
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n\
         [listener.web]\nbind = \"@web\"\nto = [\"{0}\"]\n\
         [listener.local]\nbind = \"{1}\"\nto = [\"{0}\"]\n",
        endpoint.address(),
        sockets.written("local.sock"),
    ));
    let (address, path) = (proxy.address("web"), sockets.path("local.sock"));
    let by_address = |count| -> Vec<_> {
        (0..count)
            .map(|_| TcpStream::connect(address).expect("the proxy accepts"))
            .collect()
    };
    let mut first = by_address(CONNECTIONS);
    assert_even(&proxy, CONNECTIONS);
    // Of what a Unix socket's clients bring, the kernel gives all to who wakes up first.
    let by_path: Vec<_> = (0..CONNECTIONS / 2)
        .map(|_| UnixStream::connect(&path).expect("the proxy accepts"))
        .collect();
    assert_even(&proxy, CONNECTIONS * 3 / 2);
    // What ends leaves the workers apart by chance, and what comes then mends it.
    drop(by_path);
    first.truncate(100);
    let _second = by_address(CONNECTIONS - 100);
    assert_even(&proxy, CONNECTIONS);
}

#[test]
fn of_few_connections_that_last_each_worker_has_half() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.db]\nbind = \"@db\"\nprotocols = [\"tcp\"]\nto = [\"{}\"]\n",
        endpoint.address(),
    ));
    let address = proxy.address("db");
    let mut clients = Vec::new();
    for total in 1..=16 {
        clients.push(TcpStream::connect(address).expect("the proxy accepts"));
        // One after the other: only then none is on its way while the next is given to somebody.
        eventually("the connection to be counted", || {
            (counts(&proxy).iter().sum::<u64>() == total).then_some(())
        });
    }
    let counts = counts(&proxy);
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
}
