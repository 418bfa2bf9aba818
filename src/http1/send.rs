//! A message on its way out: its head, then its body, framed as it goes.
//!
//! One piece of body is held at a time, and the next is asked for only when that one has left: a
//! slow reader stops the sender, and memory never grows. The head leaves with the first piece, in
//! one vectored write.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;

use super::encode::{encode_chunk_head, encode_last_chunk};
use super::frame::Framing;
use crate::body::{Body, BodyError, Conduit, Keeping, Kept};
use crate::net::{Buffer, Pipe, Stream};

/// A message that is being sent.
#[derive(Debug)]
pub struct Outgoing {
    staged: Option<Buffer>,
    staged_sent: usize,
    piece: Bytes,
    tail: &'static [u8],
    /// For pieces that are drawn, while there are such.
    pipe: Option<Box<Pipe>>,
    /// Pieces that were drawn in this turn of the task.
    drawn: u8,
    body: Body,
    framing: Framing,
    ended: bool,
    body_bytes: u64,
    progress: u64,
    kept: Kept,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The socket refused.
    #[error("writing failed: {0}")]
    Write(#[from] io::Error),
    /// The body's source failed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The source gave more or fewer bytes than the head promised.
    #[error("the body is not as long as its head says")]
    Length,
}

impl Outgoing {
    /// A message of an encoded head and a body that is framed as the head says. With
    /// [`Framing::None`] the body is not sent.
    pub fn new(head: Buffer, body: Body, framing: Framing) -> Self {
        Self {
            staged: Some(head),
            staged_sent: 0,
            piece: Bytes::new(),
            tail: b"",
            pipe: None,
            drawn: 0,
            ended: !framing.has_body(),
            body,
            framing,
            body_bytes: 0,
            progress: 0,
            kept: Kept::Gone,
        }
    }

    /// Keeps so much of the body: while all that it has given is at hand, the message may be sent
    /// again.
    #[must_use]
    pub fn keep(mut self, keeping: Keeping) -> Self {
        self.kept = keeping.begin();
        self
    }

    /// Gives up what is kept: the message will not be sent again.
    pub fn keep_nothing(&mut self) {
        self.kept = Kept::Gone;
    }

    /// Sends as much as goes. Ready when everything has left.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<(), SendError>> {
        self.drawn = 0;
        loop {
            let body_waits = !self.ended
                && self.piece.is_empty()
                && self.tail.is_empty()
                && self.poll_body(cx, stream)?.is_pending();
            if self.is_flushed() {
                self.staged = None;
                if self.ended {
                    return stream.poll_flushed(cx).map_err(SendError::from);
                }
                if body_waits {
                    // What was written may not have left yet, and nobody else waits for that.
                    ready!(stream.poll_flushed(cx))?;
                    return Poll::Pending;
                }
                continue;
            }
            ready!(self.poll_write(cx, stream))?;
            // What most messages are at this point; the rest is looked at above.
            if self.ended && self.staged.is_none() && self.is_flushed() {
                return stream.poll_flushed(cx).map_err(SendError::from);
            }
        }
    }

    /// Lets what comes behind the body go on, while the stream is not ready to take more.
    pub fn poll_behind(&mut self, cx: &mut Context<'_>) {
        self.body.poll_behind(cx);
    }

    /// Bytes of the body that were sent or are about to be: what is in a pipe is not.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes - self.piped() as u64
    }

    /// A number that grows with every write: tells whether something moved.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Takes in that no more of the body came in time.
    pub fn fell_silent(&mut self) {
        self.body.fell_silent();
    }

    /// Whether what is behind the body waits for the rest of a request.
    pub fn awaits_request(&self) -> bool {
        self.body.awaits_request()
    }

    /// Whether everything that was there has left, and more of the body is to come.
    pub fn awaits_body(&self) -> bool {
        !self.ended && self.is_flushed()
    }

    /// Whether all of the body is still at hand.
    pub fn has_whole_body(&self) -> bool {
        // Before the first write there has been one piece, and it is whole, however long.
        self.kept.is_whole() || self.progress == 0 && !self.piece.is_empty()
    }

    /// Gives the body back, if all of it is still at hand: then the message may be sent again.
    pub fn into_whole_body(self) -> Option<Body> {
        match self.kept {
            Kept::Gone if self.progress == 0 && !self.piece.is_empty() => {
                Some(self.body.behind(self.piece))
            }
            kept => kept.whole(self.body),
        }
    }

    fn is_flushed(&self) -> bool {
        let staged = self.staged.as_ref().map_or(0, |staged| staged.len());
        self.staged_sent == staged
            && self.piece.is_empty()
            && self.tail.is_empty()
            && self.piped() == 0
    }

    /// Bytes of the body that are in the pipe.
    fn piped(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held())
    }

    /// Asks the body for more, unless some is in the pipe: what can be drawn is, as soon as all
    /// before it has left. Ready if something is there to be sent or it ended.
    fn poll_body(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<Result<(), SendError>> {
        if self.piped() > 0 {
            return Poll::Ready(Ok(()));
        }
        let is_drawn = self.body.can_be_drawn() && self.framing != Framing::Chunked;
        if is_drawn && stream.is_plain() && self.is_flushed() {
            if self.pipe.is_none() {
                self.pipe = Pipe::take().map(Box::new);
            }
            if let Some(mut pipe) = self.pipe.take() {
                let drawn = self.poll_draw(cx, &mut pipe);
                if pipe.held() > 0 {
                    self.pipe = Some(pipe);
                }
                return drawn;
            }
        }
        self.poll_piece(cx)
    }

    /// Gives an empty pipe back as soon as there is nothing for it: there are not many. One that
    /// others have got already is of no more use.
    fn give_pipe_back(&mut self) {
        let is_wanted = |pipe: &Pipe| self.body.can_be_drawn() && pipe.is_whole();
        self.pipe
            .take_if(|pipe| pipe.held() == 0 && !is_wanted(pipe));
    }

    fn poll_draw(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<(), SendError>> {
        if self.drawn == DRAWS {
            // A source that never runs dry must not keep other tasks waiting.
            self.drawn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.drawn += 1;
        let count = ready!(self.body.poll_draw(cx, pipe))?;
        self.kept = Kept::Gone;
        if count == 0 {
            return Poll::Ready(self.end(None));
        }
        Poll::Ready(self.count(count))
    }

    /// Asks the body for its next piece and frames it. Ready if something was staged or it ended.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            let Some(frame) = ready!(self.body.poll_frame_pinned(cx)) else {
                self.end(None)?;
                return Poll::Ready(Ok(()));
            };
            if frame.is_err() {
                self.kept = Kept::Gone;
            }
            match frame?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.stage(data)?;
                    return Poll::Ready(Ok(()));
                }
                Err(frame) => {
                    self.kept = Kept::Gone;
                    self.end(frame.into_trailers().ok().as_ref())?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn stage(&mut self, data: Bytes) -> Result<(), SendError> {
        let body = &self.body;
        self.kept.gave(&data, || body.is_end_stream());
        self.count(data.len())?;
        if self.framing == Framing::Chunked {
            encode_chunk_head(self.staging(), data.len());
            self.ended = self.body.is_end_stream();
            self.tail = if self.ended {
                CHUNK_END_AND_LAST
            } else {
                CHUNK_END
            };
        }
        if data.len() <= SMALL && self.staged.is_some() {
            // With what stands before it: one slice is cheaper to send than two or three.
            let tail = std::mem::take(&mut self.tail);
            let staged = self.staging();
            staged.extend_from_slice(&data);
            staged.extend_from_slice(tail);
        } else {
            self.piece = data;
        }
        Ok(())
    }

    /// Takes in that so many bytes of the body are about to leave.
    fn count(&mut self, length: usize) -> Result<(), SendError> {
        let length = length as u64;
        self.body_bytes += length;
        match &mut self.framing {
            Framing::None => return Err(SendError::Length),
            Framing::UntilClose | Framing::Chunked => {}
            Framing::Length(rest) => {
                *rest = rest.checked_sub(length).ok_or(SendError::Length)?;
                self.ended = *rest == 0;
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), SendError> {
        self.ended = true;
        match self.framing {
            Framing::Length(rest) if rest > 0 => Err(SendError::Length),
            Framing::Chunked => {
                encode_last_chunk(self.staging(), trailers);
                Ok(())
            }
            Framing::None | Framing::UntilClose | Framing::Length(_) => Ok(()),
        }
    }

    /// Where framing bytes go: behind a head that has not left, or into a buffer of their own.
    fn staging(&mut self) -> &mut Vec<u8> {
        let sent = self.staged_sent;
        let staged = self.staged.get_or_insert_with(Buffer::take);
        if sent > 0 && sent == staged.len() {
            staged.clear();
            self.staged_sent = 0;
        }
        staged
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<io::Result<()>> {
        if let Some(pipe) = &mut self.pipe
            && pipe.held() > 0
        {
            let moved = ready!(pipe.poll_empty(cx, stream))?;
            self.progress += moved as u64;
            self.give_pipe_back();
            return Poll::Ready(match moved {
                0 => Err(io::ErrorKind::WriteZero.into()),
                _ => Ok(()),
            });
        }
        let staged = self
            .staged
            .as_ref()
            .map_or(&[][..], |staged| &staged[self.staged_sent..]);
        if self.piece.is_empty() && self.tail.is_empty() {
            let written = ready!(stream.poll_write_slice(cx, staged))?;
            return Poll::Ready(self.wrote_staged(written));
        }
        let slices = [
            IoSlice::new(staged),
            IoSlice::new(&self.piece),
            IoSlice::new(self.tail),
        ];
        let first = usize::from(staged.is_empty());
        let last = if self.tail.is_empty() { 2 } else { 3 };
        let written = ready!(stream.poll_write_slices(cx, &slices[first..last]))?;
        let from_staged = written.min(staged.len());
        let behind = written - from_staged;
        let from_piece = behind.min(self.piece.len());
        self.piece.advance(from_piece);
        self.tail = &self.tail[behind - from_piece..];
        self.progress += behind as u64;
        if from_staged > 0 || written == 0 {
            return Poll::Ready(self.wrote_staged(from_staged));
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in that so much of what is staged has left. Nothing at all is an error: there was
    /// something to write.
    #[inline]
    fn wrote_staged(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.progress += written as u64;
        self.staged_sent += written;
        if self.staged.as_ref().map(|staged| staged.len()) == Some(self.staged_sent) {
            self.staged = None;
            self.staged_sent = 0;
        }
        Ok(())
    }
}

impl Conduit for Pipe {
    fn draw(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        Self::draw(self, socket, most)
    }
}

/// Pieces that are drawn in one turn of a task: two megabytes, well under a millisecond.
const DRAWS: u8 = 8;

/// A piece that is copied rather than sent from where it is.
const SMALL: usize = 1024;

/// Ends a chunk's data (RFC 9112 §7.1).
const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunk's data and, with it, a body without trailers.
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";
