//! Answers for which the kernel has no room: they wait here until it has.
//!
//! All clients of a worker's listener are answered by one socket, so it is full when the network
//! takes less than endpoints send. To drop what comes then would be to drop it in bursts. So the
//! rest of what was received is kept (some dozens of messages at most), and nothing more is taken
//! from endpoints until it has left: what they send waits in the buffers of their sessions, each
//! of which loses its own.
//!
//! What was sent to a neighbour that is dead keeps its room until the kernel has asked for it in
//! vain, for three seconds. If that is more than half of the buffer, the kernel does not say that
//! there is room, though there may be: so it is tried again every few milliseconds. If it is all of
//! it, nobody can be answered, and what has waited for long is dropped and counted: an answer that
//! comes that late helps nobody.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Relay;
use super::answers::Counting;
use super::ready::writable;
use crate::net::{Outgoing, Source, send};
use crate::snapshot::Dropped;

/// What waits, and the socket.
#[derive(Debug)]
pub(super) struct Held {
    /// Another descriptor of the listener's socket, watched for room: the other one is not, so as
    /// not to be woken for it while there is any.
    socket: AsyncFd<OwnedFd>,
    waiting: VecDeque<Waiting>,
    /// When it is tried whatever the kernel says.
    retry: Interval,
    /// When anything left last, or the first began to wait.
    moved: Instant,
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
    pub(super) fn new(socket: BorrowedFd<'_>, now: Instant) -> io::Result<Self> {
        let mut retry = interval_at(now + RETRY, RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            socket: writable(socket.try_clone_to_owned()?)?,
            waiting: VecDeque::new(),
            retry,
            moved: now,
        })
    }

    pub(super) fn push(&mut self, one: Waiting) {
        self.waiting.push_back(one);
    }

    /// Whether there may be room.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_told = self.socket.poll_write_ready(cx).is_ready();
        if self.retry.poll_tick(cx).is_ready() || is_told {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether nothing has left for so long that nothing is waited for.
    fn is_stuck(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved) >= PATIENCE
    }

    /// How many datagrams wait.
    fn count(&self) -> u64 {
        let counts = self.waiting.iter().map(|one| one.outgoing().count());
        counts.sum()
    }
}

impl Waiting {
    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            bytes: &self.bytes,
            segment: self.segment,
            to: Some(self.peer),
            from: self.source,
        }
    }
}

impl Relay {
    /// Sends what waits, as far as there is room, and drops what has waited for too long.
    pub(super) fn send_held(&mut self, now: Instant) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        while let Some(mut one) = held.waiting.pop_front() {
            let message = one.outgoing();
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
            if left != Some(0) {
                held.moved = now;
            }
            let Some(from) = left else { continue };
            one.bytes = one.bytes[from..].into();
            held.waiting.push_front(one);
            if held.is_stuck(now) {
                if let Some(udp) = self.form.listener.udp() {
                    udp.metrics.drop(Dropped::SendBuffer, held.count());
                }
                return;
            }
            let none = |_: &OwnedFd| Err::<(), _>(io::ErrorKind::WouldBlock.into());
            drop(held.socket.try_io(Interest::WRITABLE, none));
            self.held = Some(held);
            return;
        }
    }
}

/// How often it is tried: rarely enough to cost nothing, and in time for a network that is so slow
/// that answers wait for it.
const RETRY: Duration = Duration::from_millis(5);
/// How long nothing may leave: what a full frame takes at 120 kbit/s, and longer than any network
/// that is worth waiting for.
const PATIENCE: Duration = Duration::from_millis(100);
