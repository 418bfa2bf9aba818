//! Received bytes that nobody has consumed yet.
//!
//! A buffer is taken only when the socket has bytes and goes back as soon as all of them are
//! consumed, so that neither an idle connection nor one that waits for its peer owns one.

use std::io;
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::frame::Decoder;
use crate::body::Conduit;
use crate::net::{BUFFER, Buffer, LARGE_BUFFER, Stream};

/// Bytes between the socket and their consumer.
#[derive(Debug, Default)]
pub struct Received {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// No bytes are there.
    #[default]
    Nothing,
    /// None are there any more, and the last read filled a large buffer.
    Flood,
    /// The bytes of the buffer from `start` on.
    There { buffer: Buffer, start: usize },
}

/// How much is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// A head or a small body.
    Usual,
    /// A body of which much is still to come: fewer system calls per byte.
    Large,
}

impl Amount {
    /// For a body of which `left` bytes, or an unknown number, are still to come.
    pub fn for_rest(left: Option<u64>) -> Self {
        match left {
            Some(left) if left <= BUFFER as u64 => Self::Usual,
            Some(_) | None => Self::Large,
        }
    }
}

impl Received {
    /// The bytes that are there.
    pub fn bytes(&self) -> &[u8] {
        match &self.state {
            State::Nothing | State::Flood => &[],
            State::There { buffer, start } => &buffer[*start..],
        }
    }

    /// Whether no bytes are there.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Drops the first `count` bytes; at most as many as are there.
    pub fn consume(&mut self, count: usize) {
        if let State::There { buffer, start } = &mut self.state {
            *start += count;
            if *start == buffer.len() {
                self.state = State::behind(buffer);
            }
        }
    }

    /// Drops `skip` bytes and takes the `length` bytes behind them. Without a copy if they are the
    /// last, which is the rule for large bodies.
    pub fn take(&mut self, skip: usize, length: usize) -> Bytes {
        let State::There { buffer, start } = &mut self.state else {
            return Bytes::new();
        };
        let range = *start + skip..*start + skip + length;
        if range.end < buffer.len() || length <= COPY_AT_MOST {
            let piece = Bytes::copy_from_slice(&buffer[range]);
            self.consume(skip + length);
            return piece;
        }
        let behind = State::behind(buffer);
        match mem::replace(&mut self.state, behind) {
            State::There { buffer, .. } => buffer.into_bytes(range),
            State::Nothing | State::Flood => Bytes::new(),
        }
    }

    /// All the bytes that are there.
    pub fn into_bytes(mut self) -> Bytes {
        let length = self.bytes().len();
        self.take(0, length)
    }

    /// Reads once, behind what is there. Ready with the number of bytes, 0 at the
    /// end of the stream.
    ///
    /// The caller bounds what it lets pile up: see [`Received::is_full`].
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        amount: Amount,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match self.try_fill(stream, amount) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Reads once what is there, without waiting. Costs no system call where nothing has come.
    pub fn try_fill(&mut self, stream: &Stream, amount: Amount) -> io::Result<usize> {
        let State::There { buffer, start } = &mut self.state else {
            let mut buffer = match amount {
                Amount::Usual => Buffer::take(),
                Amount::Large => Buffer::take_large(),
            };
            let count = stream.try_read(&mut buffer)?;
            self.state = match count {
                0 => State::Nothing,
                _ => State::There { buffer, start: 0 },
            };
            return Ok(count);
        };
        if *start > 0 {
            buffer.drain(..*start);
            *start = 0;
        }
        if buffer.len() == buffer.capacity() {
            // Only for a head that may be larger than a buffer: the caller bounds it.
            buffer.reserve(BUFFER);
        }
        stream.try_read(buffer)
    }

    /// Whether the stream brought as much as can be taken at once, and nothing of it is left here.
    pub fn is_flooded(&self) -> bool {
        matches!(self.state, State::Flood)
    }

    /// Forgets that it did.
    pub fn flood_is_over(&mut self) {
        if self.is_flooded() {
            self.state = State::Nothing;
        }
    }

    /// Whether a whole buffer waits to be consumed.
    pub fn is_full(&self) -> bool {
        self.bytes().len() >= BUFFER
    }
}

impl State {
    /// What a buffer leaves behind of which all bytes are consumed.
    fn behind(buffer: &Buffer) -> Self {
        if buffer.len() == LARGE_BUFFER {
            Self::Flood
        } else {
            Self::Nothing
        }
    }
}

/// Draws the next bytes of a body from a stream, where [`can_draw`] allows it. Ready with their
/// number, 0 at the end of the stream.
pub fn poll_draw(
    cx: &mut Context<'_>,
    (stream, received): (&Stream, &mut Received),
    decoder: &mut Decoder,
    conduit: &mut dyn Conduit,
) -> Poll<io::Result<usize>> {
    let most = decoder.unframed().unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let count = ready!(stream.poll_read_with(cx, |socket| conduit.draw(socket, most)))?;
    decoder.passed(count as u64);
    if count < DRAW_AT_LEAST {
        received.flood_is_over();
    }
    Poll::Ready(Ok(count))
}

/// Whether the next bytes of a body may be drawn, and are so many that it is worth it.
pub fn can_draw(stream: &Stream, received: &Received, decoder: &Decoder) -> bool {
    received.is_flooded()
        && stream.is_plain()
        && decoder
            .unframed()
            .is_some_and(|left| left > LARGE_BUFFER as u64)
}

/// A smaller piece is cheaper to copy: after one, a body is copied until it floods again.
const DRAW_AT_LEAST: usize = 16 * 1024;

/// Below this, copying is cheaper than giving a whole buffer away until the bytes are sent.
const COPY_AT_MOST: usize = 1024;
