//! Why an attempt failed: whose fault it was, what it means for the endpoint, and whether another
//! attempt may follow.

use std::time::Duration;

use tokio::time::Instant;

use super::awaited::Waited;
use super::respond::Cause;
use crate::body::BodyError;
use crate::endpoint::{ConnectFailure, Endpoint, FAIR, Outcome};
use crate::http2::ErrorCode;
use crate::policy::retry::Failure;
use crate::pool::{CallError, ConnectError};
use crate::tls;
use crate::upstream::Pick;

/// An attempt that brought no response.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) cause: Cause,
    pub(super) failure: Failure,
    /// Whether all of the request's body is still at hand.
    pub(super) is_repeatable: bool,
    /// The pause before another attempt that has been granted already, where a response was given
    /// up for it.
    pub(super) granted: Option<Duration>,
}

/// What carried a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// A new connection.
    New,
    /// One that had brought a response before.
    Kept,
    /// One that had been kept for too long: it was closed when the request had just left.
    Stale,
}

/// How an attempt ended otherwise than with a response.
#[derive(Debug)]
pub(super) enum Attempt {
    Failed(Failed),
    /// The client has gone: nobody waits for another attempt.
    ClientGone,
}

impl Carried {
    /// By a connection that had brought a response before (`reused`), and was kept for too long.
    pub(super) fn by(reused: bool, is_stale: bool) -> Self {
        match reused {
            _ if is_stale => Self::Stale,
            true => Self::Kept,
            false => Self::New,
        }
    }
}

/// A call that brought no response, after the endpoint was waited for as long as this.
pub(super) fn failed_call(
    pick: &Pick,
    (carried, try_timed_out): (Carried, bool),
    (error, waited): (&CallError, Waited),
    is_repeatable: bool,
) -> Attempt {
    let endpoint = pick.endpoint();
    let before_response = error.is_before_response();
    let timed_out = matches!(error, CallError::TimedOut | CallError::NotTaken);
    let refusal = error.refusal();
    let outcome = outcome(error, carried).filter(|_| !timed_out || waited.is_fair);
    let now = Instant::now();
    if let Some(outcome) = outcome {
        pick.learn(outcome, now);
    }
    if timed_out {
        endpoint.awaited(waited.time, now);
    }
    endpoint.unanswered();
    let cause = match error {
        CallError::Unsent(_)
        | CallError::Closed
        | CallError::Reset(_)
        | CallError::Unprocessed
        | CallError::Lost { .. } => match refusal {
            None => Cause::ConnectionTerminated,
            Some(tls::Failure::Certificate | tls::Failure::Name) => Cause::TlsCertificateError,
            Some(tls::Failure::Alert) => Cause::TlsAlertReceived,
            Some(tls::Failure::Protocol) => Cause::TlsProtocolError,
        },
        CallError::Truncated => Cause::ResponseIncomplete,
        CallError::StreamReset(code) if is_an_end(*code) => Cause::ConnectionTerminated,
        CallError::Malformed(_)
        | CallError::TooManyInterim
        | CallError::StreamReset(_)
        | CallError::Http1Required
        | CallError::MalformedStream(_) => Cause::ProtocolError,
        CallError::TimedOut => Cause::ResponseTimeout,
        CallError::Undelivered { .. } => Cause::ConnectionTimeout,
        CallError::NotTaken => Cause::ConnectionWriteTimeout,
        CallError::RequestBody(BodyError::Malformed) | CallError::RequestLength => {
            Cause::BadRequest
        }
        CallError::RequestBody(_) => Cause::RequestBodyTimeout,
    };
    let failure = if matches!(error, CallError::Unprocessed) {
        Failure::Unprocessed
    } else if error.is_unsent() {
        Failure::NotSent
    } else if before_response {
        Failure::NoResponse
    } else if timed_out && try_timed_out {
        Failure::TryTimeout
    } else {
        Failure::Responding
    };
    tracing::debug!(endpoint = %endpoint.name, why = %error, "attempt failed");
    Attempt::Failed(Failed {
        cause,
        failure,
        is_repeatable,
        granted: None,
    })
}

/// A call whose client left, after the endpoint was waited for as long as this.
pub(super) fn abandoned_call(pick: &Pick, waited: Waited) {
    let now = Instant::now();
    pick.endpoint().awaited(waited.time, now);
    if waited.time >= FAIR {
        pick.learn(Outcome::Abandoned, now);
    }
}

/// What a call that brought no response says of its endpoint.
fn outcome(error: &CallError, carried: Carried) -> Option<Outcome> {
    match error {
        // The endpoint is told by whom the connection belongs to, or is not to blame.
        CallError::Unprocessed
        | CallError::Lost {
            broke_off: false, ..
        }
        | CallError::Undelivered { is_told: true }
        | CallError::Http1Required
        | CallError::RequestBody(_)
        | CallError::RequestLength => None,
        // It had been kept for too long, or the next one tells.
        CallError::Unsent(_) | CallError::Closed | CallError::Reset(_) => match carried {
            Carried::New => {
                let refusal = error.refusal();
                let failure = refusal.map_or(ConnectFailure::Terminated, ConnectFailure::from);
                Some(Outcome::NoConnection(failure))
            }
            Carried::Kept => Some(Outcome::Broken),
            Carried::Stale => None,
        },
        // Others say that the request was at fault, or that too much was asked.
        CallError::StreamReset(code) => {
            let is_its_own = is_an_end(*code) && *code != ErrorCode::ENHANCE_YOUR_CALM;
            is_its_own.then_some(Outcome::Broken)
        }
        CallError::Truncated
        | CallError::Lost {
            broke_off: true, ..
        }
        | CallError::Malformed(_)
        | CallError::TooManyInterim
        | CallError::MalformedStream(_) => Some(Outcome::Broken),
        // As a connection that could not be made: this one leads nowhere either.
        CallError::Undelivered { is_told: false } => {
            Some(Outcome::NoConnection(ConnectFailure::TimedOut))
        }
        CallError::TimedOut | CallError::NotTaken => Some(Outcome::TimedOut),
    }
}

/// A connection that could not be had: nothing was sent.
///
/// `in_vain` tells that the endpoint had a fair time for one.
pub(super) fn failed_connect(pick: &Pick, error: &ConnectError, in_vain: bool) -> Failed {
    tracing::debug!(endpoint = %pick.endpoint().name, why = %error, "no connection");
    let failure = error.failure();
    let is_told = matches!(error, ConnectError::Joined { .. });
    let is_asked_for = failure.is_some_and(|failure| is_by_request(pick.endpoint(), failure));
    if let Some(failure) = failure
        && (in_vain || !failure.is_timeout())
        && !is_told
    {
        if is_asked_for {
            pick.endpoint().count_failure(failure);
        } else {
            let outcome = Outcome::NoConnection(failure);
            pick.learn(outcome, Instant::now());
        }
    }
    let cause = match failure {
        None => Cause::ConnectionLimitReached,
        Some(ConnectFailure::TimedOut) => Cause::ConnectionTimeout,
        Some(ConnectFailure::Refused) => Cause::ConnectionRefused,
        Some(ConnectFailure::Terminated) => Cause::ConnectionTerminated,
        Some(ConnectFailure::Unroutable) => Cause::DestinationIpUnroutable,
        Some(ConnectFailure::Unavailable) => Cause::DestinationUnavailable,
        Some(ConnectFailure::TlsCertificate | ConnectFailure::TlsName) => {
            Cause::TlsCertificateError
        }
        Some(ConnectFailure::TlsAlert) => Cause::TlsAlertReceived,
        Some(ConnectFailure::TlsProtocol) => Cause::TlsProtocolError,
        Some(ConnectFailure::TlsTimedOut) => Cause::TlsTimeout,
        Some(ConnectFailure::Ours) => Cause::Internal,
    };
    // Another endpoint has no other name.
    let (failure, is_repeatable) = if is_asked_for {
        (Failure::Responding, false)
    } else {
        (Failure::NotSent, true)
    };
    Failed {
        cause,
        failure,
        is_repeatable,
        granted: None,
    }
}

/// Whether it may be the name in the request that an endpoint has no certificate for, which says
/// nothing about the endpoint: any client may ask for anything.
fn is_by_request(endpoint: &Endpoint, failure: ConnectFailure) -> bool {
    let peer = endpoint.tls.as_ref();
    let is_of_name = matches!(failure, ConnectFailure::TlsName | ConnectFailure::TlsAlert);
    is_of_name && peer.is_some_and(|peer| peer.asks_by_request())
}

/// Whether a reset with this code says that the endpoint gave up, rather than that it found fault
/// with what it was sent.
fn is_an_end(code: ErrorCode) -> bool {
    let ends = [
        ErrorCode::NO_ERROR,
        ErrorCode::INTERNAL_ERROR,
        ErrorCode::CANCEL,
        ErrorCode::CONNECT_ERROR,
        ErrorCode::ENHANCE_YOUR_CALM,
    ];
    ends.contains(&code)
}

/// A request that only HTTP/1.1 can carry, to an endpoint that is spoken to in HTTP/2: nothing was
/// sent.
pub(super) fn needs_http1(endpoint: &Endpoint, what: &str) -> Attempt {
    let endpoint = &endpoint.name;
    tracing::warn!(%endpoint, what, "not sent: it needs HTTP/1.1, `protocol` says HTTP/2");
    protocol_error(Cause::UpgradeFailed)
}

/// A response that breaks the protocol: the endpoint has acted on the request, so it
/// is not repeated.
pub(super) fn protocol_error(cause: Cause) -> Attempt {
    Attempt::Failed(Failed {
        cause,
        failure: Failure::Responding,
        is_repeatable: false,
        granted: None,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_call_says_of_its_endpoint_depends_on_who_is_to_blame() {
        let lost = Some(Outcome::NoConnection(ConnectFailure::Terminated));
        let silent = Some(Outcome::NoConnection(ConnectFailure::TimedOut));
        let broken = Some(Outcome::Broken);
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        for (error, on_a_new_one, on_a_kept_one) in [
            (CallError::Closed, lost, None),
            (CallError::Reset(reset()), lost, None),
            (CallError::Unsent(reset()), lost, None),
            (CallError::Truncated, broken, broken),
            (CallError::TooManyInterim, broken, broken),
            (
                CallError::TimedOut,
                Some(Outcome::TimedOut),
                Some(Outcome::TimedOut),
            ),
            (
                CallError::NotTaken,
                Some(Outcome::TimedOut),
                Some(Outcome::TimedOut),
            ),
            (CallError::Undelivered { is_told: false }, silent, silent),
            (CallError::Undelivered { is_told: true }, None, None),
            (
                CallError::Lost {
                    is_unsent: false,
                    refusal: None,
                    broke_off: false,
                },
                None,
                None,
            ),
            (
                CallError::Lost {
                    is_unsent: false,
                    refusal: None,
                    broke_off: true,
                },
                broken,
                broken,
            ),
            (
                CallError::StreamReset(ErrorCode::INTERNAL_ERROR),
                broken,
                broken,
            ),
            // Too much was asked, or it was asked in a way that it does not take.
            (
                CallError::StreamReset(ErrorCode::ENHANCE_YOUR_CALM),
                None,
                None,
            ),
            (
                CallError::StreamReset(ErrorCode::PROTOCOL_ERROR),
                None,
                None,
            ),
            (CallError::Http1Required, None, None),
            // The connection tells of these, once for all that were on it.
            (CallError::Unprocessed, None, None),
            // The client's own.
            (CallError::RequestBody(BodyError::Truncated), None, None),
            (CallError::RequestLength, None, None),
        ] {
            assert_eq!(outcome(&error, Carried::New), on_a_new_one, "{error:?}");
            let on_a_stale_one = outcome(&error, Carried::Stale);
            assert_eq!(on_a_stale_one, on_a_kept_one, "{error:?}");
            // What ends after a while has broken off, whatever it was.
            let after_a_while = if on_a_new_one == lost {
                broken
            } else {
                on_a_new_one
            };
            assert_eq!(outcome(&error, Carried::Kept), after_a_while, "{error:?}");
        }
    }
}
