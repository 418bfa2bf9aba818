//! The end: nobody notices it who need not.

use rustix::process::Signal;

use crate::cases::get;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;

fn start(endpoint: &Endpoint, shutdown: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start(&format!(
        "[shutdown]\n{shutdown}\n[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    ))
}

#[test]
fn an_idle_instance_ends_at_once() {
    let endpoint = Endpoint::echo();
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = start(&endpoint, "grace = \"0s\"");
        let mut client = proxy.client();
        client.send(get(""));
        assert_eq!(client.response().status, 200);
        proxy.signal(signal);
        assert!(client.is_closed());
        assert!(proxy.wait_for_exit().success());
        let log = proxy.log();
        assert!(log.contains("nothing was cut"), "{log}");
    }
}

#[test]
fn during_grace_it_serves_and_says_goodbye() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "grace = \"2s\"");
    let mut open = proxy.client();
    open.send(get(""));
    assert_eq!(
        open.response().head.list("connection"),
        Vec::<String>::new()
    );
    proxy.signal(Signal::TERM);
    eventually("it is not ready", || {
        (proxy.admin("/readyz").status == 503).then_some(())
    });
    assert_eq!(proxy.admin("/livez").status, 200);
    // On a connection that was open, and on a new one.
    for mut client in [open, proxy.client()] {
        client.send(get(""));
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.head.list("connection"), ["close"]);
        assert!(client.is_closed());
    }
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn what_runs_is_finished() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            let rest = peer.wait_for_release();
            peer.send(rest);
        }
    });
    let mut proxy = start(&endpoint, "grace = \"0s\"");
    let mut client = proxy.client();
    client.send(get(""));
    assert_eq!(client.head().and_then(|head| head.status()), Ok(200));
    proxy.signal(Signal::TERM);
    let address = proxy.address("web");
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    endpoint.release("56789");
    assert_eq!(client.bytes(10), b"0123456789");
    assert!(client.is_closed());
    assert!(proxy.wait_for_exit().success());
    assert!(proxy.log().contains("nothing was cut"));
}

#[test]
fn what_does_not_end_is_cut_and_counted() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let mut proxy = start(&endpoint, "grace = \"0s\"\ndrain = \"300ms\"");
    let mut client = proxy.client();
    client.send(get("Connection: upgrade\r\nUpgrade: websocket"));
    assert_eq!(client.response().status, 101);
    proxy.signal(Signal::TERM);
    assert!(client.is_closed());
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("1 connection was cut"), "{log}");
}

#[test]
fn a_request_that_is_cut_is_told_of() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/begun" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            }
        }
    });
    let mut proxy = start(&endpoint, "grace = \"0s\"\ndrain = \"300ms\"");
    let mut waiting = proxy.client();
    waiting.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut begun = proxy.client();
    begun.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(begun.head().and_then(|head| head.status()), Ok(200));
    assert_eq!(begun.bytes(5), b"01234");
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(
        log.contains("2 connections were cut, with 2 requests"),
        "{log}"
    );
    let logged = |path: &str| -> serde_json::Value {
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains(path)).expect("a line");
        serde_json::from_str(line).expect("JSON")
    };
    for (path, status, size) in [("/waiting", 503, 0), ("/begun", 200, 5)] {
        let line = logged(path);
        assert_eq!(line["http.response.status_code"], status, "{line}");
        assert_eq!(line["http.response.body.size"], size, "{line}");
        assert_eq!(line["end"], "shed", "{line}");
        assert_eq!(line["error.type"], "draining", "{line}");
        assert_eq!(line["attempts"], 1, "{line}");
        // The time was the endpoint's, not ours.
        let seconds = |field: &str| line[field].as_f64().expect("a number");
        assert!(seconds("overhead_s") < seconds("total_s") / 2.0, "{line}");
    }
}

#[test]
fn a_second_signal_ends_the_wait() {
    let endpoint = Endpoint::stalls_after("");
    let mut proxy = start(&endpoint, "grace = \"1h\"\ndrain = \"1h\"");
    let mut client = proxy.client();
    client.send(get(""));
    eventually("it runs", || {
        (!endpoint.requests().is_empty()).then_some(())
    });
    proxy.signal(Signal::TERM);
    eventually("it drains", || {
        (proxy.admin("/readyz").status == 503).then_some(())
    });
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    assert!(client.is_closed());
}

#[test]
fn after_grace_nobody_is_let_in_and_who_rests_is_sent_away() {
    let slow = Gated::answering("late");
    let mut proxy = start(slow.endpoint(), "grace = \"300ms\"");
    let mut resting = proxy.client();
    let mut busy = proxy.client();
    busy.send(get(""));
    slow.wait_for(1);
    proxy.signal(Signal::TERM);
    assert!(resting.is_closed());
    let address = proxy.address("web");
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    // What was asked before is answered, and the answer says that it is the last one.
    slow.open();
    let response = busy.response();
    assert_eq!(response.body.text(), "late");
    assert_eq!(response.head.list("connection"), ["close"]);
    assert!(busy.is_closed());
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

#[test]
fn a_body_on_its_way_in_is_taken_to_its_end() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "grace = \"0s\"");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    eventually("the first half is there", || {
        let raw = endpoint.raw().concat();
        raw.ends_with(b"01234").then_some(())
    });
    proxy.signal(Signal::TERM);
    let address = proxy.address("web");
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    client.send("56789");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(response.body.text().ends_with("0123456789"));
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn a_second_signal_ends_the_drain_and_says_what_it_cost() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.head.value("upgrade").is_some() {
                peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
                return peer.send_all_back();
            }
            // Begins an answer, and never ends it.
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
        }
    });
    let mut proxy = start(&endpoint, "grace = \"0s\"\ndrain = \"1h\"");
    let mut tunnels = [(); 2].map(|()| proxy.client());
    for tunnel in &mut tunnels {
        tunnel.send(get("Connection: upgrade\r\nUpgrade: websocket"));
        assert_eq!(tunnel.response().status, 101);
    }
    let mut download = proxy.client();
    download.send(get(""));
    assert_eq!(download.head().and_then(|head| head.status()), Ok(200));
    proxy.signal(Signal::TERM);
    let address = proxy.address("web");
    eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    // Whoever stays is served on.
    for tunnel in &mut tunnels {
        tunnel.send("still here");
        assert_eq!(tunnel.bytes(10), b"still here");
    }
    proxy.signal(Signal::INT);
    assert!(proxy.wait_for_exit().success());
    assert!(
        tunnels
            .iter_mut()
            .all(crate::support::client::Client::is_closed)
    );
    assert_eq!(download.read_to_end(), b"01234");
    let log = proxy.log();
    assert!(
        log.contains("ended early by a second signal, 3 connections were cut"),
        "{log}"
    );
}

#[test]
fn whoever_ends_changes_nothing_any_more() {
    let endpoint = Endpoint::stalls_after("");
    let proxy = start(&endpoint, "grace = \"1h\"");
    proxy.signal(Signal::TERM);
    eventually("it is not ready", || {
        (proxy.admin("/readyz").status == 503).then_some(())
    });
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("about to end"), "{said}");
    assert_eq!(proxy.generation(), 1);
}
