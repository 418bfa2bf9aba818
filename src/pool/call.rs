//! One request on its way to an endpoint, until the head of the response is there.
//!
//! Both directions are driven in place by the task that waits: the request leaves while the
//! response may already come, and neither waits for the other.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::shared::{SharedBody, SharedCall};
use super::{Connection, Keep, OwnCall, Pool, Receipt, ResponseBody, Return, Shared};
use crate::body::{Body, BodyError};
use crate::endpoint::Endpoint;
use crate::http1::{Framing, ResponseError, ResponseHead, Trailers};
use crate::http2::ErrorCode;
use crate::tls;

/// A request that has been given to a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are calls of their own, and a box for each would cost more than the room"
)]
pub enum Call {
    /// To one of its own.
    Own(OwnCall),
    /// To one that it shares.
    Shared(Box<SharedCall>),
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
    /// Nothing of what was sent arrives there, so far as is known. Said by who waits, or by another
    /// call on the same connection, which has the endpoint told.
    #[error("nothing that was sent has been acknowledged")]
    Undelivered {
        /// Whether it was another one.
        is_told: bool,
    },
    /// The head is not what RFC 9112 allows, or too large.
    #[error(transparent)]
    Malformed(#[from] ResponseError),
    /// The endpoint sent interim responses without end.
    #[error("the endpoint sent too many interim responses")]
    TooManyInterim,
    /// The endpoint has surely done nothing with the request.
    #[error("the endpoint took no notice of the request")]
    Unprocessed,
    /// The endpoint ended this call alone before its response.
    #[error("the endpoint reset the stream: {0}")]
    StreamReset(ErrorCode),
    /// The endpoint wants HTTP/1.1 for it.
    #[error("the endpoint requires HTTP/1.1")]
    Http1Required,
    /// The response is not what RFC 9113 allows.
    #[error("the response is malformed: {0}")]
    MalformedStream(ErrorCode),
    /// The connection that it shared with others ended before its response.
    #[error("the connection ended before the endpoint answered")]
    Lost {
        /// It had taken nothing of the request.
        is_unsent: bool,
        /// Why its endpoint refused it, where that is known.
        refusal: Option<tls::Failure>,
        /// It had been at work for this one for a while, and ended without having said so: as a
        /// connection of its own would have broken.
        broke_off: bool,
    },
    /// The client's body failed: the endpoint is not to blame.
    #[error(transparent)]
    RequestBody(BodyError),
    /// The client's body was not as long as its head said.
    #[error("the request's body is not as long as its head says")]
    RequestLength,
}

/// Counts interim responses.
#[derive(Debug, Default)]
pub(super) struct Interim(u32);

impl Call {
    /// Sends what goes and reads what comes. Ready with each interim head and with the final one.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, CallError>> {
        match self {
            Self::Own(call) => call.poll_event(cx),
            Self::Shared(call) => call.poll_event(cx),
        }
    }

    /// The whole body of a response whose head has come, if it came together with it: then it
    /// need not stream.
    pub fn take_whole_body(&mut self, framing: Framing) -> Option<Bytes> {
        match self {
            Self::Own(call) => call.take_whole_body(framing),
            Self::Shared(call) => call.take_whole_body(framing),
        }
    }

    /// The response has been received: its connection is free, if it can be used again.
    ///
    /// # Panics
    ///
    /// If the call has ended before.
    #[inline]
    pub fn end(&mut self, persistent: bool, pool: &Pool, keep: Keep, now: Instant) {
        match self {
            Self::Own(call) => call.end(persistent, pool, keep, now),
            Self::Shared(call) => call.end(),
        }
    }

    /// The body behind the head that has come. `guard` is released at its end.
    pub fn body<G: Receipt>(
        self,
        (framing, trailers): (Framing, Trailers),
        persistent: bool,
        home: Return,
        guard: G,
    ) -> Body {
        match self {
            Self::Own(call) => {
                let framing = (framing, trailers);
                let body = ResponseBody::new(call, framing, persistent, home, guard);
                Body::stream(body)
            }
            Self::Shared(call) => Body::stream(SharedBody::new(call, framing, guard)),
        }
    }

    /// What is known to have failed after as much time as a connection has to be made: what was
    /// sent does not arrive. A connection that is shared is lost with that, for all that are on it;
    /// else its endpoint is asked for a sign.
    pub fn looked_after(&self) -> Result<(), CallError> {
        match self {
            Self::Own(call) if call.is_sent_in_vain() => {
                Err(CallError::Undelivered { is_told: false })
            }
            Self::Own(_) => Ok(()),
            Self::Shared(call) => call.looked_after(),
        }
    }

    /// Whom a call that has taken too long has waited for: its client, who has not sent its body,
    /// or the endpoint. `is_fair`: it says something about the endpoint, and so about a connection
    /// that others share.
    pub fn overdue(&self, is_fair: bool, awaits_client: bool) -> CallError {
        if let Self::Shared(call) = self {
            if awaits_client {
                call.excuse();
            } else if is_fair {
                call.doubt();
            } else {
                call.wonder();
            }
        }
        if awaits_client {
            CallError::RequestBody(BodyError::Idle)
        } else if self.is_sent() || self.awaits_body() {
            CallError::TimedOut
        } else {
            CallError::NotTaken
        }
    }

    /// Whether the whole request has been sent.
    pub fn is_sent(&self) -> bool {
        match self {
            Self::Own(call) => call.is_sent(),
            Self::Shared(call) => call.is_sent(),
        }
    }

    /// Whether nothing is left to be sent until more of the client's body comes.
    pub fn awaits_body(&self) -> bool {
        match self {
            Self::Own(call) => call.awaits_body(),
            Self::Shared(call) => call.awaits_body(),
        }
    }

    /// A number that grows with every write: tells whether something moved.
    pub fn progress(&self) -> u64 {
        match self {
            Self::Own(call) => call.progress(),
            Self::Shared(call) => call.progress(),
        }
    }

    /// The endpoint that is called.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        match self {
            Self::Own(call) => call.connection().endpoint(),
            Self::Shared(call) => call.endpoint(),
        }
    }

    /// The connection that it shares, if it does.
    pub fn shared(&self) -> Option<&Rc<Shared>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(call) => Some(call.shared()),
        }
    }

    /// The connection, to become a tunnel; `None` if others share it.
    ///
    /// # Panics
    ///
    /// If the call has ended.
    pub fn into_connection(self) -> Option<Box<Connection>> {
        match self {
            Self::Own(call) => Some(call.into_connection()),
            Self::Shared(_) => None,
        }
    }

    /// Whether all of the body is still at hand, so that the request may be sent again.
    pub fn has_whole_body(&self) -> bool {
        match self {
            Self::Own(call) => call.has_whole_body(),
            Self::Shared(call) => call.has_whole_body(),
        }
    }

    /// The request will not be sent again: lets go of what is kept for that.
    #[inline]
    pub fn keep_nothing(&mut self) {
        match self {
            Self::Own(call) => call.keep_nothing(),
            Self::Shared(call) => call.keep_nothing(),
        }
    }

    /// Gives the body back, if all of it is still at hand: then the request may be sent again.
    pub fn into_whole_body(self) -> Option<Body> {
        match self {
            Self::Own(call) => call.into_whole_body(),
            Self::Shared(call) => call.into_whole_body(),
        }
    }
}

impl Interim {
    /// Takes in another interim response.
    pub(super) fn interim(&mut self, head: ResponseHead) -> Result<Event, CallError> {
        self.0 += 1;
        if self.0 > INTERIM_AT_MOST {
            return Err(CallError::TooManyInterim);
        }
        Ok(Event::Interim(head))
    }
}

impl CallError {
    /// Whether the connection ended before a byte of the response: then the endpoint may never have
    /// seen the request.
    pub fn is_before_response(&self) -> bool {
        match self {
            Self::Unsent(_)
            | Self::Closed
            | Self::Reset(_)
            | Self::Unprocessed
            | Self::StreamReset(_)
            | Self::Undelivered { .. }
            | Self::Lost { .. } => true,
            Self::Truncated
            | Self::TimedOut
            | Self::NotTaken
            | Self::Malformed(_)
            | Self::TooManyInterim
            | Self::Http1Required
            | Self::MalformedStream(_)
            | Self::RequestBody(_)
            | Self::RequestLength => false,
        }
    }

    /// Whether the endpoint has surely seen nothing of the request.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Unprocessed => true,
            Self::Lost { is_unsent, .. } => *is_unsent,
            _ => false,
        }
    }

    /// Whether it says that a connection was kept for too long, of one that had carried a call
    /// before (`reused`): then it says nothing about the endpoint.
    pub fn is_stale(&self, reused: bool) -> bool {
        match self {
            Self::Unsent(_) | Self::Closed | Self::Reset(_) | Self::Lost { .. } => reused,
            _ => false,
        }
    }

    /// Whether it is about a connection that others shared, of which the endpoint is told by whom
    /// it belongs to.
    pub fn is_of_shared(&self) -> bool {
        matches!(
            self,
            Self::Unprocessed | Self::StreamReset(_) | Self::Lost { .. }
        )
    }

    /// Why the endpoint refused the session, if it did: in TLS 1.3 it does so only after our side
    /// of the handshake.
    pub fn refusal(&self) -> Option<tls::Failure> {
        match self {
            Self::Unsent(error) | Self::Reset(error) => tls::Failure::of(error),
            Self::Lost { refusal, .. } => *refusal,
            _ => None,
        }
    }
}

/// 100, 102 and 103 come once or a few times; more is an endpoint that has lost its way. A stream
/// of HTTP/2 keeps one head more than these, so that all may come at once.
const INTERIM_AT_MOST: u32 = 32;
