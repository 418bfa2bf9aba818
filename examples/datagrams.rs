//! Datagrams to relay: endpoints that send each back, and clients that count what comes back.
//!
//! ```sh
//! cargo run --release --example datagrams -- echo 127.0.0.1:3001 127.0.0.1:3002
//! # in front of them: a listener with protocols = ["udp"] at 127.0.0.1:8053, then
//! cargo run --release --example datagrams -- load 127.0.0.1:8053 64 5
//! ```
//!
//! Each of the clients (64 here) has a socket of its own and sends the next datagram of 100 bytes
//! when the last one has come back, or after a second; so for as many seconds (5) as are said. It
//! prints how many came back, and how many did not. It runs on one thread. The end-to-end benches
//! stand on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

const USAGE: &str = "usage: datagrams echo ADDRESS... | datagrams load ADDRESS CLIENTS SECONDS";

/// What one client has seen, or all of them.
#[derive(Debug, Default)]
struct Seen {
    back: u64,
    lost: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["echo", ref addresses @ ..] if !addresses.is_empty() => echo(addresses).await,
        ["load", address, clients, seconds] => {
            match (address.parse(), clients.parse(), seconds.parse()) {
                (Ok(address), Ok(clients), Ok(seconds)) => load(address, clients, seconds).await,
                _ => Err(USAGE.to_owned()),
            }
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Sends back what comes to these addresses, until that fails.
async fn echo(addresses: &[&str]) -> Result<(), String> {
    let mut sockets = JoinSet::new();
    for address in addresses {
        let failed = |error: io::Error| format!("{address}: {error}");
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        sockets.spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                // One that cannot be sent, or a client that has gone, is a datagram lost.
                if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    socket.send_to(&buffer[..length], from).await.ok();
                }
            }
        });
    }
    sockets.join_next().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn load(address: SocketAddr, clients: u32, seconds: u64) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(address, end));
    }
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        let seen = seen.map_err(|error| error.to_string())?;
        let seen = seen.map_err(|error| format!("{address}: {error}"))?;
        all.back += seen.back;
        all.lost += seen.lost;
    }
    println!("{} back, {} lost", all.back, all.lost);
    Ok(())
}

async fn client(address: SocketAddr, end: Instant) -> io::Result<Seen> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(address).await?;
    let mut buffer = [0; 2048];
    let mut seen = Seen::default();
    while Instant::now() < end {
        let turn = timeout(Duration::from_secs(1), async {
            socket.send(&[b'x'; 100]).await?;
            socket.recv(&mut buffer).await
        });
        match timeout_at(end, turn).await {
            Ok(Ok(Ok(100))) => seen.back += 1,
            Ok(_) => seen.lost += 1,
            Err(_) => break,
        }
    }
    Ok(seen)
}
