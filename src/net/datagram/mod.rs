//! Sockets that take datagrams, and the moving of many of them in one system call.
//!
//! Problem: with datagrams the kernel's price is paid for each of them, and on a busy socket most
//! of it is the way in and out of the kernel. So a worker owns one [`Batch`], fills it with what a
//! socket has (`recvmmsg`), and sends what belongs to one socket together (`sendmmsg`). Where a
//! sender hands the kernel many datagrams as one (GSO), they arrive as one (GRO) and leave as one.
//!
//! A socket on every address must answer from the address that it was asked at, or clients take the
//! answer for somebody else's: what was received says where ([`Source`]), and what is sent too.
//!
//! `rustix` has no `recvmmsg` and none of these control messages, so the two calls are made here
//! ([`call`]); all that they read and write beside the payload is built and read as plain bytes.

mod batch;
mod call;
mod control;
mod name;
mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::options::{Connecting, set_number};

pub use batch::{Batch, Datagram};
pub use control::Source;
pub use send::{Outgoing, send};

/// Has a bound socket tell what it has to tell of datagrams.
pub(super) fn prepare(socket: &Socket, bound: SocketAddr) -> io::Result<()> {
    if bound.ip().is_unspecified() {
        let (level, option) = if bound.is_ipv6() {
            (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO)
        } else {
            (libc::SOL_IP, libc::IP_PKTINFO)
        };
        set_number(socket, level, option, 1)?;
    }
    take_coalesced(socket);
    Ok(())
}

/// A socket that is connected to an endpoint, non-blocking: what others send is not received by it,
/// and what the network says of the endpoint (ICMP) is its error.
pub fn connected(endpoint: SocketAddr, options: Option<&Connecting>) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(endpoint),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    take_coalesced(&socket);
    if let Some(options) = options {
        options.prepare_datagrams(&socket, endpoint.is_ipv6())?;
    }
    socket.connect(&endpoint.into())?;
    Ok(socket.into())
}

/// Kernels before 5.0 do not know it: then datagrams come one by one.
fn take_coalesced(socket: &Socket) {
    if let Err(error) = set_number(socket, libc::SOL_UDP, libc::UDP_GRO, 1) {
        tracing::trace!(%error, "no UDP_GRO");
    }
}

/// The kernel's type of lengths is narrower, and so is every length that is told to it here.
fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The most that one message may be: a datagram, or several that came as one.
const LARGEST: usize = 64 * 1024;
