//! A probe over UDP: a datagram, and what comes back.
//!
//! A datagram may be lost, so a question is asked once more in the middle of the time that there
//! is: the answer to either will do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::outcome::Outcome;
use crate::endpoint::ConnectFailure;
use crate::net::{Address, Connecting, connected};
use crate::proxy_protocol::Introduction;
use crate::upstream::UdpProbe;

/// Asks an endpoint. Ends within the limit.
pub(super) async fn ask(
    probe: &UdpProbe,
    address: &Address,
    (introduction, socket): (Option<&Introduction>, Option<&Connecting>),
    limit: Duration,
) -> Outcome {
    let Address::Ip(address) = address else {
        let why = "datagrams cannot be sent to the path of a socket".to_owned();
        return Outcome::NotConnected(ConnectFailure::Unavailable, why);
    };
    let mut question = introduction.map(Introduction::finished).unwrap_or_default();
    question.extend_from_slice(&probe.send);
    for part in [limit / 2; 2] {
        match timeout(part, exchange(probe, &question, *address, socket)).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => {
                return Outcome::NotConnected(ConnectFailure::of(&error), error.to_string());
            }
            Err(_) => {}
        }
    }
    Outcome::NoAnswerWithin(limit)
}

async fn exchange(
    probe: &UdpProbe,
    question: &[u8],
    address: SocketAddr,
    socket: Option<&Connecting>,
) -> io::Result<Outcome> {
    // A port of its own: what comes late for another question is not taken for the answer.
    let socket = UdpSocket::from_std(connected(address, socket)?)?;
    socket.send(question).await?;
    let mut answer = vec![0; LONGEST];
    let length = socket.recv(&mut answer).await?;
    let expect = probe.expect.as_ref();
    Ok(Outcome::Replied {
        length,
        is_expected: expect.is_none_or(|expect| expect.matches(&answer[..length])),
    })
}

/// The longest datagram.
const LONGEST: usize = 65_535;
