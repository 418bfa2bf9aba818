//! What is sent, together.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::call::{Message, Piece, Way, many};
use super::control::{Control, Said, Source};
use super::name::{NOBODY, Name, encode};
use super::{Batch, small};

/// A datagram to be sent, or several of one size as one.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What is sent.
    pub bytes: &'a [u8],
    /// The size of each of several; 0 for one.
    pub segment: u16,
    /// To whom; nobody for a connected socket.
    pub to: Option<SocketAddr>,
    /// From which of our addresses, where the socket has several.
    pub from: Option<Source>,
}

/// Sends datagrams by one socket, and tells how each went, in their order. An error of one ends
/// nothing: the others are tried too, until the first that `told` wants to be the last.
pub fn send(
    socket: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
    mut told: impl FnMut(usize, io::Result<()>) -> bool,
) {
    let mut at = 0;
    while at < messages.len() {
        let end = messages.len().min(at + Batch::SLOTS);
        let result = send_some(socket, &messages[at..end]);
        let (sent, error) = match result {
            Ok(sent) => (sent, None),
            Err(error) => (0, Some(error)),
        };
        for _ in 0..sent {
            if !told(at, Ok(())) {
                return;
            }
            at += 1;
        }
        if let Some(error) = error {
            let whole = &messages[at];
            let result = if whole.segment > 0 && is_about_segments(&error) {
                one_by_one(socket, whole)
            } else {
                Err(error)
            };
            if !told(at, result) {
                return;
            }
            at += 1;
        }
    }
}

/// Not every way has room for segments of that size, and not every device can part them.
fn is_about_segments(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::EOPNOTSUPP)
    )
}

fn one_by_one(socket: BorrowedFd<'_>, whole: &Outgoing<'_>) -> io::Result<()> {
    for bytes in whole.bytes.chunks(whole.segment.into()) {
        let one = Outgoing {
            bytes,
            segment: 0,
            ..*whole
        };
        send_some(socket, &[one])?;
    }
    Ok(())
}

/// Sends as many as the kernel takes in one call, at least one.
fn send_some(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    if let [one] = messages
        && one.segment == 0
        && one.to.is_none()
    {
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        return Ok(rustix::net::send(socket, one.bytes, flags).map(|_| 1)?);
    }
    match messages.len() {
        0 => Ok(0),
        1..=Batch::FEW => send_many::<{ Batch::FEW }>(socket, messages),
        _ => send_many::<{ Batch::SLOTS }>(socket, messages),
    }
}

#[expect(unsafe_code, reason = "the kernel is told where the bytes are")]
fn send_many<const MOST: usize>(
    socket: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
) -> io::Result<usize> {
    let mut names: [Name; MOST] = [NOBODY; MOST];
    let mut controls = [Control::EMPTY; MOST];
    let mut pieces = [Piece::EMPTY; MOST];
    let mut headers = [Message::EMPTY; MOST];
    for (at, message) in messages.iter().take(MOST).enumerate() {
        pieces[at] = Piece {
            start: message.bytes.as_ptr().cast_mut(),
            length: message.bytes.len(),
        };
        let header = &mut headers[at].header;
        header.pieces = &raw mut pieces[at];
        header.piece_count = 1;
        if let Some(to) = message.to {
            header.name_length = small(encode(to, &mut names[at]));
            header.name = names[at].as_mut_ptr();
        }
        let said = Said {
            source: message.from,
            segment: message.segment,
        };
        let ipv6 = message.to.is_some_and(|to| to.is_ipv6());
        let length = controls[at].write(said, ipv6);
        if length > 0 {
            header.control = controls[at].bytes.as_mut_ptr();
            header.control_length = length;
        }
    }
    let count = messages.len().min(MOST);
    // SAFETY: the first `count` headers point to the bytes of messages, and to names and controls
    // on this stack, with the lengths that these have.
    unsafe { many(Way::Send, socket, &mut headers[..count]) }
}
