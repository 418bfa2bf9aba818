//! `[listener.<name>.limits]`: by client, by network, by time, and who waits for a place; over TCP,
//! HTTP and TLS, over several workers and reloads. And `timeouts.first_byte`.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::clock::{PATIENCE, eventually};
use crate::support::endpoint::{Endpoint, Request};
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
fn the_status_tells_who_is_near_a_limit() {
    let endpoint = Endpoint::echo();
    let limits = "max_connections = 5\nlimits = { per_client = 3, per_subnet = 50, wait = \"1m\" }";
    let proxy = Evenkeel::start(&config(&endpoint, limits));
    let web = proxy.address("web");
    let mut clients: Vec<_> = (0..5).map(|n| from([127, 0, 0, 1 + n / 3], web)).collect();
    assert!(clients.iter_mut().all(is_served));
    let _waiting = [from([127, 0, 0, 3], web), from([127, 0, 0, 4], web)];
    let listener = eventually("two wait", || {
        let listener = proxy.admin_json("/v1/listeners")[0].clone();
        (listener["waiting"] == 2).then_some(listener)
    });
    let client = serde_json::json!(
        { "limit": 3, "connections": 3, "who": "127.0.0.1", "full": 1 }
    );
    let network = serde_json::json!(
        { "limit": 50, "connections": 7, "who": "127.0.0.0/24", "full": 0 }
    );
    assert_eq!(listener["per_client"], client, "{listener}");
    assert_eq!(listener["per_subnet"], network, "{listener}");
    let screen = proxy.command(&["status"]).stdout;
    let screen = String::from_utf8_lossy(&screen);
    let note = "5 / 5        2 waiting, client 127.0.0.1 3 / 3, network 127.0.0.0/24 7 / 50";
    assert!(screen.contains(note), "{screen}");
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
fn who_waits_comes_in_when_a_reload_makes_room() {
    let endpoint = Endpoint::echo();
    let text = |most| {
        let lines = format!("max_connections = {most}\nlimits = {{ wait = \"1h\" }}");
        config(&endpoint, &lines)
    };
    let mut proxy = Evenkeel::start(&text(1));
    let mut held = proxy.client();
    assert!(is_served(&mut held));
    let mut waiting = [proxy.client(), proxy.client(), proxy.client()];
    eventually("they wait", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 3).then_some(())
    });
    proxy.reload(&text(4));
    assert!(waiting.iter_mut().all(is_served));
    assert!(is_served(&mut held));
}

#[test]
fn those_who_wait_come_in_in_the_order_in_which_they_came() {
    let endpoint = Endpoint::echo();
    let lines = "max_connections = 1\nlimits = { wait = \"1h\" }";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let mut held = proxy.client();
    assert!(is_served(&mut held));
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut client = proxy.client();
        client.send(format!(
            "GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        waiting.push(client);
        eventually("it waits", || {
            (proxy.metric("evenkeel_connections_waiting", &[]) == number + 1).then_some(())
        });
    }
    // Some of them give up, and nobody takes their places but those behind.
    waiting.remove(7).abort();
    waiting.remove(0).abort();
    eventually("they have left", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 18).then_some(())
    });
    drop(held);
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
    let requests = endpoint.requests();
    let came = requests.iter().skip(1).map(Request::target);
    let expected = (1..20).filter(|number| *number != 7);
    let expected: Vec<String> = expected.map(|number| format!("/{number}")).collect();
    assert_eq!(came.collect::<Vec<_>>(), expected);
}

#[test]
fn who_was_accepted_on_a_socket_that_is_gone_waits_by_the_limit_in_force() {
    let endpoint = Endpoint::echo();
    let text = |most: u32, socket: &str| {
        let lines = format!("max_connections = {most}\nlimits = {{ wait = \"1h\" }}\n{socket}");
        config(&endpoint, &lines)
    };
    let mut proxy = Evenkeel::start(&text(1, ""));
    let mut held = proxy.client();
    assert!(is_served(&mut held));
    let mut waiting = vec![proxy.client(), proxy.client()];
    eventually("they wait", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 2).then_some(())
    });
    let socket = "socket = { bind_to_device = \"lo\" }";
    proxy.reload(&text(1, socket));
    waiting.push(proxy.client());
    eventually("they wait together", || {
        (proxy.metric("evenkeel_connections_waiting", &[]) == 3).then_some(())
    });
    proxy.reload(&text(4, socket));
    assert!(waiting.iter_mut().all(is_served));
    assert!(is_served(&mut held));
}

#[test]
fn who_ends_its_side_while_it_waits_is_forgotten() {
    let endpoint = Endpoint::echo();
    let lines = "max_connections = 1\nlimits = { wait = \"1h\" }";
    let proxy = Evenkeel::start(&config(&endpoint, lines));
    let mut held = proxy.client();
    assert!(is_served(&mut held));
    let mut one = proxy.client();
    one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let waiting = |number| {
        eventually(&format!("{number} wait"), || {
            (proxy.metric("evenkeel_connections_waiting", &[]) == number).then_some(())
        });
    };
    waiting(1);
    drop(one);
    waiting(0);
    assert!(is_served(&mut held));
}

#[test]
fn new_sockets_know_of_the_connections_that_there_are() {
    let endpoint = Endpoint::echo();
    let text = |socket: &str| {
        let lines = "max_connections = 2\nlimits = { per_client = 1 }";
        config(&endpoint, &format!("{lines}\n{socket}"))
    };
    let mut proxy = Evenkeel::start(&text(""));
    let web = proxy.address("web");
    let mut held = from([127, 0, 0, 1], web);
    assert!(is_served(&mut held));
    proxy.reload(&text("socket = { bind_to_device = \"lo\" }"));
    assert!(!is_served(&mut from([127, 0, 0, 1], web)));
    let mut other = from([127, 0, 0, 2], web);
    assert!(is_served(&mut other));
    assert!(!is_served(&mut from([127, 0, 0, 3], web)));
    let counted = ["per_client", "full"].map(|reason| refused(&proxy, reason));
    assert_eq!(counted, [1, 1]);
    assert!(is_served(&mut held) && is_served(&mut other));
    drop(held);
    eventually("there is room again", || {
        is_served(&mut from([127, 0, 0, 1], web)).then_some(())
    });
}

#[test]
fn those_whom_a_proxy_in_front_names_are_the_clients() {
    let endpoint = Endpoint::echo();
    let sockets = unix::Sockets::new("introduced");
    let (unix, to) = (sockets.written("web.sock"), endpoint.address());
    let text = format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nto = [\"{to}\"]\n\
         proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         limits = {{ per_client = 2 }}\n\
         [listener.local]\nbind = \"{unix}\"\nto = [\"{to}\"]\n\
         proxy_protocol = \"accepted\"\ntrusted_proxies = [\"unix\"]\n\
         limits = {{ rate_per_client = \"1/h\" }}\n"
    );
    let proxy = Evenkeel::start(&text);
    let web = proxy.address("web");
    let introduced = |address: &str| {
        let mut client = from([127, 0, 0, 1], web);
        client.send(format!("PROXY TCP4 {address} 192.0.2.1 4000 80\r\n"));
        client
    };
    let mut clients: Vec<_> = [
        "198.51.100.1",
        "198.51.100.1",
        "198.51.100.2",
        "198.51.100.2",
    ]
    .map(introduced)
    .into();
    assert!(clients.iter_mut().all(is_served), "two of each");
    assert!(!is_served(&mut introduced("198.51.100.1")));
    assert_eq!(refused(&proxy, "per_client"), 1);
    drop(clients.remove(0));
    eventually("there is room again", || {
        is_served(&mut introduced("198.51.100.1")).then_some(())
    });
    let header = "PROXY TCP4 198.51.100.1 192.0.2.1 4000 80\r\n";
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for is_in in [true, false] {
        let mut client = unix::client(&sockets.path("web.sock"));
        client.send(format!("{header}{request}"));
        let served = client.try_response_to("GET").is_ok();
        assert_eq!(served, is_in);
    }
    // Without a header nobody has an address there.
    for _ in 0..2 {
        let mut client = unix::client(&sockets.path("web.sock"));
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(refused(&proxy, "rate_per_client"), 1);
}

#[test]
fn a_rate_that_a_reload_raises_holds_soon() {
    let endpoint = Endpoint::echo();
    let text = |rate: &str| config(&endpoint, &format!("limits = {{ rate = \"{rate}\" }}"));
    let mut proxy = Evenkeel::start(&text("2/h"));
    for served in [true, true, false] {
        assert_eq!(is_served(&mut proxy.client()), served);
    }
    proxy.reload(&text("100/s"));
    eventually("it holds", || is_served(&mut proxy.client()).then_some(()));
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
