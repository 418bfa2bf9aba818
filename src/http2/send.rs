//! A message on its way out of a stream: its head, then its body, as the windows allow.

use std::task::{Context, Poll};

use super::error::StreamError;
use super::stream::Stream;
use crate::body::{Body, BodyError};
use crate::message::ResponseParts;

/// A message that is being sent.
#[derive(Debug)]
pub struct Sending {
    body: Body,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The body's source failed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The source gave more or fewer bytes than the head promised.
    #[error("the body is not as long as its head says")]
    Length,
}

impl Sending {
    /// A response, whose head leaves as soon as there is room. Its `Content-Length` stands as it is
    /// in the fields; a body that says how long it is gets one. With `bodiless`, nothing follows
    /// the head whatever the body says: the answer to HEAD, 204, 304.
    pub fn response(parts: ResponseParts, body: Body, bodiless: bool) -> Self {
        drop((parts, bodiless));
        Self { body }
    }

    /// An interim response: a head that something follows.
    pub fn interim(parts: ResponseParts) -> Self {
        drop(parts);
        Self {
            body: Body::empty(),
        }
    }

    /// The body of a request whose head has left with [`Connection::open`](super::Connection::open).
    pub fn request(body: Body, length: Option<u64>) -> Self {
        _ = length;
        Self { body }
    }

    /// Keeps the first piece of the body, if it is no longer than a buffer: until a second one is
    /// taken, the message may be sent again.
    #[must_use]
    pub fn keep_piece(self) -> Self {
        self
    }

    /// Gives up what is kept.
    pub fn keep_nothing(&mut self) {}

    /// Sends as much as goes. Ready when everything has been handed to the connection.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<(), SendError>> {
        _ = (cx, stream);
        Poll::Pending
    }

    /// Lets what comes behind the body go on, while the stream takes no more.
    pub fn poll_behind(&mut self, cx: &mut Context<'_>) {
        self.body.poll_behind(cx);
    }

    /// Bytes of the body that were sent.
    pub fn body_bytes(&self) -> u64 {
        0
    }

    /// A number that grows with what is sent: tells whether something moved.
    pub fn progress(&self) -> u64 {
        0
    }

    /// Whether everything that was there has left, and more of the body is to come.
    pub fn awaits_body(&self) -> bool {
        false
    }

    /// Gives the body back, if all of it is still at hand: then the message may be sent again.
    pub fn into_whole_body(self) -> Option<Body> {
        Some(self.body)
    }
}
