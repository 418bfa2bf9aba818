//! Requests that share a connection to their endpoint: what one client does not do, or what becomes
//! of the connection, is nothing that the others come to feel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::client::connected;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::request;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, kind, setting};
use crate::support::h2::{H2, value};
use crate::support::tls::Authority;

/// An endpoint of a download without end, and how many pieces of it have gone.
fn endless() -> (Endpoint, Arc<AtomicUsize>) {
    let pieces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pieces);
    let endpoint = Endpoint::start(move |peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 64 * 1024];
        while peer.try_send(&piece) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (endpoint, pieces)
}

/// An endpoint that tells each held request of something before its response, gives the connection
/// a window when it is told to, and answers the first other one whose body comes.
fn hints(heads: &Arc<AtomicUsize>) -> H2Endpoint {
    let heads = Arc::clone(heads);
    H2Endpoint::start(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)], move |peer| {
        peer.is_polite = false;
        let (mut held, mut other) = (Vec::new(), 0);
        for _ in 0..=HELD {
            let asked = peer.head().expect("a request");
            match value(&asked.fields, ":path") {
                Some("/held") => held.push(asked.stream),
                _ => other = asked.stream,
            }
            heads.fetch_add(1, Ordering::Relaxed);
        }
        peer.wait_for_release();
        for id in held {
            peer.begin_answer(id, 103, &[("link", "</a.css>; rel=preload")], false);
        }
        // It has come, and those that wait for it have looked at it.
        peer.sync();
        peer.sync();
        peer.send(&Frame::window_update(0, 16 << 20));
        peer.expect(kind::DATA, other);
        peer.answer(other, 200, &[], "taken");
        peer.drain();
    })
}

/// A client takes nothing, also of what its uploads are told before they have left.
#[test]
fn interim_responses_that_nobody_takes_hold_up_no_other_body() {
    let heads = Arc::new(AtomicUsize::new(0));
    let (endpoint, (files, pieces)) = (hints(&heads), endless());
    let proxy = Evenkeel::start(&format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         upstream = \"api\"\n[route.files]\npath = \"/large\"\nupstream = \"files\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n\
         [upstream.files]\nendpoints = [\"{}\"]\n",
        endpoint.address(),
        files.address()
    ));
    let come = |count| {
        eventually("the heads have come", || {
            (heads.load(Ordering::Relaxed) == count).then_some(())
        });
    };
    let wide = [(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)];
    let mut silent = H2::client_with(connected(proxy.address("web")), &wide);
    silent.send(&Frame::window_update(0, 0x7fff_0000 - 65_535));
    silent.sync(); // with its settings acknowledged it is let be
    for _ in 0..HELD {
        let id = silent.open(&request("POST", "/held"), false);
        silent.send(&Frame::data(id, [b'x'; 16 * 1024], false));
        silent.send(&Frame::data(id, [b'x'; 16 * 1024], true));
    }
    come(HELD);
    let mut other = proxy.client();
    other.send("POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    come(HELD + 1);
    silent.ask("/large");
    eventually("nothing goes to the client that does not read", || {
        let before = pieces.load(Ordering::Relaxed);
        pause(Duration::from_millis(300));
        (before > 0 && pieces.load(Ordering::Relaxed) == before).then_some(())
    });
    endpoint.release();
    let response = other.response();
    assert_eq!(
        (response.status, response.body.text()),
        (200, "taken".to_owned())
    );
}

/// Answers a few requests, says that the last of them was its last, and resets the connection with
/// whatever is on it.
fn leaves_by_a_reset(peer: &mut H2Peer) {
    for _ in 1..SERVED {
        let Some(request) = peer.request() else {
            return;
        };
        peer.answer(request.id, 200, &[], "done");
    }
    let Some(request) = peer.request() else {
        return;
    };
    // With nothing under way the kernel holds back none of the last words, which are one write.
    peer.sync();
    peer.send_all(&[
        Frame::headers(request.id, &[(":status", "200")], false),
        Frame::data(request.id, "done", true),
        Frame::goaway(request.id, code::NO_ERROR, "enough"),
    ]);
    peer.stream().reset();
}

/// Many clients post at once; each gets its answer, and nothing is done twice.
fn all_are_answered(proxy: &Evenkeel, endpoint: &H2Endpoint) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..POSTS {
                    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
                    let response = client.response();
                    assert_eq!(response.status, 200, "{response:?}");
                    assert_eq!(response.body.text(), "done");
                }
            });
        }
    });
    assert_eq!(endpoint.requests().len(), CLIENTS * POSTS);
    assert!(endpoint.connections() >= CLIENTS * POSTS / SERVED);
}

#[test]
fn a_post_survives_an_endpoint_that_leaves_by_a_reset() {
    let endpoint = H2Endpoint::start(&[], leaves_by_a_reset);
    let proxy = Evenkeel::start(&format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    all_are_answered(&proxy, &endpoint);
}

#[test]
fn a_post_survives_an_endpoint_that_leaves_a_session_by_a_reset() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let endpoint = H2Endpoint::start_within_tls(&certified, &[], leaves_by_a_reset);
    let ca = vec![("ca.pem".to_owned(), authority.pem())];
    let config = format!(
        "workers = 1\n[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nprotocol = \"h2\"\nendpoints = [\"{}\"]\n\
         tls = {{ ca = \"ca.pem\", server_name = \"api.test\" }}\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start_among(&ca, &config);
    all_are_answered(&proxy, &endpoint);
}

/// Uploads that fit no window of a connection together.
const HELD: usize = 50;

const CLIENTS: usize = 8;

/// Of each client.
const POSTS: usize = 25;

/// Of each connection of the endpoint.
const SERVED: usize = 5;
