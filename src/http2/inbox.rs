//! Bytes that came and are no whole frames yet.
//!
//! A connection at rest owns no buffer. One that receives holds a small one, and a large one while
//! what comes fills it: then a read brings several frames of a body.

use std::io;
use std::task::{Context, Poll, ready};

use crate::net::{BUFFER, Buffer, Stream};

/// Bytes between the socket and the session.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Option<Buffer>,
    start: usize,
    /// Whether the last read filled the buffer.
    is_flood: bool,
}

impl Inbox {
    pub(super) fn new(received: &[u8]) -> Self {
        let mut inbox = Self::default();
        if !received.is_empty() {
            let mut buffer = Buffer::take();
            buffer.extend_from_slice(received);
            inbox.buffer = Some(buffer);
        }
        inbox
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.start..],
            None => &[],
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.bytes().is_empty() {
            self.buffer = None;
            self.start = 0;
        }
    }

    /// Reads once. Ready with the number of bytes, 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match self.try_fill(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn try_fill(&mut self, stream: &Stream) -> io::Result<usize> {
        let mut buffer = self.with_room();
        let result = stream.try_read(&mut buffer);
        self.is_flood = buffer.len() == buffer.capacity();
        if !buffer.is_empty() {
            self.buffer = Some(buffer);
        }
        result
    }

    /// The buffer with what is there at its beginning, and room behind it: a frame that has begun
    /// fits a large one.
    fn with_room(&mut self) -> Buffer {
        let start = std::mem::take(&mut self.start);
        let Some(mut buffer) = self.buffer.take() else {
            return if self.is_flood {
                Buffer::take_large()
            } else {
                Buffer::take()
            };
        };
        if start > 0 {
            buffer.drain(..start);
        }
        if buffer.capacity() <= BUFFER && (self.is_flood || buffer.len() == buffer.capacity()) {
            let mut large = Buffer::take_large();
            large.extend_from_slice(&buffer);
            return large;
        }
        buffer
    }
}
