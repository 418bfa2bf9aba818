//! Bodies on their way: of any size, with back-pressure, cut off at either end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::cases::{get, ok, post};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Broken;

const MEBIBYTE: usize = 1024 * 1024;

/// Bytes of which no two stretches are equal, so that loss, repetition and exchange all show.
fn data(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..length).map(|_| random.u8(..)).collect()
}

/// The data in chunks of changing sizes.
fn in_chunks(data: &[u8]) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(2);
    let mut out = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let limit = if random.bool() { 64 } else { 100_000 };
        let (piece, behind) = rest.split_at(random.usize(1..=limit).min(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = behind;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Memory of the program that is in RAM, in bytes.
fn resident(proxy: &Evenkeel) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("Linux says so");
    let kibibytes: usize = line
        .trim_end_matches("kB")
        .trim()
        .parse()
        .expect("a number");
    kibibytes * 1024
}

#[test]
fn a_large_body_arrives_as_it_was_sent() {
    let body = data(8 * MEBIBYTE);
    let length = body.len();
    for bytes in [
        post(format!("Content-Length: {length}"), &body),
        post("Transfer-Encoding: chunked", in_chunks(&body)),
    ] {
        let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(client.response().status, 200);
        assert!(
            endpoint.request().body.data == body,
            "the body changed on its way"
        );
    }
}

#[test]
fn a_large_response_arrives_as_it_was_sent() {
    let body = data(8 * MEBIBYTE);
    let length = body.len();
    for (bytes, closes) in [
        (ok(format!("Content-Length: {length}"), &body), false),
        (ok("Transfer-Encoding: chunked", in_chunks(&body)), false),
        (ok("X-A: b", &body), true),
    ] {
        let endpoint = if closes {
            Endpoint::answers_and_closes(bytes)
        } else {
            Endpoint::answers(bytes)
        };
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get(""));
        let response = client.response();
        assert!(
            response.is_whole() && response.body.data == body,
            "the body changed on its way"
        );
    }
}

#[test]
fn both_directions_may_flow_at_once() {
    // The endpoint sends each piece back before it has seen the next one.
    let endpoint = Endpoint::start(|peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
            for _ in 0..100 {
                let piece = peer.bytes(10);
                peer.send(piece);
            }
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 1000", ""));
    client.send("0123456789");
    let head = client
        .head()
        .expect("the response may come before the request has ended");
    assert_eq!(head.status(), Ok(200));
    for at in 0..100 {
        assert_eq!(client.bytes(10), b"0123456789");
        if at < 99 {
            client.send("0123456789");
        }
    }
}

#[test]
fn a_reader_that_does_not_read_costs_no_memory() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let endpoint = Endpoint::start(move |peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            let piece = vec![b'a'; 64 * 1024];
            while peer.try_send(&piece) {
                counter.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let before = resident(&proxy);
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(get(""));
    }
    // It flows until every buffer on the way is full, and then stands.
    eventually("the endpoint is held up", || {
        let earlier = sent.load(Ordering::Relaxed);
        pause(Duration::from_millis(300));
        let later = sent.load(Ordering::Relaxed);
        (earlier > 0 && earlier == later).then_some(())
    });
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "{grown} bytes more");
    // The kernel's buffers on four connections with two sides each, and little of our own.
    let taken = sent.load(Ordering::Relaxed);
    assert!(taken < 128 * MEBIBYTE, "{taken} bytes were taken");
}

#[test]
fn an_endpoint_that_does_not_read_costs_no_memory() {
    let endpoint = Endpoint::never_reads();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let before = resident(&proxy);
    let mut client = proxy.client();
    client.send(post("Content-Length: 1073741824", ""));
    let piece = vec![b'a'; 256 * MEBIBYTE];
    let taken = client.send_until_blocked(&piece, Duration::from_millis(500));
    assert!(taken < 64 * MEBIBYTE, "{taken} bytes were taken");
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "{grown} bytes more");
}

#[test]
fn a_response_may_overtake_the_body() {
    let endpoint =
        Endpoint::answers_early("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 100000000", "hello"));
    let response = client.response();
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (413, "big")
    );
}

#[test]
fn a_response_reaches_a_client_that_is_still_sending() {
    // The endpoint answers, and closes without having read what the client goes on sending.
    let endpoint = Endpoint::start(|peer| {
        if peer.head().is_some() {
            peer.send(
                "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
            );
            pause(Duration::from_millis(50));
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(post("Content-Length: 20000000", ""));
    client.send_until_blocked(&vec![b'a'; 20_000_000], Duration::from_secs(1));
    let response = client.response();
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (413, "big")
    );
}

#[test]
fn a_client_that_goes_away_ends_the_work_for_it() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    for (name, endpoint, request) in [
        ("before the head", Endpoint::stalls_after(""), get("")),
        ("after the head", Endpoint::stalls_after(head), get("")),
        (
            "within its own body",
            Endpoint::echo(),
            post("Content-Length: 10", "hello"),
        ),
        (
            "within its own chunks",
            Endpoint::echo(),
            post("Transfer-Encoding: chunked", "a\r\nhello"),
        ),
    ] {
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(request);
        eventually("the endpoint has the request", || {
            (!endpoint.raw().concat().is_empty()).then_some(())
        });
        client.abort();
        let end = eventually(name, || endpoint.ends().first().cloned());
        assert!(!matches!(end, Broken::Silent(_)), "{name}: {end:?}");
        if name.starts_with("within") {
            assert!(
                endpoint.requests().is_empty(),
                "{name}: a cut body looked whole"
            );
        }
    }
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answers() {
    let step = Duration::from_millis(3);
    let endpoint =
        Endpoint::answers_slowly("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", step);
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send([get(""), get("")].concat()).finish();
    for _ in 0..2 {
        let response = client.response();
        assert_eq!(
            (response.status, response.body.text().as_str()),
            (200, "hello")
        );
    }
    assert!(client.is_closed());
}

#[test]
fn nobody_works_for_long_for_a_client_that_has_ended_its_side() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"] {
        let endpoint = Endpoint::stalls_after(head);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(get("")).finish();
        endpoint.wait_for_end();
    }
}

#[test]
fn a_body_that_stands_still_is_cut() {
    let endpoint = Endpoint::stalls_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nbody_idle = \"300ms\"\n[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send(get(""));
    assert!(!client.response().is_whole());
    // A client's own body that stands still.
    let mut client = proxy.client();
    client.send(post("Content-Length: 10", "hello"));
    let rest = client.read_to_end();
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
        "{rest:?}"
    );
}

#[test]
fn progress_keeps_a_slow_body_alive() {
    let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    let endpoint = Endpoint::answers_slowly(bytes, Duration::from_millis(20));
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nbody_idle = \"150ms\"\n[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send(get(""));
    assert_eq!(client.response().body.text(), "0123456789");
}

#[test]
fn clients_do_not_disturb_each_other() {
    let endpoint = Endpoint::echo();
    let proxy = Arc::new(Evenkeel::forwarding_to(&endpoint));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let proxy = Arc::clone(&proxy);
            thread::spawn(move || {
                let mut client = proxy.client();
                for at in 0..50 {
                    let body = format!("{number} {at}").repeat(at * 7 + 1);
                    let length = body.len();
                    client.send(post(format!("Content-Length: {length}"), &body));
                    let response = client.response();
                    assert_eq!(response.status, 200);
                    assert!(response.body.text().ends_with(&body));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no client failed");
    }
}
