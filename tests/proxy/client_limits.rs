//! `[listener.<name>.limits]`: by client, by network, by time, and who waits for a place; over TCP,
//! HTTP and TLS, over several workers and reloads. And `timeouts.first_byte`.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::clock::{PATIENCE, eventually};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::tls::{Authority, Hello};
use crate::support::unix;

/// A client with an address of its own: all of 127.0.0.0/8 is this machine.
fn from(address: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((Ipv4Addr::from(address), 0));
    socket
        .bind(&own.into())
        .expect("an address of this machine");
    socket.connect(&to.into()).expect("the kernel accepts");
    let stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Client::over(stream)
}

/// Whether a client is served; one that is not is reset.
fn is_served(client: &mut Client) -> bool {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    match client.try_response_to("GET") {
        Ok(response) => {
            assert_eq!(response.status, 200);
            true
        }
        Err(_) => false,
    }
}

fn refused(proxy: &Evenkeel, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric("evenkeel_connections_refused_total", &[&reason])
}

fn config(endpoint: &Endpoint, lines: &str) -> String {
    format!(
        "workers = 3\n[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n{lines}\n",
        endpoint.address()
    )
}

#[test]
fn a_client_has_so_many_connections_over_all_workers() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start(&config(&endpoint, "limits = { per_client = 3 }"));
    let web = proxy.address("web");
    let mut clients: Vec<_> = (0..3).map(|_| from([127, 0, 0, 1], web)).collect();
    assert!(clients.iter_mut().all(is_served));
    for _ in 0..5 {
        assert!(!is_served(&mut from([127, 0, 0, 1], web)));
    }
    assert!(is_served(&mut from([127, 0, 0, 2], web)), "another client");
    assert_eq!(refused(&proxy, "per_client"), 5);
    assert!(clients.iter_mut().all(is_served), "those that are in stay");
    drop(clients.pop());
    eventually("there is room again", || {
        is_served(&mut from([127, 0, 0, 1], web)).then_some(())
    });
}

#[test]
fn a_network_has_so_many_and_a_reload_forgets_none() {
    let endpoint = Endpoint::sends_back();
    let text = |limits: &str| config(&endpoint, &format!("protocols = [\"tcp\"]\n{limits}"));
    let mut proxy = Evenkeel::start(&text("limits = { per_subnet = 2 }"));
    let web = proxy.address("web");
    let echoes = |client: &mut Client| {
        client.send("hello");
        client.try_bytes(5).is_ok()
    };
    let mut clients = [from([127, 0, 9, 1], web), from([127, 0, 9, 2], web)];
    assert!(clients.iter_mut().all(echoes));
    assert!(!echoes(&mut from([127, 0, 9, 3], web)));
    assert!(echoes(&mut from([127, 0, 10, 1], web)));
    proxy.reload(&text("limits = { per_subnet = 2, wait = \"1s\" }"));
    assert!(!echoes(&mut from([127, 0, 9, 4], web)));
    proxy.reload(&text("limits = { per_subnet = 3 }"));
    assert!(echoes(&mut from([127, 0, 9, 5], web)));
    assert_eq!(refused(&proxy, "per_subnet"), 2);
    assert!(clients.iter_mut().all(echoes));
}

#[test]
fn connections_come_no_faster_than_they_may() {
    let endpoint = Endpoint::echo();
    let limits = "limits = { rate = { rate = \"1/h\", burst = 4 }, rate_per_client = \"2/h\" }";
    let proxy = Evenkeel::start(&config(&endpoint, limits));
    let web = proxy.address("web");
    for served in [true, true, false, false] {
        assert_eq!(is_served(&mut from([127, 0, 0, 1], web)), served);
    }
    // Who was refused has taken nothing from the others.
    for served in [true, true, false] {
        assert_eq!(is_served(&mut from([127, 0, 0, 2], web)), served);
    }
    assert!(!is_served(&mut from([127, 0, 0, 3], web)));
    let counted = ["rate_per_client", "rate"].map(|reason| refused(&proxy, reason));
    assert_eq!(counted, [2, 2]);
    assert_eq!(proxy.metric("evenkeel_connections_untracked_total", &[]), 0);
}

#[test]
fn tls_is_not_begun_with_those_who_are_too_many() {
    let endpoint = Endpoint::echo();
    let authority = Authority::new();
    let certified = authority.certify(&["a"]);
    let text = format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n\
         tls.certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n\
         limits = {{ per_client = 1 }}\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start_among(&certified.files("a"), &text);
    let mut client = Hello::to("a", &authority).begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
    let refusal = Hello::to("a", &authority).refusal(proxy.address("web"));
    assert_eq!(
        refusal.kind(),
        std::io::ErrorKind::ConnectionReset,
        "{refusal}"
    );
    let handshakes = proxy.metric("evenkeel_tls_handshakes_total", &["result=\"ok\""]);
    assert_eq!(handshakes, 1);
    assert_eq!(refused(&proxy, "per_client"), 1);
}

#[test]
fn who_comes_when_all_is_full_waits_for_a_place() {
    let gated = Gated::answering("done");
    let lines = "max_connections = 2\nlimits = { wait = \"20s\" }";
    let proxy = Evenkeel::start(&config(gated.endpoint(), lines));
    let mut held = [proxy.client(), proxy.client()];
    for client in &mut held {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    gated.wait_for(2);
    let mut waiting: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    eventually("all of them wait", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 6).then_some(())
    });
    gated.open();
    for client in held.iter_mut().chain(&mut waiting) {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(proxy.metric("evenkeel_connections_waiting", &[]), 0);
    let counted = ["full", "queue_timeout"].map(|reason| refused(&proxy, reason));
    assert_eq!(counted, [0, 0]);
}

#[test]
fn who_has_waited_in_vain_is_reset_and_who_goes_away_is_forgotten() {
    let endpoint = Endpoint::echo();
    let text = |lines: &str| config(&endpoint, &format!("max_connections = 1\n{lines}"));
    let mut proxy = Evenkeel::start(&text("limits = { wait = \"50ms\" }"));
    let mut held = proxy.client();
    assert!(is_served(&mut held));
    assert!(proxy.client().is_reset());
    assert_eq!(refused(&proxy, "queue_timeout"), 1);
    proxy.reload(&text("limits = { wait = \"1h\" }"));
    let gone = proxy.client();
    eventually("it waits", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 1).then_some(())
    });
    gone.abort();
    eventually("nobody waits", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 0).then_some(())
    });
    // Without waiting the answer is at once.
    proxy.reload(&text(""));
    assert!(proxy.client().is_reset());
    assert_eq!(refused(&proxy, "full"), 1);
    assert!(is_served(&mut held));
}

#[test]
fn a_rate_holds_for_a_unix_socket_too() {
    let sockets = unix::Sockets::new("limits");
    let endpoint = Endpoint::echo();
    let text = format!(
        "[listener.web]\nbind = \"{}\"\nto = [\"{}\"]\nlimits = {{ rate = \"1/h\" }}\n",
        sockets.written("web.sock"),
        endpoint.address()
    );
    let proxy = Evenkeel::start(&text);
    assert_eq!(unix::client(&sockets.path("web.sock")).get("/").status, 200);
    assert!(unix::client(&sockets.path("web.sock")).is_closed());
    assert_eq!(refused(&proxy, "rate"), 1);
}

#[test]
fn a_tcp_client_that_says_nothing_is_dropped() {
    let quiet = Endpoint::sends_back();
    let greets = Endpoint::start(|peer| {
        peer.send("220 ready\r\n");
        peer.send_all_back();
    });
    let text = format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nto = [\"{}\"]\n\
         [listener.mail]\nbind = \"@mail\"\nprotocols = [\"tcp\"]\nto = [\"{}\"]\n\
         [defaults.timeouts]\nfirst_byte = \"100ms\"\n",
        quiet.address(),
        greets.address()
    );
    let proxy = Evenkeel::start(&text);
    assert!(proxy.client().is_reset());
    let result = ["listener=\"web\"", "result=\"silent\""];
    eventually("it is counted", || {
        (proxy.metric("evenkeel_l4_sessions_total", &result) == 1).then_some(())
    });
    // Where the endpoint speaks first, the client may take its time.
    let mut mail = Client::connect(proxy.address("mail"));
    assert_eq!(mail.bytes(11), b"220 ready\r\n");
    assert!(mail.is_quiet());
    mail.send("QUIT");
    assert_eq!(mail.bytes(4), b"QUIT");
    // And so may one that has spoken.
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    assert!(client.is_quiet());
    client.send("again");
    assert_eq!(client.bytes(5), b"again");
}

#[test]
fn a_silent_client_of_http_and_of_tls_is_dropped() {
    let endpoint = Endpoint::echo();
    let authority = Authority::new();
    let certified = authority.certify(&["a"]);
    let text = format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{0}\"]\n\
         [listener.clear]\nbind = \"@clear\"\nto = [\"{0}\"]\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         [listener.safe]\nbind = \"@safe\"\nto = [\"{0}\"]\n\
         tls.certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n\
         [defaults.timeouts]\nclient_idle = \"100ms\"\ntls_handshake = \"100ms\"\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start_among(&certified.files("a"), &text);
    // Held until the end: it is the proxy that goes.
    let mut silent = Vec::new();
    for listener in ["web", "clear", "safe"] {
        silent.push(Client::connect(proxy.address(listener)));
    }
    // After the handshake the time without a request counts, whichever version is spoken.
    let mut shaken = Vec::new();
    for protocols in [&["h2"][..], &[]] {
        let mut hello = Hello::to("a", &authority);
        hello.protocols = protocols;
        shaken.push(hello.begin(proxy.address("safe")));
    }
    eventually("all have come, and gone", || {
        let accepted = proxy.metric("evenkeel_connections_accepted_total", &[]);
        let open = proxy.metric("evenkeel_connections", &[]);
        (accepted == 5 && open == 0).then_some(())
    });
    assert!(silent.iter_mut().take(2).all(Client::is_closed));
    let waiting = proxy.metric("evenkeel_tls_handshakes_total", &["result=\"timeout\""]);
    assert_eq!(waiting, 1);
    drop((silent, shaken));
}
