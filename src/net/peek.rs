//! Looking at what has come, before it is known whose it is.
//!
//! What stands before a connection's own bytes must be taken, and not one byte more: those behind
//! it belong to whoever serves the connection, and nobody should have to hand them on. So it stays
//! in the socket while it is looked at, and is taken once all of it is there.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::task::Poll;

use rustix::buffer::spare_capacity;
use rustix::net::RecvFlags;
use tokio::io::{Interest, Ready};

use super::buffer::Buffer;
use super::stream::{Stream, retried};

impl Stream {
    /// Shows what has come, again whenever there is more, until `look` has decided and told how
    /// many of the bytes it takes; the others stay. `None` if the other end is gone before. It is
    /// shown [`BUFFER`](super::BUFFER) bytes at most, of which it must be able to decide. Holds no
    /// buffer while it waits. Only of sockets themselves, not within TLS.
    pub async fn look<T>(
        &self,
        mut look: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> io::Result<Option<T>> {
        loop {
            let ready = self.read_readiness().await?;
            let mut seen = Buffer::take();
            let mut decided = None;
            let result = self.attempt_all(Interest::READABLE, |socket| {
                receive(socket, &mut seen, RecvFlags::PEEK)?;
                let seen_any = !seen.is_empty();
                let (count, decision) = match seen_any.then(|| look(&seen)).flatten() {
                    Some((decision, count)) => (count.min(seen.len()), Some(decision)),
                    // Of an end that is known of, it would be ready for ever.
                    None if !seen_any || ready.is_read_closed() => (0, None),
                    // More bytes, or the end, make it ready again.
                    None => return Err(io::ErrorKind::WouldBlock.into()),
                };
                decided = decision;
                take(socket, &mut seen[..count])
            });
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(decided),
            }
        }
    }

    /// Whether the other end has ended its side, though what it has said may not have been read.
    /// Costs no system call, and does not wait. Not known within TLS.
    pub async fn has_ended(&self) -> bool {
        let mut readiness = pin!(self.read_readiness());
        poll_fn(|cx| {
            let ready = readiness.as_mut().poll(cx);
            Poll::Ready(matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed()))
        })
        .await
    }

    /// Waits until there is something to be read, or nothing more will be.
    async fn read_readiness(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Self::Unix(stream) => stream.ready(Interest::READABLE).await,
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>, flags: RecvFlags) -> io::Result<()> {
    retried(|| rustix::net::recv(socket, spare_capacity(buffer), flags)).map(|_| ())
}

/// Takes bytes that are there.
fn take(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    retried(|| rustix::net::recv(socket, &mut *bytes, RecvFlags::empty())).map(|(_, count)| count)
}
