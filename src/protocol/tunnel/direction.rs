//! One direction of a tunnel: reads from one stream, writes to the other, holds at most one buffer
//! or one pipe.
//!
//! Copying is the cheaper way for small pieces, and `splice(2)` for large ones, so a direction
//! begins by copying and changes over once a read has filled its buffer, as long as the pieces stay
//! large. The buffer is the one that its thread used last, so that copying touches warm memory; it
//! goes back before the turn ends, or stays, in the size that fits, with what the sink has not
//! taken. A pipe likewise belongs to a direction only while something is in it.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::task::coop::has_budget_remaining;

use super::end::{End, broken};
use crate::http2;
use crate::net::{BUFFER, Buffer, LARGE_BUFFER, Pipe, Stream};
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
    looks: Looks,
    /// Whether the source wakes the task when something comes, and has not yet.
    is_called: bool,
    /// Short pieces that may still be spliced; 0 is copying.
    splices: u8,
    /// Whether the sink is told when the source ends.
    tells_end: bool,
    /// Whether the source ended as one does that was cut.
    is_cut: bool,
    passed: &'a Cell<u64>,
    counter: Option<&'a Counter>,
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// For bytes.
    AtSource,
    /// For the sink to take bytes, to send what it has taken, or to end.
    AtSink,
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
    /// Spliced, and not yet out of the pipe.
    Piped(Pipe),
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
            looks: Looks::AtSource,
            is_called: false,
            splices: 0,
            tells_end: true,
            is_cut: false,
            passed,
            counter,
        }
    }

    /// Bytes that have passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed.get()
    }

    /// Whether nothing more happens here.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether it would hear of its source, whatever comes from there: not while the sink has it
    /// wait, and not when it is done.
    pub(super) fn looks_at_source(&self) -> bool {
        self.looks == Looks::AtSource && !self.is_done()
    }

    /// Another task is to be woken from now on.
    pub(super) fn call_anew(&mut self) {
        self.is_called = false;
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
        let before = self.passed.get();
        for _ in 0..ROUNDS {
            if self.state == State::Done {
                return Poll::Ready(Ok(()));
            }
            self.looks = Looks::AtSink;
            ready!(self.poll_write_out(cx, sink)).map_err(|_| Broken::Sink)?;
            if self.state == State::Open {
                self.looks = Looks::AtSource;
                if self.passed.get() - before >= TURN {
                    break;
                }
                ready!(self.poll_read(cx, source, sink)).map_err(|_| Broken::Source)?;
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
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: End<'_>,
        sink: End<'_>,
    ) -> Poll<io::Result<()>> {
        match source {
            End::Socket(socket) if self.splices > 0 => match Pipe::take() {
                Some(pipe) => self.poll_splice(cx, socket, pipe),
                // Others have them all: this turn is copied.
                None => self.poll_read_socket(cx, socket, sink),
            },
            End::Socket(socket) => self.poll_read_socket(cx, socket, sink),
            End::Stream(stream, _) => self.poll_take(cx, stream),
        }
    }

    /// Splices once. The pipe is taken for what comes only: with nothing in it, it goes back.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &Stream,
        mut pipe: Pipe,
    ) -> Poll<io::Result<()>> {
        self.is_called = false;
        let count = ready!(source.poll_read_with(cx, |socket| pipe.draw(socket, usize::MAX)))?;
        if count == 0 {
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        self.splices = after_splice(self.splices, count);
        self.waiting = Waiting::Piped(pipe);
        Poll::Ready(Ok(()))
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

    /// As [`Stream::poll_read_ready`]. Every wake-up of a tunnel has both directions look, and one
    /// of them nearly always in vain: that one has been called already, and pays for no lock.
    fn poll_read_ready(&mut self, cx: &mut Context<'_>, source: &Stream) -> Poll<io::Result<()>> {
        if self.is_called && !source.is_read_ready() {
            return Poll::Pending;
        }
        let ready = source.poll_read_ready(cx);
        // A task that has used up its turn is woken at once, and is not called by the source. A
        // session of TLS has more to do than to wait for its socket.
        self.is_called = ready.is_pending() && source.is_plain() && has_budget_remaining();
        ready
    }

    /// Reads once. The buffer is taken only when there is something to put into it.
    fn poll_read_socket(
        &mut self,
        cx: &mut Context<'_>,
        source: &Stream,
        sink: End<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(cx, source))?;
            let mut buffer = Buffer::take_large();
            match source.try_read(&mut buffer) {
                Ok(0) => self.state = State::Ending,
                Ok(count) => {
                    if count == buffer.capacity() && source.is_plain() && sink.is_plain() {
                        self.splices = SHORT_SPLICES;
                    }
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
        loop {
            let moved = match &mut self.waiting {
                Waiting::Nothing => return sink.poll_flushed(cx),
                Waiting::Piece(bytes) => sink.poll_write(cx, bytes),
                Waiting::Read { buffer, written } => sink.poll_write(cx, &buffer[*written..]),
                Waiting::Piped(pipe) => sink.poll_empty(cx, pipe),
            };
            match moved {
                Poll::Ready(count) => self.wrote(count?),
                Poll::Pending => {
                    self.waiting.settle();
                    return Poll::Pending;
                }
            }
        }
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
    /// Has what must wait for the sink wait in a buffer that is no larger than it needs to be.
    fn settle(&mut self) {
        if let Self::Read { buffer, written } = self
            && buffer.capacity() > BUFFER
            && buffer.len() - *written <= BUFFER
        {
            let mut smaller = Buffer::take();
            smaller.extend_from_slice(&buffer[*written..]);
            (*buffer, *written) = (smaller, 0);
        }
    }

    /// Forgets what was written, and the buffer or the pipe with its last byte.
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
            Self::Piped(pipe) => pipe.held(),
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

/// How many short pieces may still be spliced after one of so many bytes.
fn after_splice(splices: u8, count: usize) -> u8 {
    if count >= WORTH_SPLICING {
        SHORT_SPLICES
    } else {
        splices - 1
    }
}

/// Reads of one direction per turn, where each finds little.
const ROUNDS: usize = 8;

/// Bytes of one direction per turn: as much as one pipe holds, about a tenth of a millisecond. With
/// many that have much to carry, the others wait for as many turns.
const TURN: u64 = 256 * 1024;

/// Bytes from which on a splice costs less than a copy; what one buffer would have taken at once.
const WORTH_SPLICING: usize = LARGE_BUFFER / 4;

/// Shorter pieces in a row that are taken for a pause of what sends much. One more would be dearer
/// than it is to find out by copying.
const SHORT_SPLICES: u8 = 4;

#[cfg(test)]
mod tests {
    use super::{SHORT_SPLICES, WORTH_SPLICING, after_splice};

    #[test]
    fn a_run_of_short_splices_ends_them_and_a_long_one_starts_the_run_afresh() {
        let short = |splices| after_splice(splices, WORTH_SPLICING - 1);
        let mut splices = SHORT_SPLICES;
        for _ in 1..SHORT_SPLICES {
            splices = short(splices);
            assert!(splices > 0);
        }
        assert_eq!(after_splice(splices, WORTH_SPLICING), SHORT_SPLICES);
        assert_eq!(short(splices), 0);
    }
}
