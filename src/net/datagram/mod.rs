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
mod heard;
mod name;
mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::options::{Connecting, set_number};

pub use batch::{Batch, Datagram};
pub use control::Source;
pub use heard::{Heard, heard};
pub use send::{Outcome, Outgoing, send};

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
/// and what the network says of the endpoint (ICMP) is its error. Whoever waits for what comes has
/// to take those as well ([`heard`]).
pub fn connected(endpoint: SocketAddr, options: Option<&Connecting>) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(endpoint),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    heard::listen(&socket, endpoint)?;
    if let Some(options) = options {
        options.prepare_datagrams(&socket, endpoint.is_ipv6())?;
    }
    let connected = socket.connect(&endpoint.into());
    connected.map_err(|error| match error.kind() {
        // So the kernel says of datagrams that no local port is left, and of a connection thus:
        io::ErrorKind::WouldBlock => io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
        _ => error,
    })?;
    Ok(socket.into())
}

/// Makes a connected socket one with these options; it goes on as the same.
pub fn change_options(socket: &UdpSocket, options: Option<&Connecting>) -> io::Result<()> {
    let is_ipv6 = socket.peer_addr()?.is_ipv6();
    let usual = Connecting::default();
    options
        .unwrap_or(&usual)
        .change_datagrams(&SockRef::from(socket), is_ipv6)
}

/// Has what comes in quick succession come as one. Costs a call, so not for the sockets that see
/// one datagram or two.
pub fn coalesce(socket: BorrowedFd<'_>) {
    take_coalesced(&SockRef::from(&socket));
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

/// Datagrams of a message, of which each but the last has this size; 0 for one.
fn count_of(length: usize, segment: u16) -> u64 {
    match usize::from(segment) {
        0 => 1,
        segment => length.div_ceil(segment).max(1) as u64,
    }
}

/// The most that one message may be: a datagram, or several that came as one.
const LARGEST: usize = 64 * 1024;
