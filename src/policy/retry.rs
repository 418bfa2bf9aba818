//! Whether a failed attempt may be repeated: a pure decision.
//!
//! Problem: a retry hides a bad endpoint from the client, or it charges a card twice. What may be
//! repeated depends on what the endpoint can have seen of the request:
//!
//! | what failed | who may try again |
//! |---|---|
//! | [`Failure::NotSent`]: nothing of the request left | every method |
//! | [`Failure::Stale`]: a kept connection was closed while the request was on its way | idempotent methods, and every method if nothing of the request left; beyond the count of attempts |
//! | [`Failure::NoResponse`]: the endpoint closed before a byte of the response | idempotent methods |
//! | [`Failure::TryTimeout`]: no response within the limit of one attempt | idempotent methods |
//! | [`Failure::Responding`]: a byte of the response has come | nobody |
//!
//! A proxy must not repeat a request with a method that is not idempotent (RFC 9110 §9.2.2),
//! whatever the odds that the endpoint did nothing. And nothing can be repeated whose body is not
//! at hand any more: its first piece is kept, up to the size of a buffer, and given up when a
//! second one is taken. The budget of retries belongs to the upstream and is asked after this.

use std::time::Duration;

use http::Method;

use crate::config;

/// How a route's failed attempts are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: u32,
    /// Limit of one attempt until the response head.
    pub per_try_timeout: Option<Duration>,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection stood, or it took no byte of the request.
    NotSent,
    /// A connection kept from before was closed by the endpoint before a byte of the response. It
    /// says nothing about the endpoint: its idle time ran out just then (RFC 9112 §9.3.1). The
    /// caller repeats on a fresh connection, so it can happen once an attempt.
    Stale {
        /// The connection took no byte of the request.
        unsent: bool,
    },
    /// A fresh connection was closed or reset before a byte of the response.
    NoResponse,
    /// The limit of one attempt passed.
    TryTimeout,
    /// The response had begun.
    Responding,
}

impl RetryPolicy {
    /// The policy of a route as written.
    pub fn new(written: &config::Retry) -> Self {
        Self {
            attempts: written
                .attempts
                .map_or(DEFAULT_ATTEMPTS, |attempts| u32::from(attempts.max(1))),
            per_try_timeout: written.per_try_timeout.map(|time| time.0),
        }
    }

    /// Whether attempt number `attempt` (from 1), which failed so, may be followed by another.
    /// `body_replayable`: every byte of the body that has been taken from the client
    /// is still at hand.
    pub fn may_retry(
        &self,
        method: &Method,
        attempt: u32,
        failure: Failure,
        body_replayable: bool,
    ) -> bool {
        let attempts_left = attempt < self.attempts;
        body_replayable
            && match failure {
                Failure::NotSent => attempts_left,
                Failure::Stale { unsent } => unsent || method.is_idempotent(),
                Failure::NoResponse | Failure::TryTimeout => {
                    attempts_left && method.is_idempotent()
                }
                Failure::Responding => false,
            }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(&config::Retry::default())
    }
}

/// One retry: it hides one bad endpoint, and two of them in a row are an outage that more attempts
/// would only make heavier.
const DEFAULT_ATTEMPTS: u32 = 2;
