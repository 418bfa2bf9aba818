//! Large bodies that move from socket to socket without passing through our memory.
//!
//! That a body took this way cannot be told from outside but by the pipes that the program keeps
//! for the next one: the first test looks for them, and the others send bodies of the same size.

use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::cases::{get, ok, post};
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::frozen::skipped;

/// More than the buffers of four sockets, so that a read finds as much as it can take.
pub(crate) const LARGE: usize = 32 * 1024 * 1024;

/// Bytes of which no two stretches are equal.
pub(crate) fn data() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut bytes = vec![0; LARGE];
    random.fill(&mut bytes);
    bytes
}

/// Ends of pipes that the program has open.
pub(crate) fn pipes(proxy: &Evenkeel) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", proxy.id())).expect("it runs");
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// The sum of a metric over its labels.
fn sum(proxy: &Evenkeel, name: &str) -> u64 {
    let text = proxy.admin("/metrics").body.text();
    let values = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

#[test]
fn a_large_response_is_spliced_and_both_connections_go_on() {
    let body = data();
    let endpoint = Endpoint::answers(ok(format!("Content-Length: {LARGE}"), &body));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let before = pipes(&proxy);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(get(""));
        let response = client.response();
        assert!(response.is_whole() && response.body.data == body);
    }
    assert!(pipes(&proxy) > before, "nothing was spliced");
    assert_eq!(endpoint.connections(), 1, "the connection is used again");
    let counted = || sum(&proxy, "evenkeel_http_response_bytes_total{");
    eventually("all bytes are counted", || {
        (counted() == 3 * LARGE as u64).then_some(())
    });
}

#[test]
fn a_large_request_is_spliced_and_both_connections_go_on() {
    let body = data();
    let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let before = pipes(&proxy);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(post(format!("Content-Length: {LARGE}"), &body));
        assert_eq!(client.response().status, 200);
    }
    assert!(
        endpoint
            .requests()
            .iter()
            .all(|request| request.body.data == body)
    );
    assert_eq!(endpoint.requests().len(), 2);
    assert!(pipes(&proxy) > before, "nothing was spliced");
    assert_eq!(endpoint.connections(), 1, "the connection is used again");
    eventually("all bytes are counted", || {
        let counted = sum(&proxy, "evenkeel_http_request_bytes_total{");
        (counted == 2 * LARGE as u64).then_some(())
    });
}

/// What a relay asks of the kernel while something passes, by strace; `None` where it is not
/// installed, or may not look.
pub(crate) fn calls(proxy: &Evenkeel, during: impl FnOnce()) -> Option<String> {
    let report = proxy.path("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-c", "-e", "trace=splice,recvfrom,sendto"])
        .args(["-p", &proxy.id().to_string(), "-o"])
        .arg(&report)
        .stderr(Stdio::piped())
        .spawn();
    let Ok(strace) = &mut strace else {
        return skipped("strace is not installed");
    };
    // Attached once the kernel says so of every thread.
    let is_traced = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("it runs");
        tasks.flatten().all(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let tracer = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_none_or(|tracer| tracer.trim() != "0")
        })
    };
    let attached = eventually("strace looks, or may not", || {
        let over = strace.try_wait().expect("our own child").is_some();
        (over || is_traced()).then_some(!over)
    });
    if !attached {
        return skipped("strace may not look at processes here");
    }
    during();
    let id = i32::try_from(strace.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has an id"), Signal::INT).expect("it runs");
    strace.wait().expect("our own child");
    Some(fs::read_to_string(report).expect("strace has written"))
}

/// How often something was asked, by the report of strace.
pub(crate) fn times(report: &str, call: &str) -> usize {
    let mut lines = report.lines();
    let line = lines.find(|line| line.split(' ').next_back() == Some(call));
    line.map_or(0, |line| {
        let number = line.split_whitespace().nth(3);
        let number = number.and_then(|number| number.parse().ok());
        number.expect("a number of calls")
    })
}

/// Without strace: that much is spliced at all, and that whatever was in a pipe arrives.
#[test]
fn what_is_much_takes_pipes_through_a_relay() {
    let body = data();
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let before = pipes(&proxy);
    let mut client = proxy.client();
    client.send("little");
    assert_eq!(client.bytes(6), b"little");
    assert_eq!(pipes(&proxy), before, "little was spliced");
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&body));
        assert!(client.bytes(LARGE) == body, "bytes changed on their way");
    });
    assert!(pipes(&proxy) > before, "nothing was spliced");
}

#[test]
fn a_relay_splices_what_is_much_and_copies_what_is_little() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    let body = data();
    let echo = |client: &mut Client, bytes: &[u8]| {
        let mut writer = client.twin();
        thread::scope(|scope| {
            scope.spawn(|| writer.send(bytes));
            assert!(
                client.bytes(bytes.len()) == bytes,
                "bytes changed on their way"
            );
        });
    };
    let much = calls(&proxy, || echo(&mut client, &body));
    let Some(much) = much else { return };
    let spliced = times(&much, "splice");
    // There and back, into a pipe and out of it, at most 256 KiB each time.
    assert!(spliced >= 4 * LARGE / (256 * 1024), "{spliced} splices");
    let little = calls(&proxy, || {
        for _ in 0..500 {
            echo(&mut client, b"a question, and its answer");
        }
    });
    let Some(little) = little else { return };
    let (spliced, copied) = (times(&little, "splice"), times(&little, "recvfrom"));
    assert!(copied >= 900, "{copied} reads");
    assert!(spliced < 50, "{spliced} splices of a few bytes each");
}

#[test]
fn a_response_that_lasts_until_the_close_is_whole() {
    let body = data();
    let endpoint = Endpoint::answers_and_closes(ok("X-A: b", &body));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert!(response.body.data == body, "the body changed on its way");
    assert!(client.is_closed());
}

#[test]
fn a_response_that_is_cut_looks_cut() {
    let body = data();
    for (head, request) in [
        (format!("Content-Length: {}", LARGE + 1), get("")),
        ("X-A: b".to_owned(), get("")),
        // Only a reset tells this one from a whole response.
        (
            "X-A: b".to_owned(),
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_vec(),
        ),
    ] {
        let endpoint = Endpoint::resets_after(ok(head, &body));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        for connections in 1..=2 {
            let mut client = proxy.client();
            client.send(&request);
            let response = client.try_response_to("GET");
            assert!(!response.is_ok_and(|response| response.is_whole()));
            // The next one gets a connection of its own.
            assert_eq!(endpoint.connections(), connections);
        }
    }
}

#[test]
fn what_a_lost_client_leaves_in_a_pipe_reaches_nobody() {
    let body = data();
    let endpoint = Endpoint::answers(ok(format!("Content-Length: {LARGE}"), &body));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send(get(""));
        drop(client.bytes(300_000));
        pause(Duration::from_millis(100)); // until all on the way is full
        client.abort();
    }
    let mut client = proxy.client();
    client.send(get(""));
    let response = client.response();
    assert!(response.is_whole() && response.body.data == body);
}

#[test]
fn more_bodies_than_there_are_pipes_arrive_all_the_same() {
    let body = data();
    let body = body[..1024 * 1024].to_vec();
    let endpoint = Endpoint::answers(ok(format!("Content-Length: {}", body.len()), &body));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut clients: Vec<_> = (0..100).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(get(""));
    }
    pause(Duration::from_millis(300)); // all wait for their readers
    for client in &mut clients {
        let response = client.response();
        assert!(response.is_whole() && response.body.data == body);
    }
}

#[test]
fn a_reader_that_stops_is_cut_after_the_limit() {
    let body = data();
    let endpoint = Endpoint::answers(ok(format!("Content-Length: {LARGE}"), &body));
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nbody_idle = \"300ms\"\n\
         [listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send(get(""));
    drop(client.bytes(300_000));
    eventually("it is logged as a timeout", || {
        let log = proxy.log();
        let line = log
            .lines()
            .find(|line| line.contains("\"kind\":\"access\""))?;
        assert!(line.contains(r#""end":"timeout""#), "{line}");
        Some(())
    });
}

#[test]
fn a_response_may_come_while_a_large_request_is_drawn() {
    let body = data();
    let endpoint = Endpoint::start(move |peer| {
        if peer.head().is_some() {
            drop(peer.bytes(1024 * 1024));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
            peer.drain();
        }
    });
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let mut reader = client.twin();
    let sending = thread::spawn(move || {
        client.send(post(format!("Content-Length: {LARGE}"), &body));
        client
    });
    let response = reader.response();
    assert_eq!(
        (response.status, response.body.data),
        (200, b"early".to_vec())
    );
    drop(sending.join());
}
