//! What the network says of datagrams that were sent by a connected socket.
//!
//! Problem: without being asked, the kernel tells such a socket that nobody has the port, and keeps
//! from it that there is no way to the machine, or that the machine is dead: datagrams go into the
//! dark until a health check finds out. So sockets ask for all of it (`IP_RECVERR`). What then
//! stands in their queue of errors has to be taken, for until then they are announced again and
//! again; and it says what an error number alone does not.
//!
//! Not all of it is about the endpoint. A datagram was too long for a way, or a part of it was
//! lost: whoever chooses the sizes, which is a client, must not be able to have an endpoint left by
//! it. And what the kernel found out itself was said when it was sent.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::Socket;

use super::call::{Message, Piece, Way, many};
use super::control::{Control, Report};
use crate::net::options::set_number;

/// What is known of a socket that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing was said.
    Nothing,
    /// Something was said that is not about the other side.
    Harmless,
}

/// Takes what was said of a connected socket, at most some dozens of it. An error is the first that
/// is about the other side.
pub fn heard(socket: BorrowedFd<'_>) -> io::Result<Heard> {
    let mut result = Ok(Heard::Nothing);
    for _ in 0..TURNS {
        let (count, found) = some(socket);
        if count > 0 && matches!(result, Ok(Heard::Nothing)) {
            result = Ok(Heard::Harmless);
        }
        if let (Ok(_), Some(error)) = (&result, found) {
            result = Err(error);
        }
        if count < FEW {
            break;
        }
    }
    result
}

/// Has a socket told, and what it sends parted on its way where it is too long for that.
pub(super) fn listen(socket: &Socket, endpoint: SocketAddr) -> io::Result<()> {
    if endpoint.is_ipv6() {
        set_number(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    // Routers part nothing of IPv6: there the kernel does, once it was told of the size.
    if endpoint.ip().to_canonical().is_ipv4() {
        set_number(socket, libc::SOL_IP, libc::IP_RECVERR, 1)?;
        let part = libc::IP_PMTUDISC_DONT;
        set_number(socket, libc::SOL_IP, libc::IP_MTU_DISCOVER, part)?;
    }
    Ok(())
}

/// Takes a few reports: how many, and the first error of the other side among them.
#[expect(unsafe_code, reason = "the kernel is told where there is room")]
fn some(socket: BorrowedFd<'_>) -> (usize, Option<io::Error>) {
    let mut controls = [Control::EMPTY; FEW];
    // Of the datagram that it is about nothing is asked.
    let mut pieces = [Piece::EMPTY; FEW];
    let mut messages = [Message::EMPTY; FEW];
    for (at, message) in messages.iter_mut().enumerate() {
        let header = &mut message.header;
        header.pieces = &raw mut pieces[at];
        header.piece_count = 1;
        header.control = controls[at].bytes.as_mut_ptr();
        header.control_length = controls[at].bytes.len();
    }
    // SAFETY: the headers point to pieces of no length and to controls of their own, with the
    // length that these have, which live on this stack.
    let count = unsafe { many(Way::Errors, socket, &mut messages) }.unwrap_or(0);
    let mut reports = messages.iter().zip(&controls).take(count);
    let error = reports.find_map(|(message, control)| {
        let report = control.report(message.header.control_length)?;
        (!is_harmless(report)).then(|| io::Error::from_raw_os_error(report.errno))
    });
    (count, error)
}

fn is_harmless(report: Report) -> bool {
    let parts_were_lost = match report.origin {
        ICMP => (report.kind, report.code) == (11, 1), // RFC 792: reassembly time exceeded
        ICMPV6 => (report.kind, report.code) == (3, 1), // RFC 4443 §3.3
        _ => return true,                              // of this machine, at once
    };
    parts_were_lost || report.errno == libc::EMSGSIZE
}

/// Reports that are taken in one call.
const FEW: usize = 4;
/// Calls: a bound on the work that a flood of reports makes. What is left is announced again.
const TURNS: usize = 16;
/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`.
const ICMP: u8 = 2;
const ICMPV6: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_can_bring_about_is_not_the_endpoints_fault() {
        let report = |errno, origin, kind, code| Report {
            errno,
            origin,
            kind,
            code,
        };
        for harmless in [
            report(libc::EMSGSIZE, ICMP, 3, 4),
            report(libc::EMSGSIZE, ICMPV6, 2, 0),
            report(libc::EHOSTUNREACH, ICMP, 11, 1),
            report(libc::EHOSTUNREACH, ICMPV6, 3, 1),
            report(libc::EMSGSIZE, 1, 0, 0),
        ] {
            assert!(is_harmless(harmless), "{harmless:?}");
        }
        for telling in [
            report(libc::ECONNREFUSED, ICMP, 3, 3),
            report(libc::EHOSTUNREACH, ICMP, 3, 1),
            report(libc::EHOSTUNREACH, ICMP, 11, 0),
            report(libc::ENETUNREACH, ICMPV6, 1, 0),
        ] {
            assert!(!is_harmless(telling), "{telling:?}");
        }
    }
}
