//! Answers for which the kernel has no room: they wait here until it has.
//!
//! All clients of a worker's listener are answered by one socket, so it is full when the network
//! takes less than endpoints send. To drop what comes then would be to drop it in bursts. So the
//! rest of what was received is kept (some dozens of messages at most), and nothing more is taken
//! from endpoints until it has left: what they send waits in the buffers of their sessions, each
//! of which loses its own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::Relay;
use super::answers::Counting;
use super::ready::writable;
use crate::net::{Outgoing, Source, send};

/// What waits, and the socket.
#[derive(Debug)]
pub(super) struct Held {
    /// Another descriptor of the listener's socket, watched for room: the other one is not, so as
    /// not to be woken for it while there is any.
    socket: AsyncFd<OwnedFd>,
    waiting: VecDeque<Waiting>,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Box<[u8]>,
    pub(super) segment: u16,
    pub(super) place: usize,
    pub(super) peer: SocketAddr,
    pub(super) source: Option<Source>,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            socket: writable(socket.try_clone_to_owned()?)?,
            waiting: VecDeque::new(),
        })
    }

    pub(super) fn push(&mut self, one: Waiting) {
        self.waiting.push_back(one);
    }

    /// Whether there may be room.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_write_ready(cx).map(drop)
    }
}

impl Relay {
    /// Sends what waits, as far as there is room.
    pub(super) fn send_held(&mut self, now: Instant) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        while let Some(mut one) = held.waiting.pop_front() {
            let message = Outgoing {
                bytes: &one.bytes,
                segment: one.segment,
                to: Some(one.peer),
                from: one.source,
            };
            let of = (one.place, one.peer);
            let (table, udp) = (&mut self.table, self.form.listener.udp());
            let mut counting = Counting { table, udp };
            let mut left = None;
            let socket = self.socket.get_ref().as_fd();
            send(
                socket,
                1,
                |_| message,
                |_, outcome| {
                    left = counting.count(of, &message, outcome, now);
                    true
                },
            );
            let Some(from) = left else { continue };
            one.bytes = one.bytes[from..].into();
            held.waiting.push_front(one);
            let none = |_: &OwnedFd| Err::<(), _>(io::ErrorKind::WouldBlock.into());
            drop(held.socket.try_io(Interest::WRITABLE, none));
            self.held = Some(held);
            return;
        }
    }
}
