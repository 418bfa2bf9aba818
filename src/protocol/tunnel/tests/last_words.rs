//! What came before a reset, for readers of every pace.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, pause, resume, sleep};

use super::{Ended, HOUR, Outcome, Prefix, between, live, locally, pair};
use crate::net::Stream;
use crate::snapshot::TunnelTimeouts;

/// A client whose kernel keeps little for it, and the tunnel to an endpoint that has said [`ALL`]
/// and then reset its connection.
async fn reset_behind_much() -> (TcpStream, JoinHandle<Outcome>) {
    let (client, client_stream) = pair().await;
    let (mut endpoint, endpoint_stream) = pair().await;
    let few = socket2::SockRef::from(&client).set_recv_buffer_size(4096);
    few.expect("a socket option");
    let Stream::Tcp(socket) = &client_stream else {
        unreachable!("a pair of TCP")
    };
    let few = socket2::SockRef::from(&**socket).set_send_buffer_size(64 * 1024);
    few.expect("a socket option");
    let limits = TunnelTimeouts {
        idle: HOUR,
        max_age: None,
        first_byte: None,
    };
    let relay = between(
        client_stream,
        endpoint_stream,
        live(),
        limits,
        Prefix::default(),
    );
    let tunnel = tokio::task::spawn_local(relay);
    endpoint.write_all(&vec![7; ALL]).await.expect("write");
    let endpoint = Stream::from(endpoint);
    while endpoint.outstanding() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    endpoint.reset_on_close();
    drop(endpoint);
    (client, tunnel)
}

/// Reads to the end, which is a reset, and rests before each piece as it is told.
async fn count(client: &mut TcpStream, mut rest: impl AsyncFnMut(usize)) -> usize {
    let (mut count, mut piece) = (0, [0; 8192]);
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
        let count = count(&mut client, async |_| skip(Duration::from_secs(5)).await);
        assert!(count.await < ALL, "it had all the time it wanted");
        assert!(begun.elapsed() > Duration::from_secs(55));
        assert_eq!(tunnel.await.expect("no panic").end, Ended::EndpointReset);
    })
    .await;
}

const ALL: usize = 220_000;

/// Long enough for the kernel to pass on what it may.
const KERNEL: Duration = Duration::from_millis(20);
