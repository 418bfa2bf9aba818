//! How relayed connections end, what each side gets to know of it, and how it is counted.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Broken;
use crate::support::tls::{Authority, Hello};

/// The value of the only series with this beginning.
pub(crate) fn value(proxy: &Evenkeel, series: &str) -> Option<u64> {
    let metrics = proxy.admin("/metrics").body.text();
    let line = metrics.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a session is counted with this result, and all are over.
#[track_caller]
pub(crate) fn assert_counted(proxy: &Evenkeel, result: &str) {
    let ended = format!(
        "evenkeel_l4_sessions_total{{listener=\"web\",upstream=\"app\",result=\"{result}\"}}"
    );
    eventually(&format!("a session is counted as {result}"), || {
        let now = value(proxy, "evenkeel_l4_sessions{")?;
        (value(proxy, &ended) == Some(1) && now == 0).then_some(())
    });
}

/// A client whose first bytes have come back.
pub(crate) fn greeted(proxy: &Evenkeel) -> Client {
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client
}

#[test]
fn an_orderly_end_is_ok() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = greeted(&proxy);
    assert_eq!(value(&proxy, "evenkeel_l4_sessions{"), Some(1));
    client.finish();
    assert!(client.is_closed());
    assert_counted(&proxy, "ok");
}

#[test]
fn a_clients_reset_stays_one() {
    // It has sent nothing yet, so that its end can be told from a break.
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let client = proxy.client();
    // Not when the endpoint has it: the proxy may not have heard of that.
    eventually("the endpoint is connected", || {
        let connected = value(&proxy, "evenkeel_endpoint_connect_duration_seconds_count");
        (connected == Some(1)).then_some(())
    });
    client.abort();
    let end = endpoint.wait_for_end();
    assert!(
        matches!(end, Broken::Truncated(_)),
        "an orderly end: {end:?}"
    );
    assert_counted(&proxy, "client_reset");
}

#[test]
fn an_endpoints_reset_stays_one() {
    let endpoint = Endpoint::start(|peer| {
        let hello = peer.bytes(5);
        peer.send(hello);
        peer.bytes(1);
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = greeted(&proxy);
    client.send("x");
    assert!(client.is_reset());
    assert_counted(&proxy, "endpoint_reset");
}

/// Bytes that nobody takes fill the sockets of both sides and what stands between them; a reset
/// must not wait until they have been taken.
#[test]
fn a_clients_reset_passes_a_full_pipe() {
    let endpoint = Endpoint::never_reads();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    let data = vec![7; 64 << 20];
    let sent = client.send_until_blocked(&data, Duration::from_millis(500));
    assert!(sent < data.len(), "nothing was in its way");
    client.abort();
    assert_counted(&proxy, "client_reset");
}

#[test]
fn an_endpoints_reset_passes_a_full_pipe() {
    let endpoint = Endpoint::start(|peer| {
        let data = vec![7; 64 << 20];
        let socket = peer.socket();
        socket
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        assert!(!peer.try_send(&data), "nothing was in its way");
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let client = proxy.client();
    assert_counted(&proxy, "endpoint_reset");
    // What had come before may be read; then it is no end but a reset.
    let mut stream = client.into_stream();
    let mut piece = vec![0; 1 << 16];
    let end = loop {
        match stream.read(&mut piece) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
}

#[test]
fn silence_cuts_a_session_and_movement_keeps_it() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "timeouts = { tunnel_idle = \"400ms\" }\n");
    let mut client = greeted(&proxy);
    for _ in 0..6 {
        pause(Duration::from_millis(150));
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
    }
    assert!(client.is_closed());
    assert_counted(&proxy, "idle");
}

#[test]
fn nobody_there_is_no_connection() {
    let proxy = Evenkeel::relaying_to(&[&Endpoint::refuses(), &Endpoint::refuses()], "");
    let mut client = proxy.client();
    assert!(client.is_reset());
    assert_counted(&proxy, "connect_failed");
}

#[test]
fn a_listener_takes_as_many_as_it_may() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "max_connections = 2\n");
    let (first, second) = (greeted(&proxy), greeted(&proxy));
    let mut third = proxy.client();
    third.send("hello");
    assert!(third.try_bytes(5).is_err(), "one too many");
    drop(first);
    eventually("there is room again", || {
        let mut client = proxy.client();
        client.send("hello");
        client.try_bytes(5).is_ok().then_some(())
    });
    drop(second);
}

#[test]
fn half_a_connection_carries_on_for_long() {
    // The client has finished; what the endpoint goes on sending is longer than any buffer.
    let data: Vec<u8> = (0..8_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let sent = data.clone();
    let endpoint = Endpoint::start(move |peer| {
        let question = peer.remainder();
        assert_eq!(question, b"question");
        for piece in sent.chunks(1_000_000) {
            peer.send(piece);
            pause(Duration::from_millis(10));
        }
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("question").finish();
    assert!(
        client.read_to_end() == data,
        "the bytes changed on their way"
    );
    let bytes = |direction: &str| {
        let labels = format!("listener=\"web\",upstream=\"app\",direction=\"{direction}\"");
        value(&proxy, &format!("evenkeel_l4_bytes_total{{{labels}}}"))
    };
    eventually("every byte is counted", || {
        (bytes("sent") == Some(8) && bytes("received") == Some(8_000_000)).then_some(())
    });
    assert_counted(&proxy, "ok");
}

/// An endpoint that hears all of the question, begins to answer, and is silent then.
fn answers_half() -> Endpoint {
    Endpoint::start(|peer| {
        peer.remainder();
        peer.send("half");
        peer.wait_for_end();
    })
}

/// A relay that ends TLS.
fn within_tls(authority: &Authority, endpoint: &Endpoint) -> Evenkeel {
    let config = format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         tls = {{ certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}] }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    );
    Evenkeel::start_among(&authority.certify(&["db.test"]).files("a"), &config)
}

#[test]
fn a_reset_is_heard_after_the_half_of_who_sends_it_has_ended() {
    let endpoint = answers_half();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    client.send("question").finish();
    assert_eq!(client.bytes(4), b"half");
    client.abort();
    assert_counted(&proxy, "client_reset");

    let (authority, endpoint) = (Authority::new(), answers_half());
    let proxy = within_tls(&authority, &endpoint);
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    client.send("question").finish();
    assert_eq!(client.bytes(4), b"half");
    client.abort();
    assert_counted(&proxy, "client_reset");
}

#[test]
fn an_endpoints_reset_is_heard_after_its_half_has_ended() {
    let endpoint = Endpoint::start(|peer| {
        peer.send("bye");
        peer.finish();
        peer.wait_for_release();
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = proxy.client();
    assert_eq!(client.read_to_end(), b"bye");
    endpoint.release("");
    assert_counted(&proxy, "endpoint_reset");
}

/// Within TLS a session takes what its socket does not: nothing waits in front of it then.
#[test]
fn an_endpoints_reset_passes_a_full_session_of_tls() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        let data = vec![7; 64 << 20];
        let socket = peer.socket();
        socket
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        assert!(!peer.try_send(&data), "nothing was in its way");
        peer.reset();
    });
    let proxy = within_tls(&authority, &endpoint);
    let client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert_counted(&proxy, "endpoint_reset");
    drop(client);
}

/// A client whose kernel keeps little for it, and that takes this long for each piece.
struct SlowReader {
    stream: TcpStream,
    pause: Duration,
}

impl SlowReader {
    fn connect(proxy: &Evenkeel, pause: Duration) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(8192).expect("a socket option");
        socket
            .connect(&proxy.address("web").into())
            .expect("the proxy accepts");
        Self {
            stream: socket.into(),
            pause,
        }
    }

    /// How many bytes come, and how that ends.
    fn read_to_end(mut self) -> (usize, Option<ErrorKind>) {
        let (mut count, mut piece) = (0, [0; 4096]);
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return (count, None),
                Ok(length) => count += length,
                Err(error) => return (count, Some(error.kind())),
            }
            pause(self.pause);
        }
    }
}

/// What the kernel has taken for a client is thrown away by a reset.
#[test]
fn what_came_before_a_reset_reaches_a_slow_reader() {
    let endpoint = Endpoint::start(|peer| {
        peer.bytes(1);
        peer.send(vec![7; 300_000]);
        peer.wait_for_release();
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = SlowReader::connect(&proxy, Duration::from_millis(20));
    std::io::Write::write_all(&mut client.stream, b"x").expect("the proxy reads");
    eventually("all is on its way", || {
        let bytes = value(
            &proxy,
            "evenkeel_l4_bytes_total{listener=\"web\",upstream=\"app\",direction=\"received\"}",
        );
        (bytes == Some(300_000)).then_some(())
    });
    endpoint.release("");
    let end = client.read_to_end();
    assert_eq!(end, (300_000, Some(ErrorKind::ConnectionReset)));
    assert_counted(&proxy, "endpoint_reset");
}

/// An endpoint that has gone has no connections, however long its last words take.
#[test]
fn what_came_before_a_reset_keeps_no_place_at_the_endpoint() {
    let endpoint = Endpoint::start(|peer| {
        peer.bytes(1);
        peer.send(vec![7; 300_000]);
        peer.wait_for_release();
        peer.reset();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "");
    let mut client = SlowReader::connect(&proxy, Duration::ZERO);
    std::io::Write::write_all(&mut client.stream, b"x").expect("the proxy reads");
    let received =
        "evenkeel_l4_bytes_total{listener=\"web\",upstream=\"app\",direction=\"received\"}";
    eventually("much is on its way", || {
        (value(&proxy, received) > Some(1000)).then_some(())
    });
    endpoint.release("");
    eventually("its places are free", || {
        let held = proxy.metric("evenkeel_endpoint_in_flight", &["upstream=\"app\""]);
        let open = proxy.metric("evenkeel_endpoint_connections", &["upstream=\"app\""]);
        (held == 0 && open == 0).then_some(())
    });
    assert_eq!(value(&proxy, "evenkeel_l4_sessions{"), Some(1));
    drop(client);
}

#[test]
fn a_reader_that_takes_what_it_was_sent_is_not_silent() {
    let endpoint = Endpoint::start(|peer| {
        peer.bytes(1);
        peer.send(vec![7; 300_000]);
        peer.wait_for_end();
    });
    let proxy = Evenkeel::relaying_to(&[&endpoint], "timeouts = { tunnel_idle = \"2s\" }\n");
    let mut client = SlowReader::connect(&proxy, Duration::from_millis(50));
    std::io::Write::write_all(&mut client.stream, b"x").expect("the proxy reads");
    let (count, _) = client.read_to_end();
    assert_eq!(count, 300_000);
    assert_counted(&proxy, "idle");
}
