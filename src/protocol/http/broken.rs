//! A response that cannot go on although its head has left: what its client is told instead.
//!
//! HTTP has nothing but a stream that is reset. A call of gRPC has its trailers, and a client that
//! reads a status there knows more than one that guesses from a code of HTTP/2: so where nothing of
//! a message is left half-said, that is how it ends.

use tokio::time::Instant;

use super::client::{Outgoing, SendError, Sender};
use super::exchange::Exchange;
use super::grpc::GrpcCall;
use super::respond::{Cause, grpc_trailers};
use crate::body::BodyError;
use crate::http2::{ErrorCode, Stream};
use crate::policy::grpc::Code;

impl Sender for Exchange<'_> {
    fn moved(&self) {
        self.wait_at_most(self.body_idle());
    }

    fn break_off(&self, outgoing: &mut Outgoing, error: Option<&SendError>) -> bool {
        let cause = match error {
            None => self.stopped(self.awaited_in_vain(outgoing)),
            Some(error) => self.late(cause(error)),
        };
        let (Some(stream), Outgoing::Http2(sending)) = (self.connection.client.http2(), outgoing)
        else {
            return false;
        };
        if matches!(error, Some(SendError::Gone)) {
            return false;
        }
        let Some(call) = self.record.call() else {
            match error {
                None => stream.cut(),
                Some(_) => stream.reset(passed_on(error)),
            }
            return false;
        };
        let code = status(error);
        if call.is_between_messages() && sending.end_with(stream, &grpc_trailers(cause, code)) {
            call.tell(code);
            return true;
        }
        self.cut_call(call, stream, error);
        false
    }
}

impl Exchange<'_> {
    /// Who was waited for last, when a limit has passed. An endpoint is told that no more of its
    /// response came, if it had a fair time for that; and not where it may be the rest of the
    /// request that it waits for.
    fn awaited_in_vain(&self, outgoing: &mut Outgoing) -> Cause {
        if !outgoing.awaits_body() {
            return Cause::ResponseNotTaken;
        }
        let had = self.now.get().elapsed();
        if !self.connection.client.has_whole_request() {
            if outgoing.awaits_request() {
                return Cause::RequestBodyTimeout;
            }
        } else if self.was_fair(had, self.body_idle()) {
            outgoing.fell_silent();
        }
        Cause::ConnectionReadTimeout
    }

    /// Resets the stream of a call that is in the middle of a message.
    fn cut_call(&self, call: &GrpcCall, stream: &Stream, error: Option<&SendError>) {
        let reset = match error {
            None | Some(SendError::Body(BodyError::Idle | BodyError::Deadline)) => {
                ErrorCode::CANCEL
            }
            Some(_) => passed_on(error),
        };
        // Its client keeps the time as well.
        let ends = call.timeout().map(|limit| self.record.started() + limit);
        call.tell(match ends {
            Some(at) if at <= Instant::now() => Code::DeadlineExceeded,
            _ => Code::of_http2(reset),
        });
        stream.reset(reset);
    }
}

/// Why a response broke off: the same word for its client, the log and the metrics.
pub(super) fn cause(error: &SendError) -> Cause {
    match error {
        SendError::Body(BodyError::Idle | BodyError::Deadline) => Cause::ConnectionReadTimeout,
        SendError::Body(BodyError::Malformed) | SendError::Length => Cause::ProtocolError,
        SendError::Body(BodyError::Truncated | BodyError::Reset(_)) | SendError::Gone => {
            Cause::ResponseIncomplete
        }
    }
}

/// What a call of gRPC ends with.
fn status(error: Option<&SendError>) -> Code {
    match error {
        None | Some(SendError::Body(BodyError::Idle | BodyError::Deadline)) => {
            Code::DeadlineExceeded
        }
        Some(SendError::Body(BodyError::Reset(code))) => Code::of_http2(ErrorCode(*code)),
        Some(SendError::Body(BodyError::Truncated) | SendError::Gone) => Code::Unavailable,
        Some(SendError::Body(BodyError::Malformed) | SendError::Length) => Code::Internal,
    }
}

/// What a client is told where an endpoint has reset the stream behind its own: what was said of
/// the request. What was said of the connection to the endpoint is none of the client's.
fn passed_on(error: Option<&SendError>) -> ErrorCode {
    let Some(SendError::Body(BodyError::Reset(code))) = error else {
        return ErrorCode::INTERNAL_ERROR;
    };
    match ErrorCode(*code) {
        code @ (ErrorCode::CANCEL | ErrorCode::ENHANCE_YOUR_CALM | ErrorCode::CONNECT_ERROR) => {
            code
        }
        _ => ErrorCode::INTERNAL_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_as_a_status() {
        let of = |error| status(Some(&SendError::Body(error)));
        assert_eq!(status(None), Code::DeadlineExceeded);
        assert_eq!(of(BodyError::Deadline), Code::DeadlineExceeded);
        assert_eq!(of(BodyError::Truncated), Code::Unavailable);
        assert_eq!(of(BodyError::Malformed), Code::Internal);
        assert_eq!(of(BodyError::Reset(0x7)), Code::Unavailable);
        assert_eq!(of(BodyError::Reset(0x8)), Code::Cancelled);
        assert_eq!(of(BodyError::Reset(0xb)), Code::ResourceExhausted);
        assert_eq!(of(BodyError::Reset(0x2)), Code::Internal);
    }
}
