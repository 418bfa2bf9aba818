//! One stream of a connection, as the task that owns it has it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::connection::Connection;
use super::error::{ErrorCode, StreamError};
use super::head::ResponseHead;

/// A stream that somebody holds. Dropped before both sides have ended, it is reset: by a server
/// whose response was whole with NO_ERROR (RFC 9113 §8.1), else with INTERNAL_ERROR; by a client
/// with CANCEL.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Connection>,
    id: u32,
}

impl Stream {
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
        _ = cx;
        Poll::Pending
    }

    /// The next piece of the body, or its trailers; `None` at its end. What was taken is given back
    /// to the window.
    pub fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        _ = cx;
        Poll::Pending
    }

    /// Whether all that the other end sends has come and was taken.
    pub fn has_ended(&self) -> bool {
        false
    }

    /// Bytes of the body that came.
    pub fn received(&self) -> u64 {
        0
    }

    /// Ready once the stream has ended before its end. Of two tasks that ask, the last one is woken.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<StreamError> {
        _ = cx;
        Poll::Pending
    }

    /// Why the stream ended before its end, if it has.
    pub fn broken(&self) -> Option<StreamError> {
        None
    }

    /// Resets the stream, unless it has ended.
    pub fn reset(&self, code: ErrorCode) {
        _ = code;
    }
}
