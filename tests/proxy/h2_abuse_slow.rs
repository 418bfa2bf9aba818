//! Clients that hold on to what they asked for and do not take it, or do not say what they began:
//! what they hold is little, and their time is short.

use std::time::Duration;

use crate::h2_abuse::{Plain, Rig, ends_calmly};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, kind, setting};
use crate::support::h2::{H2, StreamEnd};

/// An endpoint of one large download, and of small ones.
fn large() -> Endpoint {
    Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() != "/large" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                continue;
            }
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
            ));
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..LARGE / piece.len() {
                if !peer.try_send(&piece) {
                    return;
                }
            }
        }
    })
}

fn impatient(endpoint: Endpoint) -> Rig {
    let lines = "[defaults.timeouts]\nbody_idle = \"1s\"";
    Rig::before(endpoint, "", lines)
}

/// No window, and requests without end: that many end the connection.
#[test]
fn windows_of_nothing() {
    let rig = impatient(large());
    let mut client = H2::client_with(rig.client_socket(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    rig.beside_another(|| {
        for _ in 0..100 {
            client.ask("/large");
        }
        ends_calmly(&mut client, "stalled");
    });
    rig.is_bounded();
    rig.comes_to_rest();
    assert_eq!(rig.abuses("stalled"), 1);
}

/// The same by a route whose clients may rest for longer: nothing is given up before its time.
#[test]
fn a_route_may_be_more_patient_than_its_listener() {
    let lines = "[defaults.timeouts]\nbody_idle = \"1s\"\n\
                 [route.large]\npath = \"/large\"\nupstream = \"app\"\n\
                 timeouts = { body_idle = \"1m\" }";
    let rig = Rig::before(large(), "", lines);
    let mut client = H2::client_with(rig.client_socket(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let ids: Vec<u32> = (0..100).map(|_| client.ask("/large")).collect();
    pause(Duration::from_secs(3));
    client.send(&Frame::window_update(ids[0], 5));
    let piece = client.expect(kind::DATA, ids[0]);
    assert_eq!(piece.payload, b"xxxxx", "what there is room for");
    assert_eq!(rig.resets("evenkeel"), 0);
    assert_eq!(rig.abuses("stalled"), 0);
}

/// Longer is not for ever: one whose socket takes nothing is ended by the time of its route.
#[test]
fn a_route_that_is_more_patient_ends_its_clients_too() {
    let lines = "[route.large]\npath = \"/large\"\nupstream = \"app\"\n\
                 timeouts = { body_idle = \"3s\" }\n\
                 [defaults.timeouts]\nbody_idle = \"1s\"";
    let rig = Rig::before(large(), "", lines);
    let _client = asks_and_does_not_read(&rig);
    rig.comes_to_rest();
}

/// A client that asks for much with the widest windows, and reads nothing of it, until it is given
/// up.
fn asks_and_does_not_read(rig: &Rig) -> Plain {
    let wide = [(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)];
    let mut client = H2::client_with(rig.client_socket(), &wide);
    client.send(&Frame::window_update(0, 0x7fff_0000 - 65_535));
    for _ in 0..100 {
        client.ask("/large");
    }
    eventually("it is given up", || {
        // It talks all the while.
        client.send(&Frame::ping(*b"12345678"));
        pause(Duration::from_millis(200));
        (rig.abuses("stalled") == 1).then_some(())
    });
    client
}

/// A few: each is given up, and the connection stays.
#[test]
fn a_few_windows_of_nothing() {
    let rig = impatient(large());
    let mut client = H2::client_with(rig.client_socket(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    rig.beside_another(|| {
        let ids: Vec<u32> = (0..16).map(|_| client.ask("/large")).collect();
        for id in ids {
            let answer = client.message(id);
            assert_eq!((answer.status, answer.body.len()), (200, 0));
            assert_eq!(answer.end, StreamEnd::Reset(code::CANCEL));
        }
    });
    rig.is_bounded();
    rig.comes_to_rest();
    assert_eq!(rig.resets("evenkeel"), 16);
    // It is its streams that were slow.
    client.sync();
}

/// A window that grows by a byte now and then, which is not to take anything.
#[test]
fn windows_of_one_byte() {
    let rig = impatient(large());
    let mut client = H2::client_with(rig.client_socket(), &[(setting::INITIAL_WINDOW_SIZE, 1)]);
    client.is_polite = false;
    let ids: Vec<u32> = (0..10).map(|_| client.ask("/large")).collect();
    rig.beside_another(|| {
        for _ in 0..30 {
            let frames: Vec<Frame> = ids.iter().map(|id| Frame::window_update(*id, 1)).collect();
            client.send_all(&frames);
            pause(Duration::from_millis(100));
        }
        for &id in &ids {
            let answer = client.message(id);
            assert_eq!(answer.end, StreamEnd::Reset(code::CANCEL));
            assert!(answer.body.len() < 100, "{}", answer.body.len());
        }
    });
    rig.is_bounded();
    rig.comes_to_rest();
}

/// The same as fast as it goes.
#[test]
fn a_flood_of_tiny_windows() {
    let rig = Rig::before(large(), "", "");
    let mut client = H2::client_with(rig.client_socket(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    rig.beside_another(|| {
        let id = client.ask("/large");
        client.expect(kind::HEADERS, id);
        for _ in 0..100 {
            client.send_all(&vec![Frame::window_update(id, 1); 50]);
        }
        ends_calmly(&mut client, "window_update");
    });
    assert_eq!(rig.abuses("window_update"), 1);
    rig.comes_to_rest();
}

/// All windows are open, and nothing is read.
#[test]
fn a_client_that_does_not_read() {
    let rig = impatient(large());
    let _client = rig.beside_another(|| asks_and_does_not_read(&rig));
    rig.is_bounded();
    rig.comes_to_rest();
}

fn polite() -> Endpoint {
    Endpoint::start(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    })
}

/// Bodies of this kind, of which a byte comes now and then, in as many streams as there may be;
/// until something has come of them.
fn drips(client: &mut Plain, kind: &str, what: &str, mut is_over: impl FnMut() -> bool) {
    let fields = [("content-type", kind), ("content-length", "1000000")];
    let fields = request_with("POST", "/", &fields);
    let ids: Vec<u32> = (0..100).map(|_| client.open(&fields, false)).collect();
    eventually(what, || {
        let drips: Vec<Frame> = ids.iter().map(|id| Frame::data(*id, "a", false)).collect();
        client.send_all(&drips);
        pause(Duration::from_millis(200));
        is_over().then_some(())
    });
}

/// Each keeps a connection of its endpoint's, whatever it says that it is.
#[test]
fn slow_bodies_in_many_streams() {
    for kind in ["text/plain", "application/grpc", "application/grpc-web"] {
        let rig = impatient(polite());
        let mut client = rig.client();
        rig.beside_another(|| {
            let is_over = || rig.abuses("stalled") == 1;
            drips(&mut client, kind, "it is given up", is_over);
        });
        rig.is_bounded();
        rig.comes_to_rest();
    }
}

/// Calls of gRPC are conversations, where an endpoint has them all on one connection.
#[test]
fn calls_may_be_slow() {
    let endpoint = H2Endpoint::start(&[], H2Peer::drain);
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nbody_idle = \"1s\"\n\
         [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let abuses = || proxy.metric("evenkeel_http2_abuse_total", &[]);
    let mut rounds = 0;
    let mut client = H2::connect(proxy.address("web"));
    drips(&mut client, "application/grpc", "some time", || {
        rounds += 1;
        // Others are given up after a second and a third.
        rounds == 15
    });
    client.sync();
    assert_eq!(abuses(), 0);
    // What is no call is none here either.
    let mut client = H2::connect(proxy.address("web"));
    let is_over = || abuses() == 1;
    drips(&mut client, "application/grpc-web", "given up", is_over);
}

/// Bodies that begin and do not go on, in a few.
#[test]
fn slow_bodies_in_a_few_streams() {
    let rig = impatient(polite());
    let mut client = rig.client();
    rig.beside_another(|| {
        let fields = request_with("POST", "/", &[("content-length", "1000000")]);
        let ids: Vec<u32> = (0..16).map(|_| client.open(&fields, false)).collect();
        for &id in &ids {
            client.send(&Frame::data(id, "a", false));
        }
        for id in ids {
            let answer = client.message(id);
            assert_eq!((answer.status, answer.end), (408, StreamEnd::Whole));
            client.expect_reset(id, code::NO_ERROR);
        }
    });
    rig.is_bounded();
    rig.comes_to_rest();
    // Its streams have ended, and the connection goes on.
    assert_eq!(client.get("/").text(), "hello");
}

/// Bodies that nobody takes: all that may come is a connection's window.
#[test]
fn bodies_that_wait_in_many_streams() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(head) = peer.head() {
            if head.start.starts_with("POST") {
                peer.wait_for_release();
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let rig = Rig::before(endpoint, "", "");
    let mut client = rig.client();
    rig.beside_another(|| {
        let fields = request("POST", "/");
        let ids: Vec<u32> = (0..100).map(|_| client.open(&fields, false)).collect();
        let mut room = 1024 * 1024;
        for id in ids {
            // Small pieces, which must not cost more than they are.
            for _ in 0..10 {
                client.send(&Frame::data(id, [b'x'; 1000], false));
                room -= 1000;
            }
        }
        assert!(room > 0, "within the window of the connection");
        client.sync();
    });
    rig.is_bounded();
    drop(client);
    rig.comes_to_rest();
}

/// Much more than a socket holds.
const LARGE: usize = 16 * 1024 * 1024;
