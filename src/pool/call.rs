//! One request on its way to an endpoint, until the head of the response is there.
//!
//! Both directions are driven in place by the task that waits: the request leaves while the
//! response may already come, and neither waits for the other.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::{Connection, Keep, Pool};
use crate::body::{Body, BodyError};
use crate::http1::{
    Amount, Framing, Limits, Outgoing, ResponseError, ResponseHead, SendError, resume_response,
};
use crate::net::Buffer;

/// A request that has been given to a connection.
#[derive(Debug)]
pub struct Call {
    /// There until the call has ended.
    connection: Option<Box<Connection>>,
    pub(super) outgoing: Outgoing,
    pub(super) sent: Sent,
    method: Method,
    limits: Limits,
    interim: usize,
    received_any: bool,
    /// Bytes that hold no whole head, as is known.
    seen: usize,
}

/// How far the request has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Some of it is still to be sent.
    Partly,
    /// All of it has been sent.
    Wholly,
    /// The endpoint takes no more of it. It may have answered before it stopped to listen.
    Refused,
}

/// What an endpoint said.
#[derive(Debug)]
pub enum Event {
    /// An interim response (1xx): the final one is still to come.
    Interim(ResponseHead),
    /// The head of the response.
    Response(ResponseHead),
}

/// Why a call failed before the head of its response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection took no byte of the request: the endpoint cannot have acted on it.
    #[error("the connection took nothing of the request: {0}")]
    Unsent(io::Error),
    /// The endpoint closed the connection before a byte of the response.
    #[error("the endpoint closed the connection before it answered")]
    Closed,
    /// The connection broke before a byte of the response.
    #[error("the connection broke before the endpoint answered: {0}")]
    Reset(io::Error),
    /// The connection ended in the middle of the head.
    #[error("the connection ended in the middle of the response's head")]
    Truncated,
    /// The endpoint did not answer in time. Said by who waits.
    #[error("the endpoint did not answer in time")]
    TimedOut,
    /// The endpoint did not take the request in time. Said by who waits.
    #[error("the endpoint stopped taking the request")]
    NotTaken,
    /// The head is not what RFC 9112 allows, or too large.
    #[error(transparent)]
    Malformed(#[from] ResponseError),
    /// The endpoint sent interim responses without end.
    #[error("the endpoint sent too many interim responses")]
    TooManyInterim,
    /// The client's body failed: the endpoint is not to blame.
    #[error(transparent)]
    RequestBody(BodyError),
    /// The client's body was not as long as its head said.
    #[error("the request's body is not as long as its head says")]
    RequestLength,
}

impl Call {
    /// Gives a request to a connection: its encoded head, and the body framed as the head says.
    pub fn new(
        connection: Box<Connection>,
        head: Buffer,
        body: (Body, Framing),
        method: Method,
        limits: Limits,
    ) -> Self {
        Self {
            connection: Some(connection),
            outgoing: Outgoing::new(head, body.0, body.1).keep_piece(),
            sent: Sent::Partly,
            method,
            limits,
            interim: 0,
            received_any: false,
            seen: 0,
        }
    }

    /// Sends what goes and reads what comes. Ready with each interim head and with the final one.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, CallError>> {
        self.poll_request(cx)?;
        loop {
            let connection = self.connection.as_mut().expect(NOT_ENDED);
            let bytes = connection.received.bytes();
            if bytes.len() > self.seen {
                if let Some(head) = resume_response(bytes, self.seen, &self.method, self.limits)? {
                    self.seen = 0;
                    connection.received.consume(head.size);
                    return Poll::Ready(self.event(head));
                }
                self.seen = bytes.len();
            }
            let Connection {
                stream, received, ..
            } = &mut **connection;
            // Of the size that a body needs which comes with its head.
            match received.poll_fill(cx, stream, Amount::Large) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => self.received_any = true,
                Poll::Ready(_) if self.received_any => {
                    return Poll::Ready(Err(CallError::Truncated));
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(CallError::Closed)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(CallError::Reset(error))),
            }
        }
    }

    /// The whole body of a response whose head has come, if it came together with it: then it
    /// need not stream.
    pub fn take_whole_body(&mut self, framing: Framing) -> Option<Bytes> {
        let length = match framing {
            Framing::None => 0,
            Framing::Length(length) => usize::try_from(length).ok()?,
            Framing::Chunked | Framing::UntilClose => return None,
        };
        let received = &mut self.connection_mut().received;
        (received.bytes().len() >= length).then(|| received.take(0, length))
    }

    /// The response has been received: its connection is free, if it can be used again.
    ///
    /// # Panics
    ///
    /// If the call has ended before.
    #[inline]
    pub fn end(&mut self, persistent: bool, pool: &Pool, keep: Keep, now: Instant) {
        let connection = self.connection.take().expect(NOT_ENDED);
        if persistent && self.sent == Sent::Wholly {
            pool.checkin(connection, keep, now);
        }
    }

    /// Moves the request on. An endpoint that stops to listen may have answered: that is for the
    /// reading side to find out.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        if self.sent != Sent::Partly {
            return Ok(());
        }
        let connection = self.connection.as_ref().expect(NOT_ENDED);
        match self.outgoing.poll_send(cx, &connection.stream) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sent = Sent::Wholly,
            // What may have been said before is no answer to what was not asked.
            Poll::Ready(Err(SendError::Write(error))) if self.progress() == 0 => {
                return Err(CallError::Unsent(error));
            }
            Poll::Ready(Err(SendError::Write(_))) => self.sent = Sent::Refused,
            Poll::Ready(Err(SendError::Body(error))) => return Err(CallError::RequestBody(error)),
            Poll::Ready(Err(SendError::Length)) => return Err(CallError::RequestLength),
        }
        Ok(())
    }

    /// Whether the whole request has been sent.
    pub fn is_sent(&self) -> bool {
        self.sent == Sent::Wholly
    }

    /// Whether it is the client that is waited for: the rest of its body.
    pub fn awaits_body(&self) -> bool {
        self.sent == Sent::Partly && self.outgoing.awaits_body()
    }

    /// A number that grows with every write: tells whether something moved.
    pub fn progress(&self) -> u64 {
        self.outgoing.progress()
    }

    /// The connection that carries the call.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect(NOT_ENDED)
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect(NOT_ENDED)
    }

    /// The connection, to become a tunnel.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn into_connection(self) -> Box<Connection> {
        self.connection.expect(NOT_ENDED)
    }

    /// Gives the body back, if all of it is still at hand: then the request may be sent again.
    pub fn into_whole_body(self) -> Option<Body> {
        self.outgoing.into_whole_body()
    }

    fn event(&mut self, head: ResponseHead) -> Result<Event, CallError> {
        let status = head.parts.status;
        if !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS {
            self.outgoing.keep_nothing();
            return Ok(Event::Response(head));
        }
        self.interim += 1;
        if self.interim > INTERIM_AT_MOST {
            return Err(CallError::TooManyInterim);
        }
        Ok(Event::Interim(head))
    }
}

impl CallError {
    /// Whether the connection ended before a byte of the response: then the endpoint may never have
    /// seen the request.
    pub fn is_before_response(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Closed | Self::Reset(_))
    }

    /// Whether the endpoint has surely seen nothing of the request.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsent(_))
    }
}

const NOT_ENDED: &str = "a call has its connection until its end, and is not asked after it";

/// 100, 102 and 103 come once or a few times; more is an endpoint that has lost its way.
const INTERIM_AT_MOST: usize = 32;
