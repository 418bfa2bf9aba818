//! One stream of a connection, as the task that owns it has it.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;

use super::connection::Connection;
use super::error::{ErrorCode, StreamError};
use super::head::ResponseHead;
use super::session::Piece;

/// What a stream answers when it is asked for its next piece: `None` after its end.
pub type NextFrame = Option<Result<Frame<Bytes>, StreamError>>;

/// A stream that somebody holds. Dropped before both sides have ended, it is reset: by a server
/// whose response was whole with `NO_ERROR` (RFC 9113 §8.1), else with `INTERNAL_ERROR`; by a
/// client with CANCEL.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Connection>,
    id: u32,
}

impl Stream {
    pub(super) fn new(connection: Rc<Connection>, id: u32) -> Self {
        Self { connection, id }
    }

    /// The connection that it is one of.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Of a client: the next head that came, interim or final.
    pub fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, StreamError>> {
        self.connection
            .with(|session| session.poll_head(self.id, cx))
    }

    /// The next piece of the body, or its trailers; `None` at its end. What was taken is given back
    /// to the window.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        self.connection
            .with(|session| session.poll_frame(self.id, cx))
    }

    /// Says some of these bytes, as the windows allow, on a stream that has become a tunnel. Ready
    /// with how many those were.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.connection.with(|session| {
            let room = ready!(session.poll_room(self.id, bytes.len(), cx))?;
            if room == 0 {
                return Poll::Ready(Err(StreamError::Ended));
            }
            let count = room.min(bytes.len());
            let is_cut = count < bytes.len();
            let ends = false;
            session.send(self.id, &bytes[..count], Piece { ends, is_cut });
            Poll::Ready(Ok(count))
        })
    }

    /// Says that nothing more of our side follows, on a stream that has become a tunnel.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.connection.with(|session| {
            ready!(session.poll_turn(self.id, cx))?;
            session.send(self.id, &[], Piece::LAST);
            Poll::Ready(Ok(()))
        })
    }

    /// Whether all that the other end sends has come and was taken.
    pub fn has_ended(&self) -> bool {
        self.connection.with(|session| session.has_ended(self.id))
    }

    /// What is still to come of the body, or waits to be taken, if that is known.
    pub fn left(&self) -> Option<u64> {
        self.connection.with(|session| session.left(self.id))
    }

    /// Whether all of our side was said, or no more of it is wanted.
    pub fn has_sent(&self) -> bool {
        self.connection.with(|session| session.has_sent(self.id))
    }

    /// Of a server: whether the response is whole, more of the request is to come, and its client
    /// may lose the response if it is stopped. Whoever holds the stream should then take what comes
    /// for a moment.
    pub fn may_say_rest(&self) -> bool {
        self.connection
            .with(|session| session.may_say_rest(self.id))
    }

    /// Bytes of the body that came.
    pub fn received(&self) -> u64 {
        self.connection.with(|session| session.received(self.id))
    }

    /// Lets the other end hold the stream up for so long, before it [counts](super::HeldUp) as
    /// that.
    pub fn may_rest(&self, time: Duration) {
        self.connection
            .with(|session| session.may_rest(self.id, time));
    }

    /// Lets the other end be silent for as long as it likes in the middle of its message, as in a
    /// conversation of both sides; or not, as before.
    pub fn converses(&self, is_so: bool) {
        self.connection
            .with(|session| session.converses(self.id, is_so));
    }

    /// Ready once the stream has ended before its end. Of two tasks that ask, the last one is
    /// woken.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.connection
            .with(|session| session.poll_broken(self.id, cx))
    }

    /// Why the stream ended before its end, if it has.
    pub fn broken(&self) -> Option<StreamError> {
        self.connection.with(|session| session.broken(self.id))
    }

    /// Gives the stream's place back before the stream is dropped, if it has ended before its end:
    /// for an owner that has something to finish which no longer has to do with it.
    pub fn let_go_if_broken(&self) {
        self.connection.with(|session| {
            if session.broken(self.id).is_some() {
                session.release(self.id);
            }
        });
    }

    /// Resets the stream, whose message does not come to its end.
    pub fn cut(&self) {
        self.connection.with(|session| session.cut(self.id));
    }

    /// Resets the stream, unless it has ended.
    pub fn reset(&self, code: ErrorCode) {
        self.connection.with(|session| session.reset(self.id, code));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.with(|session| session.release(self.id));
    }
}
