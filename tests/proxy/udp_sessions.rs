//! UDP sessions: how long they last, who has one, and what they survive.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::udp::{await_metric, config, metric, start};

#[test]
fn a_session_ends_when_nothing_moves() {
    let endpoint = UdpEndpoint::tells_its_port();
    let proxy = start(&[&endpoint], "timeouts = { session_idle = \"300ms\" }", "");
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "ok"], 1.0);
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 0.0);
    await_metric(&proxy, "evenkeel_connections", &["web", "udp"], 0.0);
    eventually("it is logged", || {
        let log = proxy.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("\"url.scheme\":\"udp\""));
        let line = lines.next()?.to_owned();
        let has = |word: &str| assert!(line.contains(word), "{word} is missing in {line}");
        has("\"end\":\"ok\"");
        has("\"http.request.body.size\":3");
        has("\"http.response.body.size\":5");
        Some(())
    });
    assert_eq!(client.ask("who"), endpoint.name());
    assert_eq!(
        endpoint.peers().len(),
        2,
        "the next datagram begins another"
    );
}

#[test]
fn busy_sessions_are_not_ended_for_new_ones() {
    let endpoint = UdpEndpoint::tells_its_port();
    let proxy = start(&[&endpoint], "max_connections = 2", "");
    let clients = [1, 2].map(|last| {
        let own = Ipv4Addr::new(127, 0, last, 1);
        UdpClient::from(own, proxy.address("web"))
    });
    for client in clients.iter().chain(&clients) {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    UdpClient::from([127, 0, 3, 1], proxy.address("web")).send("who");
    await_metric(&proxy, "evenkeel_udp_dropped_total", &["web", "limit"], 1.0);
    for client in &clients {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    assert_eq!(endpoint.peers().len(), 2);
}

#[test]
fn those_that_nobody_answers_make_room() {
    let endpoint = UdpEndpoint::keeps_quiet_if_asked();
    let proxy = start(&[&endpoint], "max_connections = 3", "");
    let client = UdpClient::of(proxy.address("web"));
    for _ in 0..2 {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    for last in 1..=9 {
        let own = Ipv4Addr::new(127, 0, last, 1);
        UdpClient::from(own, proxy.address("web")).send(format!("quiet {last}"));
    }
    eventually("all are taken", || {
        (endpoint.received().len() == 11).then_some(())
    });
    await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "cut"], 7.0);
    await_metric(&proxy, "evenkeel_udp_dropped_total", &["web", "limit"], 0.0);
    assert_eq!(client.ask("who"), endpoint.name());
    assert_eq!(
        endpoint.peers().len(),
        10,
        "the one that goes on has its session"
    );
    eventually("it is logged", || {
        let log = proxy.log();
        let is_there = log.contains("\"error.type\":\"connection_limit_reached\"");
        is_there.then_some(())
    });
}

/// Forged questions are answered like others: an answer proves nothing of who asked.
#[test]
fn those_that_ask_once_make_room_at_once() {
    let endpoint = UdpEndpoint::tells_its_port();
    let proxy = start(&[&endpoint], "max_connections = 4", "");
    let client = UdpClient::of(proxy.address("web"));
    for _ in 0..2 {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    for last in 1..=30 {
        let own = Ipv4Addr::new(127, 0, last, 1);
        let stranger = UdpClient::from(own, proxy.address("web"));
        assert_eq!(stranger.ask("who"), endpoint.name());
    }
    await_metric(&proxy, "evenkeel_udp_dropped_total", &["web", "limit"], 0.0);
    assert_eq!(client.ask("who"), endpoint.name());
    assert_eq!(
        endpoint.peers().len(),
        31,
        "the one that goes on has its session"
    );
}

#[test]
fn sessions_that_are_idle_together_all_end() {
    let endpoint = UdpEndpoint::tells_its_port();
    let proxy = start(&[&endpoint], "timeouts = { session_idle = \"2s\" }", "");
    let clients: Vec<UdpClient> = (0..600)
        .map(|_| UdpClient::of(proxy.address("web")))
        .collect();
    for client in &clients {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "ok"], 600.0);
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 0.0);
}

#[test]
fn a_session_ends_once_it_has_its_answers() {
    let endpoint = UdpEndpoint::keeps_quiet_if_asked();
    let proxy = start(&[&endpoint], "responses = 1", "");
    let client = UdpClient::of(proxy.address("web"));
    for times in 1..=3 {
        assert_eq!(client.ask("who"), endpoint.name());
        let ok = f64::from(times);
        await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "ok"], ok);
    }
    assert_eq!(endpoint.peers().len(), 3);
    // One answer is missing, and may still come.
    client.send("quiet");
    assert_eq!(client.ask("who"), endpoint.name());
    assert_eq!(client.ask("who"), endpoint.name());
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 1.0);
    assert_eq!(endpoint.peers().len(), 4);
}

/// Its session has the one place that there is, so no pick finds any.
#[test]
fn the_only_endpoint_is_tried_again_although_it_is_full() {
    let mut endpoint = UdpEndpoint::tells_its_port();
    let limit = "max_connections_per_endpoint = 1";
    let proxy = start(&[&endpoint], "timeouts = { session_idle = \"3s\" }", limit);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    endpoint.die();
    let name = "evenkeel_endpoint_connect_errors_total";
    eventually("it was refused", || {
        client.send("is anybody there?");
        (metric(&proxy, name, &["connection_refused"]) > 0.5).then_some(())
    });
    endpoint.restart();
    assert_eq!(client.ask_until_answered("who"), endpoint.name());
    // What was answered afterwards did not fail in the end.
    await_metric(&proxy, "evenkeel_l4_sessions_total", &["web", "ok"], 1.0);
}

/// Nothing says that it is back but that nothing says that it is not.
#[test]
fn an_endpoint_that_never_answers_is_taken_back() {
    taken_back("", true);
}

/// A session that tries it stays until it is known.
#[test]
fn an_endpoint_that_never_answers_is_taken_back_by_who_asks_once() {
    taken_back("timeouts = { session_idle = \"300ms\" }", false);
}

fn taken_back(listener: &str, goes_on: bool) {
    let mut first = UdpEndpoint::keeps_quiet_if_asked();
    let second = UdpEndpoint::keeps_quiet_if_asked();
    let balance = "balance = \"first_healthy\"";
    let proxy = start(&[&first, &second], listener, balance);
    let client = || UdpClient::of(proxy.address("web"));
    let old = client();
    old.send("quiet");
    eventually("it has come", || first.received().pop());
    first.die();
    eventually("it goes to the other", || {
        old.send("quiet");
        second.received().pop()
    });
    first.restart();
    let trial = eventually("one tries it", || {
        let before = first.received().len();
        let new = client();
        new.send("quiet trial");
        pause(Duration::from_millis(100));
        (first.received().len() > before).then_some(new)
    });
    eventually("all go there again", || {
        if goes_on {
            trial.send("quiet, and goes on");
        }
        let (before, new) = (first.received().len(), [(); 3].map(|()| client()));
        for one in &new {
            one.send("quiet all");
        }
        pause(Duration::from_millis(100));
        let received = first.received();
        let of_new = received[before..]
            .iter()
            .filter(|(_, it)| it == b"quiet all");
        (of_new.count() == 3).then_some(())
    });
}

/// It goes on sending to whom it knows, but nobody of these asks it any more.
#[test]
fn what_was_taken_out_keeps_no_session_alive() {
    let two = UdpEndpoint::tells_its_port();
    let port = Port::reserve();
    let one = UdpSocket::bind(port.address()).expect("a free port");
    let text = |endpoint: SocketAddr| {
        format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\n\
             timeouts = {{ session_idle = \"1s\" }}\nupstream = \"app\"\n\
             [upstream.app]\nendpoints = [\"{endpoint}\"]\n"
        )
    };
    let mut proxy = Evenkeel::start(&text(port.address()));
    let client = UdpClient::of(proxy.address("web"));
    client.send("go on");
    let mut buffer = [0; 16];
    let (_, peer) = one.recv_from(&mut buffer).expect("it comes");
    one.send_to(b"first", peer).expect("it leaves");
    assert_eq!(client.receive(), b"first");
    proxy.reload(&text(two.address()));
    // What is under way arrives.
    one.send_to(b"second", peer).expect("it leaves");
    assert_eq!(client.receive(), b"second");
    eventually("the session ends", || {
        // Refused once it has.
        drop(one.send_to(b"more", peer));
        let sessions = metric(&proxy, "evenkeel_l4_sessions", &["web"]);
        (sessions < 0.5).then_some(())
    });
}

#[test]
fn a_session_leaves_an_endpoint_that_died() {
    let mut first = UdpEndpoint::tells_its_port();
    let second = UdpEndpoint::tells_its_port();
    let proxy = start(&[&first, &second], "", "balance = \"first_healthy\"");
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), first.name());
    first.die();
    assert_eq!(client.ask_until_answered("who"), second.name());
    let name = "evenkeel_endpoint_connect_errors_total";
    assert!(metric(&proxy, name, &["connection_refused"]) > 0.5);
    // The next client does not find out for itself.
    let other = UdpClient::of(proxy.address("web"));
    assert_eq!(other.ask("who"), second.name());
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 2.0);
}

#[test]
fn a_session_leaves_an_endpoint_that_became_unhealthy() {
    let first = UdpEndpoint::tells_nonsense_of_its_health();
    let second = UdpEndpoint::tells_its_port();
    let unchecked = "balance = \"first_healthy\"";
    let checked = "balance = \"first_healthy\"\npanic_threshold = \"0%\"\n\
                   health = { udp = { send = \"ping\", expect = \"pong\" }, interval = \"1s\" }";
    let mut proxy = start(&[&first, &second], "", unchecked);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), first.name());
    proxy.reload(&config(&[&first, &second], "", checked));
    let address = first.address().to_string();
    await_metric(
        &proxy,
        "evenkeel_endpoint_state",
        &[&address, "unhealthy"],
        1.0,
    );
    eventually("it goes to the other", || {
        (client.ask("who") == second.name()).then_some(())
    });
}

#[test]
fn without_an_endpoint_datagrams_are_dropped() {
    let mut endpoint = UdpEndpoint::tells_its_port();
    let health = "panic_threshold = \"0%\"\nhealth = { udp = { send = \"ping\" } }";
    endpoint.die();
    let proxy = start(&[&endpoint], "", health);
    let client = UdpClient::of(proxy.address("web"));
    let address = endpoint.address().to_string();
    await_metric(
        &proxy,
        "evenkeel_endpoint_state",
        &[&address, "unhealthy"],
        1.0,
    );
    client.send("who");
    await_metric(
        &proxy,
        "evenkeel_udp_dropped_total",
        &["web", "no_endpoint"],
        1.0,
    );
}

#[test]
fn sessions_live_across_a_reload() {
    let (one, two) = (UdpEndpoint::tells_its_port(), UdpEndpoint::tells_its_port());
    let more = UdpEndpoint::tells_its_port();
    let turns = "balance = \"round_robin\"";
    let mut proxy = start(&[&one, &two], "", turns);
    let clients: Vec<UdpClient> = (0..4)
        .map(|_| UdpClient::of(proxy.address("web")))
        .collect();
    let before: Vec<String> = clients.iter().map(|client| client.ask("who")).collect();
    let (of_one, of_two) = (one.peers(), two.peers());
    proxy.reload(&config(&[&more, &two, &one], "max_connections = 77", turns));
    let after: Vec<String> = clients.iter().map(|client| client.ask("who")).collect();
    assert_eq!(after, before);
    assert_eq!(
        (one.peers(), two.peers()),
        (of_one, of_two),
        "by the same sockets"
    );
    assert_eq!(more.peers(), []);
    // An endpoint that is gone is left, and the others keep theirs.
    proxy.reload(&config(&[&two], "", turns));
    for client in &clients {
        assert_eq!(client.ask("who"), two.name());
    }
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 4.0);
    await_metric(&proxy, "evenkeel_connections_accepted_total", &["web"], 4.0);
}

/// There is no room elsewhere: what was taken out is not used all the same.
#[test]
fn an_endpoint_that_was_taken_out_gets_nothing() {
    let (one, two) = (UdpEndpoint::tells_its_port(), UdpEndpoint::tells_its_port());
    let limit = "balance = \"first_healthy\"\nmax_connections_per_endpoint = 1";
    let mut proxy = start(&[&one, &two], "", limit);
    let clients = [(); 2].map(|()| UdpClient::of(proxy.address("web")));
    assert_eq!(clients[0].ask("who"), one.name());
    assert_eq!(clients[1].ask("who"), two.name());
    proxy.reload(&config(&[&two], "", limit));
    for times in 1..=3 {
        clients[0].send("who");
        let name = "evenkeel_udp_dropped_total";
        await_metric(&proxy, name, &["web", "no_endpoint"], f64::from(times));
    }
    assert_eq!(one.received().len(), 1);
    // It is back, and so is its session, by the same socket.
    proxy.reload(&config(&[&one, &two], "", limit));
    assert_eq!(clients[0].ask("who"), one.name());
    assert_eq!(one.peers().len(), 1);
}

#[test]
fn a_reload_that_tells_endpoints_of_clients_reaches_sessions() {
    let endpoint = UdpEndpoint::tells_its_port();
    let mut proxy = start(&[&endpoint], "", "");
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    for (upstream, is_told) in [("proxy_protocol = \"v2\"", true), ("", false)] {
        proxy.reload(&config(&[&endpoint], "", upstream));
        assert_eq!(client.ask("who"), endpoint.name());
        let (_, bytes) = endpoint.received().pop().expect("it was asked");
        assert_eq!(bytes.starts_with(signature), is_told, "{upstream}");
        assert!(bytes.ends_with(b"who"));
    }
    assert_eq!(endpoint.peers().len(), 1, "by the same socket");
}

/// The kernel gives the old socket what it gave it before, since it is the more exact one.
#[test]
fn an_address_that_is_written_in_another_way_takes_new_clients() {
    let endpoint = UdpEndpoint::tells_its_port();
    let port = Port::reserve();
    let number = port.address().port();
    let at = |address: &str| {
        let bind = format!("bind = \"{address}:{number}\"");
        config(&[&endpoint], "", "").replace("bind = \"@web\"", &bind)
    };
    let mut proxy = Evenkeel::start(&at("127.0.0.1"));
    let client = UdpClient::of(port.address());
    assert_eq!(client.ask("who"), endpoint.name());
    for (times, address) in (2..).zip(["0.0.0.0", "", "127.0.0.1"]) {
        proxy.reload(&at(address));
        let new = UdpClient::of(port.address());
        assert_eq!(new.ask("who"), endpoint.name(), "{address}");
        assert_eq!(client.ask("who"), endpoint.name());
        assert_eq!(endpoint.peers().len(), times, "{address}");
    }
}

/// Were new sockets bound beside the old ones, the kernel would spread clients over both.
#[test]
fn the_same_address_in_other_words_keeps_every_client_at_its_session() {
    let endpoint = UdpEndpoint::tells_its_port();
    let port = Port::reserve();
    let at = |address: &str, listener: &str| {
        let bind = format!("bind = \"{address}:{}\"", port.address().port());
        let text = config(&[&endpoint], listener, "").replace("bind = \"@web\"", &bind);
        ["workers = 2\n", &text].concat()
    };
    let mut proxy = Evenkeel::start(&at("", ""));
    let clients: Vec<UdpClient> = (0..32).map(|_| UdpClient::of(port.address())).collect();
    let all_ask = || {
        for client in &clients {
            assert_eq!(client.ask("who"), endpoint.name());
        }
        assert_eq!(endpoint.peers().len(), 32, "each has one session");
    };
    all_ask();
    let other_words = at("[::]", "socket = { v6_only = false }");
    for text in [other_words.as_str(), WITHOUT, &at("", "")] {
        proxy.reload(text);
        all_ask();
    }
}

/// One worker still has a session by the old sockets, and the other one has none, so that of the
/// old sockets one would be read and one not.
#[test]
fn a_listener_that_comes_back_under_a_wider_address_meets_every_client() {
    for address in ["0.0.0.0", ""] {
        let endpoint = UdpEndpoint::tells_its_port();
        let port = Port::reserve();
        let at = |address: &str| {
            let bind = format!("bind = \"{address}:{}\"", port.address().port());
            let text = config(&[&endpoint], "", "").replace("bind = \"@web\"", &bind);
            ["workers = 2\n", &text].concat()
        };
        let mut proxy = Evenkeel::start(&at("127.0.0.1"));
        let client = UdpClient::of(port.address());
        assert_eq!(client.ask("who"), endpoint.name());
        proxy.reload(WITHOUT);
        assert_eq!(client.ask("who"), endpoint.name());
        proxy.reload(&at(address));
        let clients: Vec<UdpClient> = (0..64).map(|_| UdpClient::of(port.address())).collect();
        for new in clients.iter().chain([&client]) {
            assert_eq!(new.ask("who"), endpoint.name(), "{address}");
        }
        assert_eq!(
            endpoint.peers().len(),
            65,
            "{address}: each has one session"
        );
    }
}

/// The kernel gives the sockets of before those of IPv6 that come after them too.
#[test]
fn a_listener_that_leaves_ipv4_takes_new_clients_of_ipv6_alone() {
    let endpoint = UdpEndpoint::tells_its_port();
    let port = Port::reserve();
    let number = port.address().port();
    let at = |bind: &str| {
        let bind = format!("bind = \"{bind}:{number}\"");
        config(&[&endpoint], "", "").replace("bind = \"@web\"", &bind)
    };
    let mut proxy = Evenkeel::start(&at(""));
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, number));
    let old = [
        UdpClient::of(port.address()),
        UdpClient::from(Ipv6Addr::LOCALHOST, ipv6),
    ];
    for client in &old {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    proxy.reload(&at("[::]"));
    UdpClient::of(port.address()).send("who");
    let new = UdpClient::from(Ipv6Addr::LOCALHOST, ipv6);
    for client in old.iter().chain([&new]) {
        assert_eq!(client.ask("who"), endpoint.name());
    }
    let name = "evenkeel_udp_dropped_total";
    await_metric(&proxy, name, &["web", "draining"], 1.0);
    assert_eq!(endpoint.peers().len(), 3);
}

#[test]
fn sessions_outlive_their_listener_and_meet_it_again() {
    let endpoint = UdpEndpoint::tells_its_port();
    let with = config(&[&endpoint], "", "");
    let mut proxy = Evenkeel::start(&with);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    proxy.reload("[listener.other]\nbind = \"@other\"\nto = [\"127.0.0.1:9\"]\n");
    assert_eq!(client.ask("who"), endpoint.name());
    let late = UdpClient::of(proxy.address("web"));
    late.send("who");
    client.send("who");
    client.receive(); // by then the other one was looked at
    assert_eq!(endpoint.peers().len(), 1, "a new client was let in");
    proxy.reload(&with);
    assert_eq!(client.ask("who"), endpoint.name());
    assert_eq!(late.ask("who"), endpoint.name());
    assert_eq!(endpoint.peers().len(), 2);
}

#[test]
fn a_drain_waits_for_sessions() {
    let endpoint = UdpEndpoint::tells_its_port();
    let listener = "timeouts = { session_idle = \"1s\" }";
    let shutdown = "[shutdown]\ngrace = \"0s\"\ndrain = \"60s\"\n";
    let text = [shutdown, &config(&[&endpoint], listener, "")].concat();
    let mut proxy = Evenkeel::start(&text);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    proxy.signal(Signal::TERM);
    eventually("new clients are turned away", || {
        assert_eq!(client.ask("who"), endpoint.name());
        let before = endpoint.peers().len();
        UdpClient::of(proxy.address("web")).send("who");
        client.ask("who");
        (endpoint.peers().len() == before).then_some(())
    });
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

#[test]
fn what_is_left_at_the_end_is_cut_and_logged() {
    let endpoint = UdpEndpoint::tells_its_port();
    let shutdown = "[shutdown]\ngrace = \"0s\"\ndrain = \"100ms\"\n";
    let text = [shutdown, &config(&[&endpoint], "", "")].concat();
    let mut proxy = Evenkeel::start(&text);
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), endpoint.name());
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("\"url.scheme\":\"udp\""), "{log}");
    assert!(log.contains("\"cut\":1"), "{log}");
}

/// No listener for datagrams.
const WITHOUT: &str = "workers = 2\n[listener.other]\nbind = \"@other\"\nto = [\"127.0.0.1:9\"]\n";
