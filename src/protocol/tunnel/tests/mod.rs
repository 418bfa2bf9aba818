mod last_words;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use super::{End, Ended, Outcome, Passed, Places, Prefix, Watch, tunnel};
use crate::endpoint::{Live, LiveStates};
use crate::net::{Address, Stream};
use crate::snapshot::TunnelTimeouts;

/// A client and an endpoint with a tunnel between them.
struct Scene {
    client: TcpStream,
    endpoint: TcpStream,
    tunnel: tokio::task::JoinHandle<Outcome>,
}

/// Both ends of one connection.
async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connect"), accepted.expect("accept").0.into())
}

async fn scene(idle: Duration, prefix: Prefix) -> Scene {
    scene_with(idle, None, prefix).await
}

async fn scene_with(idle: Duration, first_byte: Option<Duration>, prefix: Prefix) -> Scene {
    let limits = TunnelTimeouts {
        idle,
        max_age: None,
        first_byte,
    };
    scene_at(&live(), limits, prefix).await
}

/// An endpoint.
fn live() -> Arc<Live> {
    let address = Address::Ip(([10, 0, 0, 1], 80).into());
    LiveStates::new().get_or_create("app", &address)
}

async fn scene_at(live: &Arc<Live>, limits: TunnelTimeouts, prefix: Prefix) -> Scene {
    let live = Arc::clone(live);
    let (client, client_stream) = pair().await;
    let (endpoint, endpoint_stream) = pair().await;
    let relay = between(client_stream, endpoint_stream, live, limits, prefix);
    let tunnel = tokio::task::spawn_local(relay);
    Scene {
        client,
        endpoint,
        tunnel,
    }
}

/// A tunnel between these.
async fn between(
    client: Stream,
    endpoint: Stream,
    live: Arc<Live>,
    limits: TunnelTimeouts,
    prefix: Prefix,
) -> Outcome {
    let (places, passed) = (Places::default(), Passed::default());
    let watch = Watch {
        limits,
        endpoint: &live,
        places: &places,
        passed: &passed,
        meters: None,
    };
    let client = End::Socket(&client);
    tunnel(client, End::Socket(&endpoint), prefix, watch).await
}

/// Runs a test where tunnels may be spawned.
async fn locally<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("linger");
    drop(stream);
}

async fn text(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .expect("an orderly end");
    text
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await;
    end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn an_end_of_the_client_still_lets_the_answer_through() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene.client.write_all(b"question").await.expect("write");
        scene.client.shutdown().await.expect("shutdown");
        assert_eq!(text(&mut scene.endpoint).await, "question");
        scene.endpoint.write_all(b"answer").await.expect("write");
        drop(scene.endpoint);
        assert_eq!(text(&mut scene.client).await, "answer");
        let outcome = scene.tunnel.await.expect("no panic");
        let expected = Outcome {
            sent: 8,
            received: 6,
            end: Ended::Closed,
        };
        assert_eq!(outcome, expected);
    })
    .await;
}

#[tokio::test]
async fn an_end_of_the_endpoint_still_lets_the_client_send() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene.endpoint.write_all(b"enough").await.expect("write");
        scene.endpoint.shutdown().await.expect("shutdown");
        assert_eq!(text(&mut scene.client).await, "enough");
        scene.client.write_all(b"but").await.expect("write");
        scene.client.shutdown().await.expect("shutdown");
        assert_eq!(text(&mut scene.endpoint).await, "but");
        assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::Closed);
    })
    .await;
}

#[tokio::test]
async fn what_was_read_before_comes_first() {
    locally(async {
        let prefix = Prefix {
            sent: Bytes::from_static(b"early "),
            received: Bytes::from_static(b"hello "),
        };
        let mut scene = scene(HOUR, prefix).await;
        scene.client.write_all(b"late").await.expect("write");
        scene.client.shutdown().await.expect("shutdown");
        scene.endpoint.write_all(b"world").await.expect("write");
        scene.endpoint.shutdown().await.expect("shutdown");
        assert_eq!(text(&mut scene.endpoint).await, "early late");
        assert_eq!(text(&mut scene.client).await, "hello world");
        let outcome = scene.tunnel.await.expect("no panic");
        assert_eq!((outcome.sent, outcome.received), (10, 11));
    })
    .await;
}

#[tokio::test]
async fn a_reset_of_the_client_resets_the_endpoint() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene.client.write_all(b"half a").await.expect("write");
        let mut start = [0; 6];
        scene.endpoint.read_exact(&mut start).await.expect("read");
        reset(scene.client);
        assert!(
            is_reset(&mut scene.endpoint).await,
            "took the half for the whole"
        );
        assert_eq!(
            scene.tunnel.await.expect("no panic").end,
            Ended::ClientReset
        );
    })
    .await;
}

#[tokio::test]
async fn a_reset_of_the_endpoint_resets_the_client_after_what_it_sent() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene
            .endpoint
            .write_all(b"half an ans")
            .await
            .expect("write");
        let mut start = [0; 11];
        scene.client.read_exact(&mut start).await.expect("read");
        reset(scene.endpoint);
        assert!(
            is_reset(&mut scene.client).await,
            "took the half for the whole"
        );
        assert_eq!(
            scene.tunnel.await.expect("no panic").end,
            Ended::EndpointReset
        );
    })
    .await;
}

#[tokio::test]
async fn an_early_answer_to_an_upload_arrives_although_the_endpoint_resets() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene
            .client
            .write_all(b"first part of an upload")
            .await
            .expect("write");
        scene.endpoint.readable().await.expect("readable");
        scene.endpoint.write_all(b"too large").await.expect("write");
        let mut answer = [0; 9];
        // Closing with bytes unread makes the kernel send a reset.
        drop(scene.endpoint);
        scene
            .client
            .read_exact(&mut answer)
            .await
            .expect("the answer");
        assert_eq!(&answer, b"too large");
        assert!(is_reset(&mut scene.client).await);
        assert_eq!(
            scene.tunnel.await.expect("no panic").end,
            Ended::EndpointReset
        );
    })
    .await;
}

#[tokio::test]
async fn a_client_that_stops_taking_bytes_is_a_reset_and_not_an_end() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        drop(scene.client);
        let mut end = [0; 1];
        assert_eq!(
            scene
                .endpoint
                .read(&mut end)
                .await
                .expect("the client's end"),
            0
        );
        // The client's kernel answers the first bytes with a reset.
        let flood = vec![b'x'; 64 * 1024];
        while scene.endpoint.write_all(&flood).await.is_ok() {}
        assert_eq!(
            scene.tunnel.await.expect("no panic").end,
            Ended::ClientReset
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_tunnel_with_a_reset_of_both_sides() {
    locally(async {
        let start = Instant::now();
        let mut scene = scene(HOUR, Prefix::default()).await;
        assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::Idle);
        assert_eq!(start.elapsed().as_secs(), HOUR.as_secs());
        assert!(is_reset(&mut scene.client).await);
        assert!(is_reset(&mut scene.endpoint).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_which_nothing_comes_ends_earlier() {
    locally(async {
        for (first_byte, idle, end) in [
            (FIVE_MINUTES, HOUR, Ended::Silent),
            // Below and above the silence after which peers are asked after.
            (Duration::from_secs(7), HOUR, Ended::Silent),
            (FIVE_MINUTES, Duration::from_secs(100), Ended::Idle),
        ] {
            let start = Instant::now();
            let mut scene = scene_with(idle, Some(first_byte), Prefix::default()).await;
            assert_eq!(scene.tunnel.await.expect("no panic").end, end);
            assert_eq!(start.elapsed().as_secs(), idle.min(first_byte).as_secs());
            assert!(is_reset(&mut scene.client).await);
            assert!(is_reset(&mut scene.endpoint).await);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_of_either_side_is_enough() {
    locally(async {
        for endpoint_speaks in [true, false] {
            let start = Instant::now();
            let mut scene = scene_with(HOUR, Some(FIVE_MINUTES), Prefix::default()).await;
            sleep(Duration::from_secs(200)).await;
            let (from, to) = if endpoint_speaks {
                (&mut scene.endpoint, &mut scene.client)
            } else {
                (&mut scene.client, &mut scene.endpoint)
            };
            from.write_all(b".").await.expect("still open");
            to.read_exact(&mut [0; 1]).await.expect("still relayed");
            assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::Idle);
            assert_eq!(start.elapsed().as_secs(), 200 + HOUR.as_secs());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn any_byte_starts_the_idle_limit_afresh() {
    locally(async {
        let start = Instant::now();
        let mut scene = scene(Duration::from_secs(100), Prefix::default()).await;
        for _ in 0..5 {
            sleep(Duration::from_secs(90)).await;
            scene.endpoint.write_all(b".").await.expect("still open");
            let mut byte = [0; 1];
            scene
                .client
                .read_exact(&mut byte)
                .await
                .expect("still relayed");
        }
        assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::Idle);
        assert_eq!(start.elapsed().as_secs(), 5 * 90 + 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn age_ends_a_tunnel_on_which_much_moves() {
    locally(async {
        let start = Instant::now();
        let limits = TunnelTimeouts {
            idle: Duration::from_secs(100),
            max_age: Some(Duration::from_secs(500)),
            first_byte: None,
        };
        let mut scene = scene_at(&live(), limits, Prefix::default()).await;
        for _ in 0..5 {
            sleep(Duration::from_secs(90)).await;
            scene.endpoint.write_all(b".").await.expect("still open");
        }
        assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::MaxAge);
        assert_eq!(start.elapsed().as_secs(), 500);
        assert!(is_reset(&mut scene.endpoint).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_its_endpoint_ends_a_tunnel() {
    locally(async {
        let live = live();
        let start = Instant::now();
        let limits = TunnelTimeouts {
            idle: HOUR,
            max_age: None,
            first_byte: None,
        };
        let mut scene = scene_at(&live, limits, Prefix::default()).await;
        sleep(Duration::from_secs(10)).await;
        live.retire(None);
        sleep(Duration::from_secs(10)).await;
        // Out, in, and out again before the tunnel has had a turn.
        live.retire(Some(Instant::now()));
        live.set_retired(false);
        live.retire(Some(Instant::now() + Duration::from_secs(30)));
        sleep(Duration::from_secs(10)).await;
        live.set_retired(false);
        sleep(Duration::from_secs(70)).await;
        assert!(!scene.tunnel.is_finished(), "the endpoint is back");
        live.retire(Some(Instant::now() + Duration::from_secs(20)));
        assert_eq!(scene.tunnel.await.expect("no panic").end, Ended::Removed);
        assert_eq!(start.elapsed().as_secs(), 120);
        assert!(is_reset(&mut scene.client).await);
        assert!(is_reset(&mut scene.endpoint).await);
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        let block = vec![b'x'; 64 * 1024];
        let mut accepted = 0_usize;
        // The client reads nothing: only the kernel's buffers and one of ours can fill.
        while let Ok(count) = timeout(STALL, scene.endpoint.write(&block)).await {
            accepted += count.expect("still open");
            assert!(accepted < KERNEL_BUFFERS, "bytes pile up in the tunnel");
        }
        let mut read = 0;
        let mut sink = vec![0; 256 * 1024];
        while read < accepted {
            read += scene.client.read(&mut sink).await.expect("read");
        }
        assert_eq!(read, accepted);
        drop((scene.client, scene.endpoint));
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_that_is_dropped_resets_both_sides() {
    locally(async {
        let mut scene = scene(HOUR, Prefix::default()).await;
        scene.client.write_all(b"x").await.expect("write");
        let mut byte = [0; 1];
        scene.endpoint.read_exact(&mut byte).await.expect("read");
        scene.tunnel.abort();
        assert!(is_reset(&mut scene.client).await, "a cut looks like an end");
        assert!(
            is_reset(&mut scene.endpoint).await,
            "a cut looks like an end"
        );
    })
    .await;
}

#[tokio::test]
async fn bulk_passes_whole_both_ways_at_once() {
    locally(async {
        let scene = scene(HOUR, Prefix::default()).await;
        let (up, down) = (pattern(3_000_000), pattern(5_000_001));
        let (mut client_read, mut client_write) = scene.client.into_split();
        let (mut endpoint_read, mut endpoint_write) = scene.endpoint.into_split();
        let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
        let writes = async {
            let (first, second) =
                tokio::join!(client_write.write_all(&up), endpoint_write.write_all(&down));
            first.and(second).expect("write");
            drop((client_write, endpoint_write));
        };
        let ((), first, second) = tokio::join!(
            writes,
            endpoint_read.read_to_end(&mut got_up),
            client_read.read_to_end(&mut got_down)
        );
        first.and(second).expect("orderly ends");
        assert!(got_up == up && got_down == down, "bytes changed on the way");
        let outcome = scene.tunnel.await.expect("no panic");
        assert_eq!((outcome.sent, outcome.received), (3_000_000, 5_000_001));
    })
    .await;
}

/// A tunnel with nothing between its ends yet, and its other ends.
async fn unpolled<'a>(
    streams: &'a mut Option<(Stream, Stream)>,
    live: &'a Live,
    (places, passed): &'a (Places, Passed),
) -> (TcpStream, TcpStream, impl Future<Output = Outcome> + 'a) {
    let (client, client_stream) = pair().await;
    let (endpoint, endpoint_stream) = pair().await;
    let (near, far) = &*streams.insert((client_stream, endpoint_stream));
    let limits = TunnelTimeouts {
        idle: HOUR,
        max_age: None,
        first_byte: None,
    };
    let watch = Watch {
        limits,
        endpoint: live,
        places,
        passed,
        meters: None,
    };
    let ends = (End::Socket(near), End::Socket(far));
    let tunnel = tunnel(ends.0, ends.1, Prefix::default(), watch);
    (client, endpoint, tunnel)
}

/// Polls once for a task that nobody wakes.
fn poll_once(future: Pin<&mut impl Future<Output = Outcome>>) {
    let polled = future.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

#[tokio::test]
async fn another_task_may_go_on_with_a_tunnel() {
    let (mut streams, live, counts) = (None, live(), Default::default());
    let (mut client, mut endpoint, tunnel) = unpolled(&mut streams, &live, &counts).await;
    let mut tunnel = pin!(tunnel);
    sleep(Duration::from_millis(1)).await;
    // The first has it look, and find nothing; only the second is woken.
    poll_once(tunnel.as_mut());
    poll_once(tunnel.as_mut());
    let exchange = async {
        sleep(Duration::from_millis(20)).await;
        client.write_all(b"hello").await.expect("write");
        endpoint.read_exact(&mut [0; 5]).await.expect("it passes");
        client.shutdown().await.expect("shutdown");
        endpoint.shutdown().await.expect("shutdown");
    };
    let (outcome, ()) = tokio::join!(tunnel, exchange);
    assert_eq!((outcome.sent, outcome.end), (5, Ended::Closed));
}

#[tokio::test]
async fn a_turn_has_an_end_however_much_there_is() {
    let (mut streams, live, counts) = (None, live(), Default::default());
    let (client, _endpoint, tunnel) = unpolled(&mut streams, &live, &counts).await;
    let mut tunnel = pin!(tunnel);
    let (block, mut written) = (vec![7; 1 << 16], 0);
    while let Ok(count) = client.try_write(&block) {
        written += count as u64;
    }
    let mut before = 0;
    // What its kernel still holds for the client follows as there is room.
    let passed = &counts.1;
    while passed.sent.get() < written / 2 {
        sleep(Duration::from_millis(1)).await;
        poll_once(tunnel.as_mut());
        let moved = passed.sent.get() - before;
        assert!(moved <= 512 * 1024, "{moved} bytes at once");
        before += moved;
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

const HOUR: Duration = Duration::from_hours(1);

const FIVE_MINUTES: Duration = Duration::from_mins(5);

/// Long enough that a writer which could go on would have.
const STALL: Duration = Duration::from_millis(200);

/// More than two sockets of this machine hold, by `tcp_rmem` and `tcp_wmem`: 6 MiB + 4 MiB each.
const KERNEL_BUFFERS: usize = 24 << 20;
