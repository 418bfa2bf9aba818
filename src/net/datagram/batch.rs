//! What was received: a worker's one room for datagrams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::net::RecvFlags;

use super::call::{Message, Piece, Way, many};
use super::control::{Control, Said, Source};
use super::heard::{Heard, heard};
use super::name::{NOBODY, Name, decode};
use super::{LARGEST, count_of, small};

/// Room for datagrams, of which only what was ever used is memory.
pub struct Batch {
    memory: Box<[u8]>,
    received: Vec<Datagram>,
    /// What the kernel is given beside the slots. Kept, since it writes what is read of it: to
    /// clear it for each call would cost more than the call.
    beside: Box<[Beside]>,
    messages: Box<[Message]>,
}

/// Room for what the kernel says of one datagram.
#[derive(Clone, Copy)]
struct Beside {
    name: Name,
    control: Control,
    piece: Piece,
}

/// A datagram in a [`Batch`], or several of one size that came as one.
#[derive(Debug, Clone, Copy)]
pub struct Datagram {
    /// Who sent it; not told of a connected socket.
    pub peer: Option<SocketAddr>,
    /// Where it arrived, if its socket tells.
    pub source: Option<Source>,
    /// The size of each of several that came as one; 0 for one.
    pub segment: u16,
    /// Whether it was longer than the room.
    pub is_truncated: bool,
    slot: usize,
    length: usize,
}

impl Batch {
    /// Datagrams, or runs of them, that are received together. Each has a slot of 64 KiB, the most
    /// that there can be: 2 MiB of addresses, and a page each of memory for what is common.
    pub const SLOTS: usize = 32;

    /// Datagrams of one endpoint's answer that are received together, where several are.
    pub const FEW: usize = 4;

    /// Takes what a socket has into the free slots, `most` at most, and says how many came. Less
    /// than there was room for means that the socket is empty.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        self.fill(socket, most, true)
    }

    /// The same of a connected socket. An error is what was heard of the other side, and is not
    /// about the size of a datagram.
    pub fn receive_few(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        but_harmless(socket, || self.fill(socket, most, false))
    }

    /// One datagram of a connected socket that [coalesces](super::coalesce) none: so the kernel has
    /// less to tell, and costs less.
    pub fn receive_one(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        but_harmless(socket, || {
            let slot = self.received.len();
            let Some(room) = self.memory.chunks_exact_mut(LARGEST).nth(slot) else {
                return Ok(0);
            };
            let (_, length) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
            self.received.push(Datagram {
                peer: None,
                source: None,
                segment: 0,
                is_truncated: false, // no datagram is longer than the room
                slot,
                length,
            });
            Ok(1)
        })
    }

    /// What was received since it was last empty, in its order.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.received
    }

    /// The bytes of one.
    pub fn bytes(&self, datagram: &Datagram) -> &[u8] {
        let start = datagram.slot * LARGEST;
        &self.memory[start..start + datagram.length]
    }

    /// Free slots.
    pub fn room(&self) -> usize {
        Self::SLOTS - self.received.len()
    }

    /// Makes all slots free.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    #[expect(unsafe_code, reason = "the kernel is told where the slots are")]
    fn fill(&mut self, socket: BorrowedFd<'_>, most: usize, is_named: bool) -> io::Result<usize> {
        let first = self.received.len();
        let count = self.room().min(most);
        let slots = self.memory.chunks_exact_mut(LARGEST).skip(first);
        let beside = self.beside.iter_mut().zip(&mut *self.messages);
        for (slot, (beside, message)) in slots.take(count).zip(beside) {
            beside.piece = Piece {
                start: slot.as_mut_ptr(),
                length: slot.len(),
            };
            let header = &mut message.header;
            header.pieces = &raw mut beside.piece;
            header.piece_count = 1;
            if is_named {
                header.name = beside.name.as_mut_ptr();
                header.name_length = small(size_of::<Name>());
            } else {
                header.name = ptr::null_mut();
                header.name_length = 0;
            }
            header.control = beside.control.bytes.as_mut_ptr();
            header.control_length = beside.control.bytes.len();
            header.flags = 0;
        }
        // SAFETY: the first `count` headers point to slots, names and controls of their own, which
        // live in `self`, with the lengths that these have.
        let received = unsafe { many(Way::Receive, socket, &mut self.messages[..count]) }?;
        let told = self.messages.iter().zip(&*self.beside).take(received);
        for (at, (message, beside)) in told.enumerate() {
            let header = &message.header;
            let Said { source, segment } = beside.control.read(header.control_length);
            let name_length = usize::try_from(header.name_length).unwrap_or(0);
            self.received.push(Datagram {
                peer: is_named
                    .then(|| decode(&beside.name, name_length))
                    .flatten(),
                source,
                segment,
                is_truncated: header.flags & libc::MSG_TRUNC != 0,
                slot: first + at,
                length: (message.length as usize).min(LARGEST),
            });
        }
        Ok(received)
    }
}

/// Receives from a connected socket, once more where an error was not about the other side.
fn but_harmless(
    socket: BorrowedFd<'_>,
    mut receive: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    match receive() {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => match heard(socket)? {
            Heard::Harmless => receive(),
            Heard::Nothing => Err(error),
        },
        result => result,
    }
}

impl Datagram {
    /// How many datagrams it is.
    pub fn count(&self) -> u64 {
        count_of(self.length, self.segment)
    }

    /// Whether it is one more of the same sender's to the same place.
    pub fn is_like(&self, first: &Self) -> bool {
        self.peer == first.peer && self.source == first.source && !self.is_truncated
    }

    /// How many bytes.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            // Zeroed pages come from the kernel as they are first used.
            memory: vec![0; Self::SLOTS * LARGEST].into(),
            received: Vec::with_capacity(Self::SLOTS),
            beside: [Beside::EMPTY; Self::SLOTS].into(),
            messages: [Message::EMPTY; Self::SLOTS].into(),
        }
    }
}

impl Beside {
    const EMPTY: Self = Self {
        name: NOBODY,
        control: Control::EMPTY,
        piece: Piece::EMPTY,
    };
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let received = &self.received;
        f.debug_struct("Batch")
            .field("received", received)
            .finish_non_exhaustive()
    }
}
