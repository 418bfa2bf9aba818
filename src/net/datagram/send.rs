//! What is sent, together.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::call::{Message, Piece, Way, many};
use super::control::{Control, Said, Source};
use super::heard::{Heard, heard};
use super::name::{NOBODY, Name, encode};
use super::{Batch, count_of, small};

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

/// How one message went.
#[derive(Debug)]
pub struct Outcome {
    /// Datagrams of it that left, and their bytes.
    pub sent: (u64, u64),
    /// Why the others did not.
    pub error: Option<io::Error>,
}

/// Sends so many messages by one socket, and tells how each went, in their order. An error of one
/// ends nothing: the others are tried too, until the first that `told` wants to be the last.
///
/// Of a connected socket an error is what was heard of the other side, or of this machine, and of
/// `EMSGSIZE` that it is about this message.
pub fn send<'a>(
    socket: BorrowedFd<'_>,
    count: usize,
    message: impl Fn(usize) -> Outgoing<'a>,
    mut told: impl FnMut(usize, Outcome) -> bool,
) {
    let (mut at, mut tried_again) = (0, None);
    while at < count {
        let most = (count - at).min(Batch::SLOTS);
        let result = send_some(socket, most, |one| message(at + one));
        let (sent, error) = match result {
            Ok(sent) => (sent, None),
            Err(error) => (0, Some(error)),
        };
        for _ in 0..sent {
            if !told(at, Outcome::whole(&message(at))) {
                return;
            }
            at += 1;
        }
        let Some(error) = error else { continue };
        let whole = message(at);
        let error = if whole.to.is_none() && error.kind() != io::ErrorKind::WouldBlock {
            match heard(socket) {
                Ok(Heard::Harmless) if tried_again != Some(at) => {
                    tried_again = Some(at);
                    continue;
                }
                Ok(_) => error,
                Err(said) => said,
            }
        } else {
            error
        };
        let outcome = if whole.segment > 0 && is_about_segments(&error) {
            one_by_one(socket, &whole)
        } else {
            Outcome::failed(error)
        };
        if !told(at, outcome) {
            return;
        }
        at += 1;
    }
}

impl Outgoing<'_> {
    /// How many datagrams it is.
    pub fn count(&self) -> u64 {
        count_of(self.bytes.len(), self.segment)
    }
}

impl Outcome {
    fn whole(message: &Outgoing<'_>) -> Self {
        Self {
            sent: (message.count(), message.bytes.len() as u64),
            error: None,
        }
    }

    fn failed(error: io::Error) -> Self {
        Self {
            sent: (0, 0),
            error: Some(error),
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

/// The others of one that failed would fail as it did.
fn one_by_one(socket: BorrowedFd<'_>, whole: &Outgoing<'_>) -> Outcome {
    let mut outcome = Outcome {
        sent: (0, 0),
        error: None,
    };
    for bytes in whole.bytes.chunks(whole.segment.into()) {
        let one = Outgoing {
            bytes,
            segment: 0,
            ..*whole
        };
        if let Err(error) = send_some(socket, 1, |_| one) {
            outcome.error = Some(error);
            break;
        }
        outcome.sent.0 += 1;
        outcome.sent.1 += bytes.len() as u64;
    }
    outcome
}

/// Sends as many as the kernel takes in one call, at least one.
fn send_some<'a>(
    socket: BorrowedFd<'_>,
    count: usize,
    message: impl Fn(usize) -> Outgoing<'a>,
) -> io::Result<usize> {
    if count == 1 {
        let one = message(0);
        if one.segment == 0 && one.to.is_none() {
            let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
            return Ok(rustix::net::send(socket, one.bytes, flags).map(|_| 1)?);
        }
    }
    // Room is cleared for each call, so no more of it than is needed.
    match count {
        0 => Ok(0),
        1 => send_many::<1>(socket, count, message),
        2..=4 => send_many::<4>(socket, count, message),
        5..=12 => send_many::<12>(socket, count, message),
        _ => send_many::<{ Batch::SLOTS }>(socket, count, message),
    }
}

#[expect(unsafe_code, reason = "the kernel is told where the bytes are")]
fn send_many<'a, const MOST: usize>(
    socket: BorrowedFd<'_>,
    count: usize,
    message: impl Fn(usize) -> Outgoing<'a>,
) -> io::Result<usize> {
    let count = count.min(MOST);
    let mut names: [Name; MOST] = [NOBODY; MOST];
    let mut controls = [Control::EMPTY; MOST];
    let mut pieces = [Piece::EMPTY; MOST];
    let mut headers = [Message::EMPTY; MOST];
    for at in 0..count {
        let message = message(at);
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
    // SAFETY: the first `count` headers point to the bytes of messages, which outlive this call,
    // and to names and controls on this stack, with the lengths that these have.
    unsafe { many(Way::Send, socket, &mut headers[..count]) }
}
