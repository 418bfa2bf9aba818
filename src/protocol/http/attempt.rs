//! Why an attempt failed: whose fault it was, what it means for the endpoint, and whether another
//! attempt may follow.

use tokio::time::Instant;

use super::respond::Cause;
use crate::body::BodyError;
use crate::endpoint::{ConnectFailure, Endpoint};
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
}

/// How an attempt ended otherwise than with a response.
#[derive(Debug)]
pub(super) enum Attempt {
    Failed(Failed),
    /// The client has gone: nobody waits for another attempt.
    ClientGone,
}

/// A call that brought no response.
pub(super) fn failed_call(
    pick: &Pick,
    (reused, try_timed_out): (bool, bool),
    error: &CallError,
    is_repeatable: bool,
) -> Attempt {
    let endpoint = &pick.endpoint;
    let before_response = error.is_before_response();
    let timed_out = matches!(error, CallError::TimedOut | CallError::NotTaken);
    let refusal = error.refusal();
    if before_response && !reused && !error.is_of_shared() {
        let failure = refusal.map_or(ConnectFailure::Terminated, ConnectFailure::from);
        endpoint.connect_failed(failure, Instant::now());
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
        CallError::NotTaken => Cause::ConnectionWriteTimeout,
        CallError::RequestBody(BodyError::Malformed) | CallError::RequestLength => {
            Cause::BadRequest
        }
        CallError::RequestBody(_) => Cause::RequestTimeout,
    };
    let failure = if error.is_unsent() {
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
    })
}

/// A connection that could not be had: nothing was sent.
///
/// `in_vain` tells that the endpoint had all the time that a connection may take.
pub(super) fn failed_connect(pick: &Pick, error: &ConnectError, in_vain: bool) -> Failed {
    tracing::debug!(endpoint = %pick.endpoint.name, why = %error, "no connection");
    let failure = error.failure();
    let is_told = matches!(error, ConnectError::Joined { .. });
    let is_asked_for = failure.is_some_and(|failure| is_by_request(&pick.endpoint, failure));
    if let Some(failure) = failure
        && (in_vain || failure != ConnectFailure::TimedOut)
        && !is_told
    {
        if is_asked_for {
            pick.endpoint.count_failure(failure);
        } else {
            pick.endpoint.connect_failed(failure, Instant::now());
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
    })
}
