//! The end: nobody notices it who need not.

use rustix::process::Signal;

use crate::cases::get;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

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
