use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use super::{
    Address, Bind, BindError, Connecting, Listening, Secure, Sockets, Stream, Transport, accept,
    canonical,
};

/// Accepts on a worker's socket; waits for the kernel a little.
async fn accepted(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    for _ in 0..200 {
        match accept(socket) {
            Ok(accepted) => return accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("accept: {error}"),
        }
    }
    panic!("no connection came");
}

/// A stream as a worker has it, and the other end.
async fn pair() -> (Stream, TcpStream) {
    let sockets = Sockets::bind("127.0.0.1:0", 1).expect("bind");
    let socket = sockets.take(0).expect("take").expect("open");
    let other = TcpStream::connect(sockets.local).expect("connect");
    let (stream, _) = accepted(&socket).await;
    (Stream::accepted(stream).expect("register"), other)
}

fn bind(text: &str) -> (SocketAddr, bool) {
    let bind: Bind = text.parse().expect("an address");
    (bind.address, bind.dual_stack)
}

#[test]
fn the_forms_of_a_bind_address() {
    let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080));
    assert_eq!(bind(":8080"), (every, true));
    assert_eq!(bind("[::]:8080"), (every, false));
    assert_eq!(
        bind("10.0.0.1:0"),
        (SocketAddr::from(([10, 0, 0, 1], 0)), false)
    );
    for wrong in [
        "",
        ":",
        ":+80",
        ":65536",
        "8080",
        "localhost:80",
        "10.0.0.1",
        "::1:80",
    ] {
        let error = wrong.parse::<Bind>().expect_err(wrong);
        assert!(matches!(error, BindError::Syntax(_)), "{wrong}: {error}");
    }
}

#[test]
fn system_errors_say_what_to_do() {
    let explain = |port, kind: io::ErrorKind| {
        BindError::explain(SocketAddr::from(([0, 0, 0, 0], port)), &kind.into()).to_string()
    };
    let privileged = explain(80, io::ErrorKind::PermissionDenied);
    assert!(privileged.contains("CAP_NET_BIND_SERVICE"), "{privileged}");
    let forbidden = explain(8080, io::ErrorKind::PermissionDenied);
    assert!(!forbidden.contains("CAP_NET_BIND_SERVICE"), "{forbidden}");
    let here = explain(80, io::ErrorKind::AddrNotAvailable);
    assert!(here.contains("ip address"), "{here}");
}

#[test]
fn all_workers_share_the_port_that_the_system_chose() {
    let sockets = Sockets::bind("127.0.0.1:0", 3).expect("bind");
    assert_ne!(sockets.local.port(), 0);
    for worker in 0..3 {
        let socket = sockets.take(worker).expect("take").expect("open");
        assert_eq!(socket.local_addr().expect("address"), sockets.local);
    }
    assert!(
        sockets.take(3).expect("take").is_none(),
        "a socket for a worker that is not there"
    );
}

#[test]
fn a_port_that_is_shared_is_still_in_use() {
    let first = Sockets::bind("127.0.0.1:0", 2).expect("bind");
    let address = first.local.to_string();
    let error = Sockets::bind(&address, 1).expect_err("somebody listens here");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("in use"), "{error}");
    Sockets::bind_shared(&address, 1).expect("a reload may overlap");
    drop(first);
    Sockets::bind(&address, 1).expect("free again");
}

#[test]
fn a_closed_socket_refuses_instead_of_swallowing() {
    let sockets = Sockets::bind("127.0.0.1:0", 1).expect("bind");
    let taken = sockets.take(0).expect("take").expect("open");
    sockets.close(0);
    assert!(!sockets.is_open());
    assert!(sockets.take(0).expect("take").is_none());
    TcpStream::connect(sockets.local).expect("open while a descriptor of it is");
    drop(taken);
    let error = TcpStream::connect(sockets.local).expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn every_address_takes_ipv4_and_shows_it_as_such() {
    let sockets = Sockets::bind(":0", 1).expect("bind");
    let socket = sockets.take(0).expect("take").expect("open");
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, sockets.local.port()));
    let client = TcpStream::connect(target).expect("connect");
    let (stream, peer) = accepted(&socket).await;
    let peer = canonical(peer);
    assert_eq!(peer, client.local_addr().expect("address"));
    let stream = Stream::accepted(stream).expect("register");
    assert_eq!(stream.peer_address().expect("address"), peer);
    assert_eq!(stream.local_address().expect("address"), target);
}

/// `[::]` means IPv6 alone: the configuration's check of double binds counts on it.
#[test]
fn every_ipv6_address_leaves_ipv4_to_others() {
    let six = Sockets::bind("[::]:0", 1).expect("bind");
    let port = six.local.port();
    let refused = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(
        refused.expect_err("nobody takes IPv4").kind(),
        io::ErrorKind::ConnectionRefused
    );
    TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).expect("IPv6 is taken");
    Sockets::bind(&format!("0.0.0.0:{port}"), 1).expect("both stand beside each other");
    let both = Sockets::bind(&format!(":{port}"), 1).expect_err("every address overlaps");
    assert_eq!(both.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn accepted_connections_do_not_delay() {
    let (stream, _other) = pair().await;
    let Stream::Tcp(stream) = stream else {
        panic!("not TCP")
    };
    assert!(
        stream.nodelay().expect("option"),
        "the kernel no longer hands the option down"
    );
}

#[tokio::test]
async fn reading_appends_up_to_the_capacity_and_reports_the_end() {
    let (stream, mut other) = pair().await;
    other.write_all(b"hello world").expect("write");
    drop(other);
    let mut buffer = Vec::with_capacity(6);
    let mut bytes = Vec::new();
    loop {
        buffer.clear();
        if read_some(&stream, &mut buffer).await == 0 {
            break;
        }
        assert!(buffer.len() <= 6);
        bytes.extend_from_slice(&buffer);
    }
    assert_eq!(bytes, b"hello world");
    let mut full = Vec::new();
    let error = stream.try_read(&mut full).expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

async fn read_some(stream: &Stream, buffer: &mut Vec<u8>) -> usize {
    poll_fn(|cx| stream.poll_read_into(cx, buffer))
        .await
        .expect("read")
}

#[tokio::test]
async fn a_read_that_emptied_the_socket_takes_the_readiness_away() {
    let (stream, mut other) = pair().await;
    other.write_all(b"x").expect("write");
    let mut buffer = Vec::with_capacity(64);
    assert_eq!(read_some(&stream, &mut buffer).await, 1);
    let ready = poll_fn(|cx| Poll::Ready(stream.poll_read_ready(cx))).await;
    assert!(ready.is_pending(), "an empty read would follow");
    other.write_all(b"y").expect("write");
    assert_eq!(
        read_some(&stream, &mut buffer).await,
        1,
        "what came later was missed"
    );
}

#[tokio::test]
async fn a_vectored_write_takes_every_slice() {
    let (stream, other) = pair().await;
    poll_fn(|cx| stream.poll_write_ready(cx))
        .await
        .expect("ready");
    let slices = [IoSlice::new(b"head "), IoSlice::new(b"body")];
    assert_eq!(stream.try_write_vectored(&slices).expect("write"), 9);
    let shutdown = poll_fn(|cx| stream.poll_shutdown_write(cx));
    shutdown.await.expect("shutdown");
    other.set_nonblocking(true).expect("option");
    let mut other = tokio::net::TcpStream::from_std(other).expect("register");
    let mut text = String::new();
    other
        .read_to_string(&mut text)
        .await
        .expect("an orderly end");
    assert_eq!(text, "head body");
}

#[tokio::test]
async fn a_close_can_be_a_reset() {
    let (stream, other) = pair().await;
    stream.reset_on_close();
    drop(stream);
    other.set_nonblocking(true).expect("option");
    let mut other = tokio::net::TcpStream::from_std(other).expect("register");
    let error = other.read_u8().await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_was_written_of_keepalive_stays_when_a_peer_is_asked_after() {
    let written: crate::config::UpstreamSocket =
        toml::from_str("keepalive = { idle = '99s', interval = '7s', count = 2 }").expect("good");
    let options = Connecting::new(&written).expect("something is written");
    for (options, idle) in [(Some(&options), 99), (None, 60)] {
        let sockets = Sockets::bind("127.0.0.1:0", 1).expect("bind");
        let address = Address::Ip(sockets.local);
        let stream = Stream::connect(&address, options).await.expect("connect");
        let socket = socket2::SockRef::from(&stream);
        assert_eq!(socket.keepalive().expect("asked"), options.is_some());
        stream.probe_peer().expect("it is connected");
        assert!(socket.keepalive().expect("asked"));
        let time = socket.tcp_keepalive_time().expect("asked");
        assert_eq!(time, Duration::from_secs(idle));
    }
}

#[tokio::test]
async fn a_unix_stream_speaks_the_same_calls() {
    let (near, far) = tokio::net::UnixStream::pair().expect("pair");
    let (near, far) = (Stream::Unix(near), Stream::Unix(far));
    poll_fn(|cx| near.poll_write_ready(cx))
        .await
        .expect("ready");
    assert_eq!(near.try_write(b"ping").expect("write"), 4);
    let shutdown = poll_fn(|cx| near.poll_shutdown_write(cx));
    shutdown.await.expect("shutdown");
    near.probe_peer().expect("nothing to do");
    let mut buffer = Vec::with_capacity(64);
    assert_eq!(read_some(&far, &mut buffer).await, 4);
    assert_eq!(read_some(&far, &mut buffer).await, 0);
    assert!(far.peer_address().is_err());
}

/// The sockets of a UDP listener, with these settings of its sockets.
fn of_datagrams(bind: &str, settings: &str) -> Sockets {
    let text = format!("bind = \"{bind}\"\nsocket = {{ {settings} }}\n");
    let written: crate::config::Listener = toml::from_str(&text).expect("a listener");
    let options = Listening::of(&written);
    Sockets::open_shared(Transport::Udp, bind, &options, 1).expect("bind")
}

#[test]
fn a_wider_address_covers_a_narrower_one() {
    let (lo, dual) = ("bind_to_device = \"lo\"", "v6_only = false");
    for (before, wider, covers) in [
        (("127.0.0.1", ""), ("127.0.0.1", ""), true),
        (("127.0.0.1", ""), ("0.0.0.0", ""), true),
        (("127.0.0.1", ""), ("", ""), true),
        (("127.0.0.1", ""), ("[::]", dual), true),
        (("127.0.0.1", ""), ("[::]", ""), false),
        (("127.0.0.1", ""), ("127.0.0.2", ""), false),
        (("[::ffff:127.0.0.1]", dual), ("0.0.0.0", ""), true),
        (("0.0.0.0", ""), ("127.0.0.1", ""), false),
        (("0.0.0.0", ""), ("", ""), true),
        (("0.0.0.0", ""), ("[::]", ""), false),
        (("[::1]", ""), ("", ""), true),
        (("[::1]", ""), ("0.0.0.0", ""), false),
        (("[::]", ""), ("", ""), true),
        (("[::]", ""), ("[::]", dual), true),
        (("", ""), ("0.0.0.0", ""), false),
        (("127.0.0.1", lo), ("0.0.0.0", ""), true),
        (("127.0.0.1", lo), ("0.0.0.0", lo), true),
        (("0.0.0.0", lo), ("0.0.0.0", ""), true),
        (("127.0.0.1", ""), ("0.0.0.0", lo), false),
    ] {
        let old = of_datagrams(&format!("{}:0", before.0), before.1);
        let new = of_datagrams(&format!("{}:{}", wider.0, old.local.port()), wider.1);
        assert_eq!(new.covers(&old), covers, "{before:?} {wider:?}");
    }
    // The half that it is for.
    let old = of_datagrams(":0", "");
    let new = of_datagrams(&format!("[::]:{}", old.local.port()), "");
    assert!(new.covers(&old) && old.takes_ipv4() && !new.takes_ipv4());
    // Others than those at that port.
    let new = of_datagrams("0.0.0.0:0", "");
    let old = of_datagrams("127.0.0.1:0", "");
    assert!(!new.covers(&old));
    let port = old.local.port();
    let tcp = Sockets::bind_shared(&format!("0.0.0.0:{port}"), 1).expect("bind");
    assert!(!tcp.covers(&old));
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    let sockets = of_datagrams(":0", "");
    let port = sockets.local.port();
    let options = |settings: &str| {
        let text = format!("bind = \":1\"\nsocket = {{ {settings} }}\n");
        let written: crate::config::Listener = toml::from_str(&text).expect("a listener");
        Listening::of(&written)
    };
    for (bind, settings, same) in [
        (format!(":{port}"), "", true),
        (format!("[::]:{port}"), "v6_only = false", true),
        (format!("[0::0]:{port}"), "v6_only = false", true),
        (format!("[::]:{port}"), "", false),
        (format!("0.0.0.0:{port}"), "", false),
        (format!(":{port}"), "bind_to_device = \"lo\"", false),
        (":0".to_owned(), "", false),
        ("unix:/run/x".to_owned(), "", false),
    ] {
        let options = options(settings);
        assert_eq!(
            sockets.are_bound_to(&bind, &options),
            same,
            "{bind} {settings}"
        );
    }
}

#[test]
fn an_address_is_written_as_the_standard_library_does() {
    for octet in 0..=u8::MAX {
        for address in [[octet, 0, 10, 255], [1, octet, 99, octet]] {
            let address = Ipv4Addr::from(address);
            let (text, length) = super::dotted(address);
            assert_eq!(text[..length], *address.to_string().as_bytes());
        }
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Both sides of a session that is about to begin on these sockets.
fn session(stream: Stream, other: TcpStream) -> (Box<Secure>, Client) {
    let made = generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let (cert, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], PrivatePkcs8KeyDer::from(key).into())
        .expect("a key that fits");
    let mut roots = RootCertStore::empty();
    roots.add(cert).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.test").expect("a name");
    let server = ServerConnection::new(Arc::new(server)).expect("a session");
    let client = ClientConnection::new(Arc::new(client), name).expect("a session");
    (Secure::new(stream, server), Client::new(client, other))
}

/// A session that takes no more: how much it has taken, and its client, which reads nothing until
/// it is told how much there is, answers if it should, and returns how much came until the end.
async fn held_back(answers: bool) -> (Stream, usize, oneshot::Sender<usize>, JoinHandle<usize>) {
    let (stream, other) = pair().await;
    let (secure, mut client) = session(stream, other);
    let (tell, told) = oneshot::channel();
    let reading = thread::spawn(move || {
        while client.conn.is_handshaking() {
            client
                .conn
                .complete_io(&mut client.sock)
                .expect("a handshake");
        }
        let mut first = vec![0; told.blocking_recv().expect("it is told")];
        client
            .read_exact(&mut first)
            .expect("everything that was taken");
        if answers {
            client.write_all(b"all").expect("it is read");
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("an orderly end");
        first.len() + rest.len()
    });
    poll_fn(|cx| secure.poll_handshake(cx))
        .await
        .expect("a handshake");
    let stream = Stream::Tls(secure);
    let mut taken = 0;
    loop {
        match stream.try_write(&[7; 10_000]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("write: {error}"),
        }
    }
    (stream, taken, tell, reading)
}

#[tokio::test]
async fn what_a_session_holds_back_leaves_before_its_end() {
    let (stream, taken, tell, reading) = held_back(false).await;
    let is_flushed = poll_fn(|cx| Poll::Ready(stream.poll_flushed(cx).is_ready()));
    assert!(!is_flushed.await, "nobody has read anything");
    tell.send(taken).expect("it waits");
    let flushed = poll_fn(|cx| stream.poll_flushed(cx)).await;
    flushed.expect("it leaves");
    drop(stream);
    assert_eq!(reading.join().expect("no panic"), taken);
}

/// Who waits for an answer has nothing more to write, and would wait for ever for what the other
/// side has not been asked.
#[tokio::test]
async fn what_a_session_holds_back_leaves_while_its_owner_reads() {
    let (stream, taken, tell, reading) = held_back(true).await;
    tell.send(taken).expect("it waits");
    let mut buffer = Vec::with_capacity(16);
    let answer = poll_fn(|cx| stream.poll_read_into(cx, &mut buffer)).await;
    assert_eq!(answer.expect("an answer"), 3);
    assert_eq!(buffer, b"all");
    drop(stream);
    assert_eq!(reading.join().expect("no panic"), taken);
}

#[tokio::test]
async fn a_session_that_is_cut_says_no_goodbye() {
    for is_cut in [true, false] {
        let (stream, other) = pair().await;
        let (secure, mut client) = session(stream, other);
        let reading = thread::spawn(move || client.read(&mut [0; 8]));
        poll_fn(|cx| secure.poll_handshake(cx))
            .await
            .expect("a handshake");
        let stream = Stream::Tls(secure);
        if is_cut {
            stream.reset_on_close();
        }
        drop(stream);
        let read = reading.join().expect("no panic");
        assert_eq!(read.is_err(), is_cut, "{read:?}");
    }
}
