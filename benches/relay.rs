//! What the tunnel costs: bulk in one direction, and small messages back and forth.
//!
//! `cargo bench --bench relay`. Client, tunnel and endpoint run on one thread over loopback, so the
//! kernel's share is the same for all. The figures to look at are the ratios to tokio's
//! `copy_bidirectional`, with its own buffers of 8 KiB and with large ones that it holds for as
//! long as the connection lives.

use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use evenkeel::endpoint::LiveStates;
use evenkeel::net::{Address, Stream};
use evenkeel::protocol::tunnel::{End, Passed, Places, Prefix, Watch, tunnel};
use evenkeel::snapshot::TunnelTimeouts;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

fn main() {
    divan::main();
}

/// Who relays.
#[derive(Debug, Clone, Copy)]
enum Relay {
    Tunnel,
    Tokio8K,
    Tokio64K,
}

const RELAYS: [Relay; 3] = [Relay::Tunnel, Relay::Tokio8K, Relay::Tokio64K];

#[divan::bench(args = RELAYS, sample_count = 20)]
fn bulk(bencher: Bencher<'_, '_>, relay: Relay) {
    let runtime = runtime();
    let (mut client, mut endpoint) = runtime.block_on(relayed(relay));
    let block = vec![b'x'; 64 * 1024];
    let mut sink = vec![0; 256 * 1024];
    bencher.counter(BytesCount::new(BULK)).bench_local(|| {
        runtime.block_on(async {
            let write = async {
                for _ in 0..BULK / block.len() {
                    endpoint.write_all(&block).await.expect("write");
                }
            };
            let read = async {
                let mut left = BULK;
                while left > 0 {
                    left -= client.read(&mut sink).await.expect("read");
                }
            };
            tokio::join!(write, read);
        });
    });
}

#[divan::bench(args = RELAYS, sample_count = 20)]
fn messages(bencher: Bencher<'_, '_>, relay: Relay) {
    let runtime = runtime();
    let (mut client, mut endpoint) = runtime.block_on(relayed(relay));
    let mut message = [b'x'; 100];
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        runtime.block_on(async {
            for _ in 0..MESSAGES {
                client.write_all(&message).await.expect("write");
                endpoint.read_exact(&mut message).await.expect("read");
                endpoint.write_all(&message).await.expect("write");
                client.read_exact(&mut message).await.expect("read");
            }
            black_box(&message);
        });
    });
}

fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime")
}

/// A client and an endpoint with a relay between them.
async fn relayed(relay: Relay) -> (TcpStream, TcpStream) {
    let (client, near) = pair().await;
    let (endpoint, far) = pair().await;
    let task = tokio::task::spawn_local(run(relay, near, far));
    drop(task);
    (client, endpoint)
}

async fn run(relay: Relay, mut near: TcpStream, mut far: TcpStream) {
    match relay {
        Relay::Tunnel => {
            let (near, far) = (Stream::from(near), Stream::from(far));
            let (places, passed) = (Places::default(), Passed::default());
            let address = Address::Ip(([10, 0, 0, 1], 80).into());
            let endpoint = LiveStates::new().get_or_create("app", &address);
            let watch = Watch {
                limits: TunnelTimeouts {
                    idle: Duration::from_hours(1),
                    max_age: None,
                    first_byte: None,
                },
                endpoint: &endpoint,
                passed: &passed,
                places: &places,
                meters: None,
            };
            let ends = (End::Socket(&near), End::Socket(&far));
            black_box(tunnel(ends.0, ends.1, Prefix::default(), watch).await);
        }
        Relay::Tokio8K => {
            let copied = copy_bidirectional(&mut near, &mut far).await;
            black_box(copied).ok();
        }
        Relay::Tokio64K => {
            let copied = copy_bidirectional_with_sizes(&mut near, &mut far, LARGE, LARGE).await;
            black_box(copied).ok();
        }
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.expect("connect"), far.expect("accept").0);
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("option");
    }
    (near, far)
}

/// Bytes of one bulk transfer.
const BULK: usize = 16 << 20;

/// Messages of one exchange, there and back.
const MESSAGES: usize = 1_000;

/// What the tunnel takes for bulk.
const LARGE: usize = 64 * 1024;
