//! A call on a connection of its own: HTTP/1.1.
//!
//! Both directions are driven in place by the task that waits: the request leaves while the
//! response may already come, and neither waits for the other.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::call::{CallError, Event, Interim};
use super::{Connection, Keep, Pool};
use crate::body::{Body, Keeping};
use crate::http1::{Amount, Framing, Limits, Outgoing, ResponseHead, SendError, resume_response};
use crate::net::Buffer;

/// A request that has been given to a connection which carries nothing else.
#[derive(Debug)]
pub struct OwnCall {
    /// There until the call has ended.
    connection: Option<Box<Connection>>,
    pub(super) outgoing: Outgoing,
    pub(super) sent: Sent,
    method: Method,
    limits: Limits,
    interim: Interim,
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

impl OwnCall {
    /// Gives a request to a connection: its encoded head, and the body framed as the head says, of
    /// which so much is kept.
    pub fn new(
        connection: Box<Connection>,
        head: Buffer,
        (body, framing, keeping): (Body, Framing, Keeping),
        method: Method,
        limits: Limits,
    ) -> Self {
        Self {
            connection: Some(connection),
            outgoing: Outgoing::new(head, body, framing).keep(keeping),
            sent: Sent::Partly,
            method,
            limits,
            interim: Interim::default(),
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

    /// Whether what was sent of it does not arrive.
    pub(super) fn is_sent_in_vain(&self) -> bool {
        self.connection().stream.writes_in_vain()
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

    /// Whether all of the body is still at hand.
    pub fn has_whole_body(&self) -> bool {
        self.outgoing.has_whole_body()
    }

    /// The request will not be sent again.
    pub fn keep_nothing(&mut self) {
        self.outgoing.keep_nothing();
    }

    fn event(&mut self, head: ResponseHead) -> Result<Event, CallError> {
        let status = head.parts.status;
        if !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Event::Response(head));
        }
        self.interim.interim(head)
    }
}

const NOT_ENDED: &str = "a call has its connection until its end, and is not asked after it";
