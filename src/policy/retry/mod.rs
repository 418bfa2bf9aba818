//! Whether a failed attempt may be repeated: a pure decision.
//!
//! Problem: a retry hides a bad endpoint from the client, or it charges a card twice. What may be
//! repeated depends on what the endpoint can have seen of the request:
//!
//! | what failed | who may try again |
//! |---|---|
//! | [`Failure::NotSent`]: nothing of the request left | every method |
//! | [`Failure::Unprocessed`]: the endpoint said that it took no notice | every method |
//! | [`Failure::Stale`]: a kept connection was closed while the request was on its way | the route's methods, and every method if nothing of the request left; beyond the count of attempts |
//! | [`Failure::NoResponse`]: the endpoint closed before a byte of the response | the route's methods, which are the idempotent ones |
//! | [`Failure::TryTimeout`]: no response within the limit of one attempt | the route's methods |
//! | [`Failure::Status`]: an answer with a status that the route names | the route's methods |
//! | [`Failure::Grpc`]: an answer that is its head alone, with a code that the route names | calls of gRPC |
//! | [`Failure::Responding`]: a byte of the response has come | nobody |
//!
//! A proxy must not repeat a request with a method that is not idempotent (RFC 9110 §9.2.2),
//! whatever the odds that the endpoint did nothing; a route may know better. And nothing can be
//! repeated whose body is not at hand any more: it is kept up to a limit. What a proxy in front
//! already repeats, or is left to, is repeated here only where it surely reached nobody: else each
//! layer would multiply the attempts of the one before ([`layers`]).
//!
//! When an attempt is made that may be is said by [`Backoff`]. The budget of retries belongs to the
//! upstream and is asked after this.

use std::time::Duration;

use http::{Method, StatusCode};

mod backoff;
pub mod layers;

pub use self::backoff::Backoff;
use super::grpc::Code;
use crate::config::{self, RetryCause, StatusPattern};

/// How a route's failed attempts are repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: u32,
    /// Limit of one attempt until the response head.
    pub per_try_timeout: Option<Duration>,
    /// The pauses before attempts.
    pub backoff: Backoff,
    /// Bytes of a body that are kept, at most.
    pub kept_body: u32,
    /// Whether there are answers that it repeats: most routes need not look.
    pub looks_at_answers: bool,
    causes: u8,
    statuses: Statuses,
    /// A bit for each code.
    grpc: u32,
    /// Which may have been acted on; `None` for the idempotent ones.
    methods: Option<Box<[Method]>>,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection stood, or it took no byte of the request.
    NotSent,
    /// The endpoint has surely done nothing with the request, as it said itself.
    Unprocessed,
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
    /// The head of a response came, with this status, and nothing of it has been passed on.
    Status(StatusCode),
    /// A response came that is its head alone, and a failed call of gRPC.
    Grpc(Code),
    /// The response had begun, or the client is to blame.
    Responding,
}

/// A request of which an attempt failed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Whether all that has been taken of its body is still at hand.
    pub is_whole: bool,
    /// Whether a proxy in front that is believed repeats it: it came as the repetition of another,
    /// or is left to be one.
    pub is_repeated: bool,
}

/// Statuses from 400 to 599, a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Statuses([u64; 4]);

impl RetryPolicy {
    /// The policy of a route as written.
    pub fn new(written: &config::Retry) -> Self {
        let all = &[
            RetryCause::Connect,
            RetryCause::Unprocessed,
            RetryCause::Reset,
            RetryCause::Timeout,
        ];
        let causes = written.on.as_deref().unwrap_or(all).iter();
        let methods = written.methods.as_deref().map(parse_methods);
        let codes = written.grpc_codes.iter();
        let statuses = Statuses::new(&written.statuses);
        let grpc = codes.fold(0, |bits, code| bits | 1 << *code as u32);
        Self {
            attempts: written
                .attempts
                .map_or(DEFAULT_ATTEMPTS, |attempts| u32::from(attempts.max(1))),
            per_try_timeout: written.per_try_timeout.map(|time| time.0),
            backoff: Backoff {
                first: written.backoff.map_or(BACKOFF, |time| time.0),
                most: written
                    .backoff_at_most
                    .map_or(BACKOFF_AT_MOST, |time| time.0),
            },
            kept_body: written
                .body
                .map_or(KEPT_BODY, |size| u32::try_from(size.0).unwrap_or(KEPT_BODY)),
            causes: causes.fold(0, |bits, cause| bits | bit(*cause)),
            looks_at_answers: statuses != Statuses::default() || grpc != 0,
            statuses,
            grpc,
            methods,
        }
    }

    /// Whether attempt number `asked.attempt`, which failed so, may be followed by another.
    pub fn may_retry(&self, asked: &Asked<'_>, failure: Failure) -> bool {
        asked.is_whole && self.would_retry(asked, failure)
    }

    /// The same, if the body were at hand.
    pub fn would_retry(&self, asked: &Asked<'_>, failure: Failure) -> bool {
        let has_left = asked.attempt < self.attempts;
        let on = |cause| has_left && self.causes & bit(cause) != 0;
        let may_have_run = || !asked.is_repeated && self.may_run_twice(asked.method);
        match failure {
            Failure::NotSent => on(RetryCause::Connect),
            Failure::Unprocessed => on(RetryCause::Unprocessed),
            Failure::Stale { unsent } => unsent || may_have_run(),
            Failure::NoResponse => on(RetryCause::Reset) && may_have_run(),
            Failure::TryTimeout => on(RetryCause::Timeout) && may_have_run(),
            Failure::Status(status) => has_left && self.statuses.contains(status) && may_have_run(),
            Failure::Grpc(code) => {
                has_left && self.grpc & (1 << code as u32) != 0 && !asked.is_repeated
            }
            Failure::Responding => false,
        }
    }

    /// Whether an answer with this status is one that has failed.
    pub fn names(&self, status: StatusCode) -> bool {
        self.statuses.contains(status)
    }

    /// Whether a failed call with this code is one that has failed.
    pub fn names_code(&self, code: Code) -> bool {
        self.grpc & (1 << code as u32) != 0
    }

    /// Whether requests with this method may run twice.
    pub fn may_run_twice(&self, method: &Method) -> bool {
        match &self.methods {
            None => method.is_idempotent(),
            Some(methods) => methods.contains(method),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(&config::Retry::default())
    }
}

impl Failure {
    /// Whether the endpoint has surely not acted on the request.
    pub fn reached_nobody(self) -> bool {
        match self {
            Self::NotSent | Self::Unprocessed => true,
            Self::Stale { unsent } => unsent,
            Self::NoResponse
            | Self::TryTimeout
            | Self::Status(_)
            | Self::Grpc(_)
            | Self::Responding => false,
        }
    }
}

impl Statuses {
    /// Those of these patterns, which the check of the configuration has read before.
    fn new(patterns: &[StatusPattern]) -> Self {
        let mut statuses = Self::default();
        for pattern in patterns {
            let (from, to) = match pattern {
                StatusPattern::Code(code) => (*code, *code),
                StatusPattern::Range(text) => range(text).unwrap_or((1, 0)),
            };
            for status in from.max(FIRST)..=to.min(LAST) {
                let place = usize::from(status - FIRST);
                statuses.0[place / 64] |= 1 << (place % 64);
            }
        }
        statuses
    }

    fn contains(self, status: StatusCode) -> bool {
        let place = status.as_u16().checked_sub(FIRST).map(usize::from);
        place.is_some_and(|place| {
            let part = self.0.get(place / 64).copied();
            part.unwrap_or_default() >> (place % 64) & 1 == 1
        })
    }
}

/// The methods that are written, which are tokens by now.
pub(super) fn parse_methods(written: &[String]) -> Box<[Method]> {
    let parsed = written
        .iter()
        .map(|name| Method::from_bytes(name.as_bytes()));
    parsed.filter_map(Result::ok).collect()
}

/// `5xx` or `502-504`.
fn range(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let first = class.parse::<u16>().ok()?.checked_mul(100)?;
        return Some((first, first.checked_add(99)?));
    }
    let (from, to) = text.split_once('-')?;
    Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
}

fn bit(cause: RetryCause) -> u8 {
    1 << cause as u8
}

/// One retry: it hides one bad endpoint, and two of them in a row are an outage that more attempts
/// would only make heavier.
const DEFAULT_ATTEMPTS: u32 = 2;

/// Some round trips within a data centre, and what a small service takes to answer: shorter would
/// not spread what failed together, longer would be felt.
const BACKOFF: Duration = Duration::from_millis(25);

/// A person waits, and so does a connection here.
const BACKOFF_AT_MOST: Duration = Duration::from_secs(1);

/// Nearly all that is worth repeating is that short: forms, calls of APIs. What is longer passes
/// by the kernel's means, and never through our memory.
const KEPT_BODY: u32 = 16 * 1024;

const FIRST: u16 = 400;
const LAST: u16 = 599;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
