//! One direction of a tunnel: reads from one stream, writes to the other, holds at most one buffer.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::end::{End, broken};
use crate::http2;
use crate::net::{Buffer, Stream};
use crate::telemetry::metrics::Counter;

/// Which end of a direction broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Nothing more can be read.
    Source,
    /// Nothing more can be written.
    Sink,
}

/// The copy in one direction.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    state: State,
    waiting: Waiting,
    /// Whether the source sends as much as we can take, which makes large buffers worth it.
    bulk: bool,
    /// Whether the sink is told when the source ends.
    tells_end: bool,
    /// Whether the source ended as one does that was cut.
    is_cut: bool,
    passed: &'a Cell<u64>,
    counter: Option<&'a Counter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// The source has ended; the sink has yet to hear of it.
    Ending,
    /// Nothing more happens in this direction.
    Done,
}

/// Bytes that were read and not yet written.
#[derive(Debug)]
enum Waiting {
    Nothing,
    /// Read before the tunnel began, or taken from a stream.
    Piece(Bytes),
    /// Read by the tunnel; the first bytes may be written already.
    Read {
        buffer: Buffer,
        written: usize,
    },
}

impl<'a> Direction<'a> {
    /// A direction that begins with bytes which were read before.
    pub(super) fn new(prefix: Bytes, passed: &'a Cell<u64>, counter: Option<&'a Counter>) -> Self {
        let waiting = if prefix.is_empty() {
            Waiting::Nothing
        } else {
            Waiting::Piece(prefix)
        };
        Self {
            state: State::Open,
            waiting,
            bulk: false,
            tells_end: true,
            is_cut: false,
            passed,
            counter,
        }
    }

    /// Whether nothing more happens here.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Gives this direction up, with what it holds.
    pub(super) fn abandon(&mut self) {
        self.state = State::Done;
        self.waiting = Waiting::Nothing;
    }

    /// Does not tell the sink when the source ends: the sink will be reset instead.
    pub(super) fn keep_end_to_itself(&mut self) {
        self.tells_end = false;
    }

    /// Copies until one side makes it wait, the source ends (then the sink is told), or one breaks.
    pub(super) fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        source: End<'_>,
        sink: End<'_>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            if self.state == State::Done {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write_out(cx, sink)).map_err(|_| Broken::Sink)?;
            if self.state == State::Open {
                ready!(self.poll_read(cx, source)).map_err(|_| Broken::Source)?;
                continue;
            }
            if self.is_cut {
                pass_cut_on(sink)?;
            }
            if self.tells_end {
                ready!(sink.poll_end(cx)).map_err(|_| Broken::Sink)?;
            }
            self.state = State::Done;
        }
        // A source that never runs dry must not keep the other direction, or other tasks, waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, or finds that nothing more comes.
    fn poll_read(&mut self, cx: &mut Context<'_>, source: End<'_>) -> Poll<io::Result<()>> {
        match source {
            End::Socket(socket) => self.poll_read_socket(cx, socket),
            End::Stream(stream, _) => self.poll_take(cx, stream),
        }
    }

    /// Takes what has come on a stream, no more than its window.
    fn poll_take(&mut self, cx: &mut Context<'_>, source: &http2::Stream) -> Poll<io::Result<()>> {
        loop {
            let Some(frame) = ready!(source.poll_frame(cx)) else {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            };
            match frame.map_err(broken)?.into_data() {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    self.waiting = Waiting::Piece(piece);
                    return Poll::Ready(Ok(()));
                }
                // Fields have no place on a tunnel (RFC 9113 §8.5).
                Err(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
        }
    }

    /// Reads once. The buffer is taken only when there is something to put into it.
    fn poll_read_socket(&mut self, cx: &mut Context<'_>, source: &Stream) -> Poll<io::Result<()>> {
        loop {
            ready!(source.poll_read_ready(cx))?;
            let mut buffer = if self.bulk {
                Buffer::take_large()
            } else {
                Buffer::take()
            };
            match source.try_read(&mut buffer) {
                Ok(0) => self.state = State::Ending,
                Ok(count) => {
                    self.bulk = is_bulk(self.bulk, count, buffer.capacity());
                    self.waiting = Waiting::Read { buffer, written: 0 };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // TLS that ends without its last word, as many servers end it. What came is passed
                // on; that there may have been more is for those who can be told.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.is_cut = true;
                    self.state = State::Ending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// Ready when nothing is waiting to be written, here or in the stream; the buffer is given back
    /// when the stream has all of it.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, sink: End<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.waiting.bytes() {
            let count = ready!(sink.poll_write(cx, bytes))?;
            self.wrote(count);
        }
        sink.poll_flushed(cx)
    }

    fn wrote(&mut self, count: usize) {
        self.passed.set(self.passed.get() + count as u64);
        if let Some(counter) = self.counter {
            counter.add(count as u64);
        }
        self.waiting.advance(count);
    }
}

impl Waiting {
    /// The next bytes to write, never empty.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::Piece(bytes) => Some(bytes),
            Self::Read { buffer, written } => Some(&buffer[*written..]),
        }
    }

    /// Forgets what was written, and the buffer with its last byte.
    fn advance(&mut self, count: usize) {
        let rest = match self {
            Self::Nothing => 0,
            Self::Piece(bytes) => {
                bytes.advance(count);
                bytes.len()
            }
            Self::Read { buffer, written } => {
                *written += count;
                buffer.len() - *written
            }
        };
        if rest == 0 {
            *self = Self::Nothing;
        }
    }
}

/// The source ended as one does that was cut: the sink must not take that for an end that was
/// meant. TLS has a way to say so and go on; a stream has none, and breaks.
fn pass_cut_on(sink: End<'_>) -> Result<(), Broken> {
    match sink {
        End::Socket(Stream::Tls(session)) => session.say_no_goodbye(),
        End::Socket(_) => {}
        End::Stream(..) => return Err(Broken::Source),
    }
    Ok(())
}

/// Whether the next read should have a large buffer: after a read that filled its buffer, and as
/// long as reads fill at least a quarter of a large one, which a small one would hold.
fn is_bulk(bulk: bool, count: usize, capacity: usize) -> bool {
    if bulk {
        count > capacity / 4
    } else {
        count == capacity
    }
}

/// Reads of one direction per turn: with large buffers half a megabyte, well under a millisecond.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::is_bulk;

    const SMALL: usize = 16 * 1024;
    const LARGE: usize = 64 * 1024;

    #[test]
    fn a_full_read_asks_for_more_room_and_a_small_one_gives_it_back() {
        assert!(!is_bulk(false, SMALL - 1, SMALL));
        assert!(is_bulk(false, SMALL, SMALL));
        assert!(is_bulk(true, SMALL + 1, LARGE));
        assert!(!is_bulk(true, SMALL, LARGE));
    }
}
