//! How much time a request has, and which limit it was that passed.

use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Exchange;
use super::grpc::{self, GrpcCall};
use super::respond::Cause;
use crate::endpoint::FAIR;
use crate::message::RequestParts;
use crate::policy::deadline::Given;
use crate::telemetry::access::End;

impl Exchange<'_> {
    /// How long its client has given the request.
    pub(super) fn time_given(&self) -> Option<Duration> {
        let call = self.record.call().and_then(GrpcCall::timeout);
        let field = self.given.get().map(Given::time);
        call.into_iter().chain(field).min()
    }

    /// Tells the endpoint of the attempt that begins how much time is left. The limit of the
    /// attempt is none that can be told where it stands still for the client's body, nor in gRPC,
    /// whose word is for the whole call.
    pub(super) fn tell_time_left(&self, parts: &mut RequestParts) {
        let left = |end: Option<Instant>| Some(end?.saturating_duration_since(self.now.get()));
        let of_request = left(self.overdue.get());
        if let Some(field) = &self.route.deadline {
            let of_attempt = left(self.attempt_overdue.get());
            let of_attempt = of_attempt.filter(|_| !self.message.framing.has_body());
            if let Some(left) = of_request.into_iter().chain(of_attempt).min() {
                field.write(&mut parts.headers, self.given.get(), left);
            }
        }
        if self.record.call().is_some()
            && let Some(left) = of_request
        {
            grpc::tell_time_left(&mut parts.headers, left);
        }
    }

    /// Which limit it was that passed, where an attempt failed or a message stopped for being late:
    /// the nearest one is what was waited for, and those of the attempt and of the whole request
    /// end that wait as well.
    pub(super) fn late(&self, cause: Cause) -> Cause {
        if cause.end() != End::Timeout && cause != Cause::ConnectionLimitReached {
            cause
        } else if self.is_overdue() {
            if self.client_set_limit() {
                Cause::DeadlineExceeded
            } else {
                Cause::RequestTimeout
            }
        } else if self.is_attempt_overdue() {
            Cause::TryTimeout
        } else {
            cause
        }
    }

    /// Whether it is its client that has set the limit of the whole request.
    fn client_set_limit(&self) -> bool {
        let given = self.time_given().map(|given| self.record.started() + given);
        given == self.overdue.get()
    }

    /// Whether an endpoint that was waited for in vain, and `had` so long, had a fair time: then it
    /// says something about it. `limit` is what the wait itself may take.
    ///
    /// Where a limit that the operator set is shorter than [`FAIR`], most of it is. Not all, since
    /// that of a request and of an attempt run from before the endpoint had it.
    pub(super) fn was_fair(&self, had: Duration, limit: Duration) -> bool {
        let limit = if self.is_overdue() {
            let of_route = || self.overdue.get().map(|at| at - self.record.started());
            of_route().filter(|_| !self.client_set_limit())
        } else if self.is_attempt_overdue() {
            self.route.retry.per_try_timeout
        } else {
            Some(limit)
        };
        had >= limit.map_or(FAIR, |limit| FAIR.min(limit / 4 * 3))
    }
}
