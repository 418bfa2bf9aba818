//! `[listener.<name>.socket]` and `[upstream.<name>.socket]`: what the kernel says of the sockets,
//! at the start and after reloads, which cost no connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::namespace::skipped;
use crate::support::port::Port;
use crate::support::sockets::{bound_to, connected_to, listening, may_mark, number};

fn config(bind: &str, endpoint: &Endpoint, listener: &str, upstream: &str) -> String {
    format!(
        "[listener.web]\nbind = \"{bind}\"\nupstream = \"app\"\nsocket = {{ {listener} }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\nsocket = {{ {upstream} }}\n",
        endpoint.address()
    )
}

fn local(client: &Client) -> SocketAddr {
    client.stream().local_addr().expect("it is connected")
}

/// The program's end of this client's connection.
#[track_caller]
fn accepted(proxy: &Evenkeel, client: &Client) -> Socket {
    let mut found = connected_to(proxy.id(), local(client));
    found.pop().expect("it was accepted").socket
}

/// The inodes of the sockets that listen.
fn inodes(proxy: &Evenkeel, port: u16) -> Vec<String> {
    let sockets = listening(proxy.id(), port);
    let mut inodes: Vec<_> = sockets.into_iter().map(|one| one.inode).collect();
    inodes.sort();
    inodes
}

#[test]
fn clients_connections_are_what_is_written() {
    let endpoint = Endpoint::echo();
    let options = "keepalive = { idle = \"20s\", interval = \"7s\", count = 3 }, nodelay = false, \
                   dscp = \"af41\", fast_open = true";
    let proxy = Evenkeel::start(&config("@web", &endpoint, options, ""));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    let socket = accepted(&proxy, &client);
    assert!(socket.keepalive().unwrap());
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(20)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(7)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert!(!socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tos_v4().unwrap(), 34 << 2);
    let listening = listening(proxy.id(), proxy.address("web").port());
    let waiting = number(&listening[0].socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN);
    assert_eq!(waiting, 256);
}

#[test]
fn without_options_small_pieces_leave_at_once_and_nobody_is_asked() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    for socket in [
        accepted(&proxy, &client),
        connected_to(proxy.id(), endpoint.address())
            .remove(0)
            .socket,
    ] {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tos_v4().unwrap(), 0);
    }
}

#[test]
fn connections_to_endpoints_are_what_is_written_and_others_are_not_used_again() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "", "dscp = 8"));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(endpoint.connections(), 1);
    let options = "dscp = \"ef\", keepalive = \"30s\", bind_to_device = \"lo\"";
    proxy.reload(&config("@web", &endpoint, "", options));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(
        endpoint.connections(),
        2,
        "the first was made with other options"
    );
    let sockets = connected_to(proxy.id(), endpoint.address());
    let is_new = |socket: &&Socket| socket.tos_v4().unwrap() == 46 << 2;
    let socket = sockets.iter().map(|one| &one.socket).find(is_new);
    let socket = socket.expect("one with the new options");
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(30)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(15)
    );
    assert_eq!(socket.device().unwrap().as_deref(), Some(&b"lo"[..]));
}

#[test]
fn a_tunnel_has_them_at_both_ends() {
    let endpoint = Endpoint::sends_back();
    let text = format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         socket = {{ keepalive = \"99s\" }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\nsocket = {{ keepalive = \"98s\" }}\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start(&text);
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    let (near, far) = (
        accepted(&proxy, &client),
        connected_to(proxy.id(), endpoint.address())
            .remove(0)
            .socket,
    );
    assert_eq!(near.tcp_keepalive_time().unwrap(), Duration::from_secs(99));
    assert_eq!(far.tcp_keepalive_time().unwrap(), Duration::from_secs(98));
}

#[test]
fn a_reload_changes_sockets_where_they_are() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "dscp = 8", ""));
    let port = proxy.address("web").port();
    let before = inodes(&proxy, port);
    let mut old = proxy.client();
    assert_eq!(old.get("/").status, 200);
    proxy.reload(&config(
        "@web",
        &endpoint,
        "dscp = 16, keepalive = \"9s\"",
        "",
    ));
    assert_eq!(inodes(&proxy, port), before, "the same sockets");
    let mut new = proxy.client();
    assert_eq!(new.get("/").status, 200);
    assert_eq!(accepted(&proxy, &new).tos_v4().unwrap(), 16 << 2);
    assert!(accepted(&proxy, &new).keepalive().unwrap());
    assert_eq!(old.get("/").status, 200);
    assert_eq!(accepted(&proxy, &old).tos_v4().unwrap(), 8 << 2);
    // What is no longer written is no longer so.
    proxy.reload(&config("@web", &endpoint, "", ""));
    let mut last = proxy.client();
    assert_eq!(last.get("/").status, 200);
    let last = accepted(&proxy, &last);
    assert_eq!(last.tos_v4().unwrap(), 0);
    assert!(!last.keepalive().unwrap());
    let waiting = |proxy: &Evenkeel| {
        let listening = listening(proxy.id(), port);
        number(&listening[0].socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN)
    };
    let options = "nodelay = false, fast_open = true";
    for (options, nodelay, fast_open) in [(options, false, 256), ("", true, 0)] {
        proxy.reload(&config("@web", &endpoint, options, ""));
        let mut client = proxy.client();
        assert_eq!(client.get("/").status, 200);
        assert_eq!(accepted(&proxy, &client).tcp_nodelay().unwrap(), nodelay);
        assert_eq!(waiting(&proxy), fast_open);
    }
    assert_eq!(inodes(&proxy, port), before, "the same sockets");
}

#[test]
fn of_ipv6_the_class_is_set() {
    let Ok(endpoint) = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return skipped_for("there is no IPv6");
    };
    let port = Port::reserve();
    let (to, number) = (endpoint.local_addr().expect("bound"), port.address().port());
    let text = format!(
        "[listener.web]\nbind = \"[::1]:{number}\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         socket = {{ dscp = \"af41\" }}\n\
         [upstream.app]\nendpoints = [\"{to}\"]\nsocket = {{ dscp = \"ef\" }}\n"
    );
    let proxy = Evenkeel::start(&text);
    let client = Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, number)));
    let (_far, _) = endpoint.accept().expect("it is relayed");
    let near = accepted(&proxy, &client);
    assert_eq!(near.tclass_v6().unwrap(), 34 << 2);
    let far = connected_to(proxy.id(), to).remove(0);
    assert_eq!(far.socket.tclass_v6().unwrap(), 46 << 2);
}

#[test]
fn an_interface_is_changed_by_new_sockets_beside_the_old() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "", ""));
    let port = proxy.address("web").port();
    let before = inodes(&proxy, port);
    let mut old = proxy.client();
    assert_eq!(old.get("/").status, 200);
    proxy.reload(&config("@web", &endpoint, "bind_to_device = \"lo\"", ""));
    let after = listening(proxy.id(), port);
    let device = |socket: &Socket| socket.device().unwrap();
    let bound = after.iter().find(|one| device(&one.socket).is_some());
    let bound = bound.expect("a socket of that interface");
    assert_eq!(device(&bound.socket).as_deref(), Some(&b"lo"[..]));
    assert!(!before.contains(&bound.inode));
    assert_eq!(old.get("/").status, 200, "nothing was cut");
    assert_eq!(proxy.client().get("/").status, 200);
    // And what is counted about the listener goes on.
    let text = "evenkeel_connections_accepted_total";
    assert_eq!(proxy.metric(text, &["listener=\"web\""]), 2);
}

#[test]
fn ipv6_takes_ipv4_along_or_leaves_it_alone() {
    let endpoint = Endpoint::echo();
    let port = Port::reserve();
    let number = port.address().port();
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, number));
    if std::net::TcpListener::bind(six).is_err() {
        return skipped_for("there is no IPv6");
    }
    let every = |options| config(&format!(":{number}"), &endpoint, options, "");
    let mut proxy = Evenkeel::start(&every("v6_only = true"));
    assert_eq!(Client::connect(six).get("/").status, 200);
    assert!(TcpStream::connect(four).is_err());
    let mut old = Client::connect(six);
    assert_eq!(old.get("/").status, 200);
    let six_and_four = config(&format!("[::]:{number}"), &endpoint, "v6_only = false", "");
    proxy.reload(&six_and_four);
    assert_eq!(Client::connect(four).get("/").status, 200);
    assert_eq!(Client::connect(six).get("/").status, 200);
    assert_eq!(old.get("/").status, 200, "nothing was cut");
    proxy.reload(&every(""));
    assert_eq!(Client::connect(four).get("/").status, 200);
    assert_eq!(old.get("/").status, 200, "nothing was cut");
}

#[test]
fn an_address_may_come_later() {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let endpoint = Endpoint::echo();
    let port = Port::reserve();
    let bind = format!("192.0.2.1:{}", port.address().port());
    let more = |options: &str| {
        let base = format!(
            "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n",
            endpoint.address()
        );
        base + &config(&bind, &endpoint, options, "").replace("listener.web", "listener.later")
    };
    let mut proxy = Evenkeel::start(&more("freebind = true"));
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(listening(proxy.id(), port.address().port()).len(), 1);
    // A socket that stands needs no leave.
    proxy.reload(&more(""));
    proxy.reload(&config("@web", &endpoint, "", ""));
    proxy.write_config(&more(""));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("is not one of this machine"), "{said}");
}

#[test]
fn what_the_machine_refuses_changes_nothing() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "", ""));
    for (listener, upstream, whose) in [
        ("bind_to_device = \"nosuch0\"", "", "listener `web`"),
        ("", "bind_to_device = \"nosuch0\"", "upstream `app`"),
    ] {
        proxy.write_config(&config("@web", &endpoint, listener, upstream));
        let output = proxy.command(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let why = format!("{whose}: `socket.bind_to_device` cannot be set");
        assert!(said.contains(&why), "{said}");
        assert!(said.contains("there is no such interface"), "{said}");
        assert_eq!(proxy.generation(), 1);
        assert_eq!(proxy.client().get("/").status, 200);
    }
}

#[test]
fn marks_are_on_both_sides() {
    if !may_mark() {
        return skipped_for("CAP_NET_ADMIN is missing");
    }
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "mark = 7", "mark = 4000000000"));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(accepted(&proxy, &client).mark().unwrap(), 7);
    let far = connected_to(proxy.id(), endpoint.address()).remove(0);
    assert_eq!(far.socket.mark().unwrap(), 4_000_000_000);
    proxy.reload(&config("@web", &endpoint, "", ""));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(accepted(&proxy, &client).mark().unwrap(), 0);
}

#[test]
fn a_refused_reload_leaves_tproxy_as_it_is() {
    if !may_mark() {
        return skipped_for("CAP_NET_ADMIN is missing");
    }
    let endpoint = Endpoint::sends_back();
    let text = |intercept: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nto = [\"{}\"]\n{intercept}\n",
            endpoint.address()
        )
    };
    let also = format!(
        "[listener.xmore]\nbind = \"{}\"\nto = [\"{}\"]\n",
        endpoint.address(),
        endpoint.address()
    );
    let mut proxy = Evenkeel::start(&text("intercept = \"tproxy\""));
    let port = proxy.address("web").port();
    let transparent = |proxy: &Evenkeel| {
        let sockets = listening(proxy.id(), port);
        number(&sockets[0].socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT)
    };
    let before = inodes(&proxy, port);
    assert_eq!(transparent(&proxy), 1);
    proxy.write_config(&(text("") + &also));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("in use"),
        "{said}"
    );
    assert_eq!(transparent(&proxy), 1);
    proxy.reload(&text(""));
    assert_eq!(transparent(&proxy), 0);
    proxy.reload(&text("intercept = \"tproxy\""));
    assert_eq!(transparent(&proxy), 1);
    assert_eq!(inodes(&proxy, port), before, "the same sockets");
}

/// Connections that the kernel finishes for a program that does not accept.
fn queued(proxy: &Evenkeel) -> Vec<Socket> {
    proxy.signal(Signal::STOP);
    eventually("the program stands still", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id()));
        let status = status.expect("our own child");
        status.contains("State:\tT").then_some(())
    });
    let address = proxy.address("web").into();
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Long enough for the loopback, and short against the second after which a SYN is repeated.
        let limit = Duration::from_millis(200);
        socket
            .connect_timeout(&address, limit)
            .ok()
            .map(|()| socket)
    };
    let made = (0..8).filter_map(connect).collect();
    proxy.signal(Signal::CONT);
    made
}

#[test]
fn the_backlog_bounds_who_waits() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("@web", &endpoint, "backlog = 2", ""));
    let few = queued(&proxy).len();
    assert!((1..=3).contains(&few), "{few} of 8 have found room");
    proxy.reload(&config("@web", &endpoint, "backlog = 100", ""));
    assert_eq!(queued(&proxy).len(), 8);
    // Back to what the machine allows.
    proxy.reload(&config("@web", &endpoint, "", ""));
    assert_eq!(queued(&proxy).len(), 8);
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn datagrams_are_marked_too() {
    use std::net::UdpSocket;

    let endpoint = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = endpoint.local_addr().expect("bound");
    let text = format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nupstream = \"app\"\n\
         socket = {{ dscp = \"cs5\", bind_to_device = \"lo\" }}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\nsocket = {{ dscp = \"le\" }}\n"
    );
    let proxy = Evenkeel::start(&text);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    client.connect(proxy.address("web")).expect("an address");
    client.send(b"hello").expect("sent");
    let mut bytes = [0; 16];
    let (length, _) = endpoint.recv_from(&mut bytes).expect("it came");
    assert_eq!(&bytes[..length], b"hello");
    let far = eventually("the session's socket", || {
        connected_to(proxy.id(), address).pop()
    });
    assert_eq!(far.socket.tos_v4().unwrap(), 1 << 2);
    let own = bound_to(proxy.id(), proxy.address("web"));
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].socket.tos_v4().unwrap(), 40 << 2);
    let device = own[0].socket.device().unwrap();
    assert_eq!(device.as_deref(), Some(&b"lo"[..]));
}

/// Says that a test does not run for want of something.
fn skipped_for(why: &str) {
    let _: Option<()> = skipped(why);
}
