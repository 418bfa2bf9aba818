//! What came before a reset, for readers of every pace.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, pause, resume, sleep};

use super::{
    End, Ended, HOUR, Outcome, Passed, Places, Prefix, Watch, between, live, locally, pair, tunnel,
};
use crate::http2::{Connection, Driven, ErrorCode, Settings};
use crate::net::Stream;
use crate::snapshot::TunnelTimeouts;

/// A client whose kernel keeps little for it from the start, and our end of its connection.
async fn narrow_pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let client = TcpSocket::new_v4().expect("a socket");
    client.set_recv_buffer_size(4096).expect("an option");
    let client = client.connect(listener.local_addr().expect("address"));
    let (client, accepted) = tokio::join!(client, listener.accept());
    let near = accepted.expect("accept").0;
    let few = socket2::SockRef::from(&near).set_send_buffer_size(64 * 1024);
    few.expect("an option");
    (client.expect("connect"), near.into())
}

/// Says [`ALL`], and resets the connection once it is on its way.
async fn say_all_and_reset(mut endpoint: TcpStream) {
    endpoint.write_all(&vec![7; ALL]).await.expect("write");
    let endpoint = Stream::from(endpoint);
    while endpoint.outstanding() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    endpoint.reset_on_close();
}

/// A tunnel between these, which runs.
fn spawn_between(client: Stream, endpoint: Stream) -> JoinHandle<Outcome> {
    let relay = between(client, endpoint, live(), LIMITS, Prefix::default());
    tokio::task::spawn_local(relay)
}

/// A client that is slow to take anything, and the tunnel to an endpoint that has said [`ALL`]
/// and then reset its connection.
async fn reset_behind_much() -> (TcpStream, JoinHandle<Outcome>) {
    let (client, client_stream) = narrow_pair().await;
    let (endpoint, endpoint_stream) = pair().await;
    let tunnel = spawn_between(client_stream, endpoint_stream);
    say_all_and_reset(endpoint).await;
    (client, tunnel)
}

/// The same over a stream of HTTP/2.
async fn reset_behind_much_on_a_stream() -> (TcpStream, JoinHandle<Outcome>) {
    let (mut client, client_stream) = narrow_pair().await;
    let (endpoint, endpoint_stream) = pair().await;
    client.write_all(CONNECT).await.expect("write");
    let connection = Connection::server(client_stream, &[], SETTINGS, Instant::now());
    let driven = poll_fn(|cx| connection.poll_drive(cx, Instant::now())).await;
    let Driven::Request(_, stream) = driven else {
        panic!("{driven:?}")
    };
    let driving =
        async move { drop(poll_fn(|cx| connection.poll_drive(cx, Instant::now())).await) };
    tokio::task::spawn_local(driving);
    let tunnel = tokio::task::spawn_local(async move {
        let (live, places, passed) = (live(), Places::default(), Passed::default());
        let watch = Watch {
            limits: LIMITS,
            endpoint: &live,
            places: &places,
            passed: &passed,
            meters: None,
        };
        let client = End::Stream(&stream, ErrorCode::CONNECT_ERROR);
        let upstream = End::Socket(&endpoint_stream);
        tunnel(client, upstream, Prefix::default(), watch).await
    });
    say_all_and_reset(endpoint).await;
    (client, tunnel)
}

/// An endpoint that is slow to take anything, and the tunnel from a client that has said [`ALL`]
/// and then reset its connection.
async fn reset_behind_requests() -> (TcpStream, JoinHandle<Outcome>) {
    let (client, client_stream) = pair().await;
    let (endpoint, endpoint_stream) = narrow_pair().await;
    let tunnel = spawn_between(client_stream, endpoint_stream);
    say_all_and_reset(client).await;
    (endpoint, tunnel)
}

/// Reads to the end, which is a reset, and rests before each piece as it is told.
async fn count(client: &mut TcpStream, mut rest: impl AsyncFnMut(usize)) -> usize {
    let (mut count, mut piece) = (0, [0; 4096]);
    loop {
        rest(count).await;
        match client.read(&mut piece).await {
            Ok(length) => count += length,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                return count;
            }
        }
    }
}

/// Rests so many seconds before the first piece.
async fn rest_at_first(count: usize, seconds: u64) {
    if count == 0 {
        skip(Duration::from_secs(seconds)).await;
    }
}

/// Lets time pass that nobody has to wait for, and the kernel do what it has to.
async fn skip(time: Duration) {
    sleep(KERNEL).await;
    pause();
    sleep(time).await;
    resume();
    sleep(KERNEL).await;
}

/// A reader takes less in a second than its socket wants before it is writable again.
#[tokio::test]
async fn a_slow_reader_gets_what_came_before_a_reset() {
    locally(async {
        let (mut client, tunnel) = reset_behind_much().await;
        let count = count(&mut client, async |count| {
            if count < ALL / 2 {
                sleep(Duration::from_millis(100)).await;
            }
        });
        assert_eq!(count.await, ALL);
        assert_eq!(tunnel.await.expect("no panic").end, Ended::EndpointReset);
    })
    .await;
}

/// A kernel that has told of no room tells of it only once there is much.
#[tokio::test]
async fn a_reader_that_pauses_for_seconds_gets_what_came_before_a_reset() {
    locally(async {
        let (mut client, tunnel) = reset_behind_much().await;
        let count = count(&mut client, async |count| {
            if count == 0 {
                skip(Duration::from_secs(8)).await;
            }
        });
        assert_eq!(count.await, ALL);
        assert_eq!(tunnel.await.expect("no panic").end, Ended::EndpointReset);
    })
    .await;
}

/// It would hold the endpoint's reset back for as long as it likes.
#[tokio::test]
async fn what_came_before_a_reset_waits_for_a_minute_in_all() {
    locally(async {
        let (mut client, tunnel) = reset_behind_much().await;
        let begun = Instant::now();
        let count = count(&mut client, async |_| skip(Duration::from_secs(2)).await);
        assert!(count.await < ALL, "it had all the time it wanted");
        assert!(begun.elapsed() > Duration::from_secs(55), "it was reading");
        assert_eq!(tunnel.await.expect("no panic").end, Ended::EndpointReset);
    })
    .await;
}

/// Its client counts as connected until then.
#[tokio::test]
async fn what_a_client_said_before_its_reset_waits_for_seconds() {
    locally(async {
        for (pause, is_taken) in [(1, true), (4, false)] {
            let (mut endpoint, tunnel) = reset_behind_requests().await;
            let count = count(&mut endpoint, async |count| {
                rest_at_first(count, pause).await;
            });
            assert_eq!(count.await == ALL, is_taken, "after {pause} s");
            assert_eq!(tunnel.await.expect("no panic").end, Ended::ClientReset);
        }
        // However steadily it is taken: ten times in all, and not sixty.
        let (mut endpoint, tunnel) = reset_behind_requests().await;
        let count = count(&mut endpoint, async |_| skip(Duration::from_secs(1)).await);
        assert!(count.await < ALL / 2, "it had more time than it has");
        assert_eq!(tunnel.await.expect("no panic").end, Ended::ClientReset);
    })
    .await;
}

/// Its socket takes more only once a third of its buffer has drained.
#[tokio::test]
async fn a_stream_gets_what_came_before_a_reset_while_its_connection_delivers() {
    locally(async {
        let (mut client, tunnel) = reset_behind_much_on_a_stream().await;
        let reader = tokio::task::spawn_local(async move {
            let mut piece = [0; 4096];
            for _ in 0..20 {
                skip(Duration::from_secs(2)).await;
                client.read_exact(&mut piece).await.expect("there is more");
            }
            let mut rest = Vec::new();
            drop(client.read_to_end(&mut rest).await);
        });
        let outcome = tunnel.await.expect("no panic");
        assert_eq!(outcome.end, Ended::EndpointReset);
        assert_eq!(outcome.received, ALL as u64);
        reader.abort();
    })
    .await;
}

/// More than the kernel and a session hold on their way to such a client.
const ALL: usize = 260_000;

const LIMITS: TunnelTimeouts = TunnelTimeouts {
    idle: HOUR,
    max_age: None,
    first_byte: None,
};

const SETTINGS: Settings = Settings {
    max_streams: 10,
    stream_window: 65_535,
    connection_window: 65_535,
    head: 4096,
    fields: 100,
    connect_protocol: false,
};

/// A client that leaves much room and has one tunnel.
const CONNECT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\x06\x04\0\0\0\0\0\0\x04\0\x10\0\0\
    \0\0\x04\x08\0\0\0\0\0\0\x10\0\0\
    \0\0\x0e\x01\x04\0\0\0\x01\x02\x07CONNECT\x01\x03a:1";

/// Long enough for the kernel to pass on what it may.
const KERNEL: Duration = Duration::from_millis(20);
