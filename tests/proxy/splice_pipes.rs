//! A relay with much to carry when there are too few pipes: no descriptors for more, more
//! connections than pipes, and readers that have them and do not read.

use std::fs;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::splice::{LARGE, calls, data, pipes, times};
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::unix::{Sockets, client};

/// Sends back what comes, or, to who asks for it, something long.
fn endpoint() -> Endpoint {
    let body = data();
    Endpoint::start(move |peer| match peer.some() {
        Some(asked) if asked == b"long" => {
            peer.send(&body[..LONG]);
            peer.drain();
        }
        Some(other) => {
            peer.send(other);
            peer.send_all_back();
        }
        None => {}
    })
}

/// A relay, also at a Unix socket: the kernel's buffer of that does not grow.
fn relay(endpoint: &Endpoint, sockets: &Sockets) -> Evenkeel {
    let local = sockets.written("relay.sock");
    Evenkeel::relaying_to(
        &[endpoint],
        &format!(
            "[listener.local]\nbind = \"{local}\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n"
        ),
    )
}

/// Clients that have asked for what is long, and take nothing of it.
fn stalled(sockets: &Sockets, number: usize) -> Vec<Client<UnixStream>> {
    let clients = (0..number).map(|_| {
        let mut client = client(&sockets.path("relay.sock"));
        client.send("long");
        client
    });
    clients.collect()
}

fn assert_all_is_whole(clients: Vec<Client<UnixStream>>, body: &[u8]) {
    for mut client in clients {
        assert!(client.bytes(LONG) == body[..LONG], "bytes changed");
    }
}

/// Sends this and has it back.
fn echo(client: &mut Client, bytes: &[u8]) {
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(bytes));
        assert!(client.bytes(bytes.len()) == bytes, "bytes changed");
    });
}

/// How many descriptors the program may have.
fn limit_descriptors(proxy: &Evenkeel, to: u64) {
    let id = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: Some(to),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(id, Resource::Nofile, limit).expect("it is ours");
}

/// The lowest that is free.
fn next_descriptor(proxy: &Evenkeel) -> u64 {
    let is_free = |number: &u64| {
        let path = format!("/proc/{}/fd/{number}", proxy.id());
        fs::read_link(path).is_err()
    };
    (0..1_000).find(is_free).expect("one is free")
}

#[test]
fn without_descriptors_for_a_pipe_a_relay_copies() {
    let (body, endpoint, sockets) = (data(), endpoint(), Sockets::new("descriptors"));
    let proxy = relay(&endpoint, &sockets);
    let mut client = proxy.client();
    echo(&mut client, b"it is connected");
    let before = pipes(&proxy);
    limit_descriptors(&proxy, next_descriptor(&proxy));
    echo(&mut client, &body);
    assert_eq!(pipes(&proxy), before);
    limit_descriptors(&proxy, 1024);
    eventually("pipes are tried again", || {
        echo(&mut client, &body);
        (pipes(&proxy) > before).then_some(())
    });
}

#[test]
fn more_relays_than_there_are_pipes_go_on_by_copying() {
    let (body, endpoint, sockets) = (data(), endpoint(), Sockets::new("pipes"));
    let proxy = relay(&endpoint, &sockets);
    let before = pipes(&proxy);
    let clients = stalled(&sockets, 100);
    eventually("all pipes are taken", || {
        (pipes(&proxy) - before == 2 * PIPES).then_some(())
    });
    assert_all_is_whole(clients, &body);
    assert!(pipes(&proxy) - before < 2 * PIPES, "some are closed again");
}

#[test]
fn readers_that_stall_do_not_keep_pipes_from_those_that_read() {
    let (body, endpoint, sockets) = (data(), endpoint(), Sockets::new("stalled"));
    let proxy = relay(&endpoint, &sockets);
    let before = pipes(&proxy);
    let clients = stalled(&sockets, 150);
    eventually("all pipes are taken", || {
        (pipes(&proxy) - before == 2 * PIPES).then_some(())
    });
    let mut client = proxy.client();
    echo(&mut client, &body);
    // The proxy looks twice through which of them nothing moves, a second apart.
    pause(Duration::from_millis(1_100));
    let report = calls(&proxy, || echo(&mut client, &body));
    if let Some(report) = report {
        let spliced = times(&report, "splice");
        assert!(spliced >= 2 * LARGE / (256 * 1024), "{spliced} splices");
    }
    assert_eq!(
        pipes(&proxy) - before,
        2 * PIPES,
        "there are no more of them"
    );
    assert_all_is_whole(clients, &body);
    echo(&mut client, &body);
}

/// Far more than the buffers on the way to a client that does not read.
const LONG: usize = 1024 * 1024;

/// How many a worker has at most.
const PIPES: usize = 64;
