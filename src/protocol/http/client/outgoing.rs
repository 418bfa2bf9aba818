//! A message to a client, as its transport has it.

use std::task::{Context, Poll};

use super::{Client, Transport};
use crate::body::BodyError;
use crate::{http1, http2};

/// A message to a client.
#[derive(Debug)]
pub(in crate::protocol::http) enum Outgoing {
    /// On a connection of its own.
    Http1(http1::Outgoing),
    /// On a stream.
    Http2(Box<http2::Sending>),
}

/// Why a message could not be sent.
#[derive(Debug)]
pub(in crate::protocol::http) enum SendError {
    /// The client has gone.
    Gone,
    /// The body's source failed.
    Body(BodyError),
    /// The source gave more or fewer bytes than the head promised.
    Length,
}

impl Outgoing {
    /// Sends as much as goes. Ready when everything has left.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        client: &Client,
    ) -> Poll<Result<(), SendError>> {
        match (self, &client.transport) {
            (Self::Http1(outgoing), Transport::Http1(http1)) => outgoing
                .poll_send(cx, &http1.stream)
                .map_err(SendError::from),
            (Self::Http2(sending), Transport::Http2(stream, _)) => {
                sending.poll_send(cx, stream).map_err(SendError::from)
            }
            (Self::Http1(_), Transport::Http2(..)) | (Self::Http2(_), Transport::Http1(_)) => {
                Poll::Ready(Err(SendError::Gone))
            }
        }
    }

    /// Lets what comes behind the body go on, while the client takes no more.
    pub(super) fn poll_behind(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(outgoing) => outgoing.poll_behind(cx),
            Self::Http2(sending) => sending.poll_behind(cx),
        }
    }

    /// Takes in that no more of the body came in time.
    pub(in crate::protocol::http) fn fell_silent(&mut self) {
        match self {
            Self::Http1(outgoing) => outgoing.fell_silent(),
            Self::Http2(sending) => sending.fell_silent(),
        }
    }

    /// Whether what is behind the body waits for the rest of the request.
    pub(in crate::protocol::http) fn awaits_request(&self) -> bool {
        match self {
            Self::Http1(outgoing) => outgoing.awaits_request(),
            Self::Http2(sending) => sending.awaits_request(),
        }
    }

    /// Whether everything that was there has left, and more of the body is to come.
    pub(in crate::protocol::http) fn awaits_body(&self) -> bool {
        match self {
            Self::Http1(outgoing) => outgoing.awaits_body(),
            Self::Http2(sending) => sending.awaits_body(),
        }
    }

    /// A number that grows with what is sent: tells whether something moved.
    pub(super) fn progress(&self) -> u64 {
        match self {
            Self::Http1(outgoing) => outgoing.progress(),
            Self::Http2(sending) => sending.progress(),
        }
    }

    /// Bytes of the body that were sent.
    pub(in crate::protocol::http) fn body_bytes(&self) -> u64 {
        match self {
            Self::Http1(outgoing) => outgoing.body_bytes(),
            Self::Http2(sending) => sending.body_bytes(),
        }
    }
}

impl From<http1::SendError> for SendError {
    fn from(error: http1::SendError) -> Self {
        match error {
            http1::SendError::Write(_) => Self::Gone,
            http1::SendError::Body(error) => Self::Body(error),
            http1::SendError::Length => Self::Length,
        }
    }
}

impl From<http2::SendError> for SendError {
    fn from(error: http2::SendError) -> Self {
        match error {
            http2::SendError::Stream(_) => Self::Gone,
            http2::SendError::Body(error) => Self::Body(error),
            http2::SendError::Length => Self::Length,
        }
    }
}
