//! Whether a request is asked once more, and when.
//!
//! `policy::retry` says what may be repeated; here it meets what holds at this moment. No attempt
//! begins that the client would not wait for, none goes to endpoints that shed load, and each is
//! taken from the upstream's budget, which is asked last. What is given up for another attempt is
//! never a response of which the client has seen a byte.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use super::accept::keep;
use super::attempt::Failed;
use super::exchange::Exchange;
use super::respond::Cause;
use super::rest::{asks_later, judge_given_up};
use crate::http1::{Framing, ResponseHead};
use crate::message::{RequestParts, ResponseParts};
use crate::policy::grpc::Code;
use crate::policy::retry::{Asked, Failure, layers};
use crate::pool::Call;
use crate::snapshot::Choice;
use crate::upstream::{Elsewhere, Pick};

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, after so long.
    Again(Duration),
    /// None.
    Over(Why),
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The route's policy has none for it.
    Policy,
    /// More of the body has been sent than is kept.
    BodyGone,
    /// The client would not wait for it.
    NoTime,
    /// Whoever might be asked sheds load, or has no room.
    Shedding,
    /// The budget is spent.
    Budget,
}

/// Decides on another attempt, and counts it. The endpoints in `tried` have been asked.
pub(super) fn decide(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    failed: &Failed,
    tried: &[u64],
) -> Next {
    let retries = &exchange.route.metrics.retries;
    let next = next(exchange, choice, parts, failed, tried);
    match next {
        Next::Over(Why::Policy) if exchange.was_retried() => retries.failure.inc(),
        Next::Again(_) | Next::Over(Why::Policy) => {}
        Next::Over(Why::NoTime) => retries.no_time.inc(),
        Next::Over(Why::BodyGone) => retries.body_gone.inc(),
        Next::Over(Why::Shedding) => retries.shed.inc(),
        Next::Over(Why::Budget) => retries.budget_exhausted.inc(),
    }
    // Who has no choice leaves it to whoever may have one.
    let was_chosen = match next {
        Next::Again(_) | Next::Over(Why::Shedding | Why::Budget) => true,
        Next::Over(Why::Policy | Why::BodyGone | Why::NoTime) => false,
    };
    if was_chosen && choice.upstream.has_several() {
        exchange.is_final.set(true);
    }
    next
}

fn next(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    failed: &Failed,
    tried: &[u64],
) -> Next {
    let (policy, upstream) = (&exchange.route.retry, &choice.upstream);
    let (failure, attempt) = (failed.failure, exchange.record.attempts.get());
    // With one endpoint there is no better one here, and whoever is in front may know one.
    let is_left_to_front = exchange.peer_is_trusted && !upstream.has_several();
    let asked = Asked {
        method: &parts.method,
        attempt,
        is_whole: failed.is_repeatable,
        is_repeated: is_left_to_front || is_repeated(exchange, parts),
    };
    if !policy.would_retry(&asked, failure) {
        return Next::Over(Why::Policy);
    }
    if !policy.may_retry(&asked, failure) {
        return Next::Over(Why::BodyGone);
    }
    let now = Instant::now();
    // What is given up for its answer is still in flight.
    let own = u32::from(matches!(failure, Failure::Status(_) | Failure::Grpc(_)));
    let (tried, is_told_later) = exchange.and_asked_later(tried);
    let elsewhere = upstream.elsewhere(&tried, now, own);
    let at_once = attempt == 1 && failure.reached_nobody();
    let pause = match elsewhere {
        Elsewhere::Nowhere => return Next::Over(Why::Shedding),
        // It might go to one that said so.
        Elsewhere::Again if is_told_later => return Next::Over(Why::Shedding),
        // Who has loaded nobody yet may wait for a place as others do.
        Elsewhere::Full if !(failure.reached_nobody() && upstream.lets_requests_wait()) => {
            return Next::Over(Why::Shedding);
        }
        Elsewhere::Another | Elsewhere::Full if at_once => Duration::ZERO,
        Elsewhere::Another | Elsewhere::Full | Elsewhere::Again => {
            let local = &exchange.connection.local;
            local.with_random(|random| policy.backoff.pause(attempt, random))
        }
    };
    if exchange.overdue.get().is_some_and(|at| now + pause >= at) {
        return Next::Over(Why::NoTime);
    }
    if !upstream.retry_budget().withdraw(now) {
        return Next::Over(Why::Budget);
    }
    Next::Again(pause)
}

/// Whether a request came as the repetition of another, from a proxy that is believed.
pub(super) fn is_repeated(exchange: &Exchange<'_>, parts: &RequestParts) -> bool {
    exchange.peer_is_trusted && came_as(exchange, parts) > 1
}

/// The attempt that it came as. Once it was tried again here, its field has counted that.
fn came_as(exchange: &Exchange<'_>, parts: &RequestParts) -> u32 {
    let further = exchange.record.attempts.get().saturating_sub(1);
    let said = layers::attempt(&parts.headers);
    said.saturating_sub(further).max(1)
}

/// The number of the attempt that follows those made here.
pub(super) fn next_attempt(exchange: &Exchange<'_>, parts: &RequestParts) -> u32 {
    came_as(exchange, parts).saturating_add(exchange.record.attempts.get())
}

/// Waits before another attempt, which the request then says that it is. False if its client has
/// gone.
pub(super) async fn wait(
    exchange: &Exchange<'_>,
    parts: &mut RequestParts,
    pause: Duration,
) -> bool {
    let number = next_attempt(exchange, parts);
    layers::set_attempt(&mut parts.headers, number);
    exchange.attempt_overdue.set(None);
    if pause.is_zero() {
        exchange.now.set(Instant::now());
        return true;
    }
    exchange.wait_at_most(pause);
    let is_there = poll_fn(|cx| {
        if exchange.connection.client.poll_gone(cx).is_ready() {
            return Poll::Ready(false);
        }
        ready!(exchange.deadline().poll_passed(cx));
        Poll::Ready(true)
    })
    .await;
    exchange.wait_over();
    is_there
}

/// Gives up a response for another attempt, where the route's policy asks for that and the budget
/// allows it. Its connection is free where all of it had come; else it ends with the call.
pub(super) fn instead(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    (pick, call): (&Pick, &mut Call),
    head: &ResponseHead,
) -> Option<Failed> {
    let failure = named_failure(exchange, &head.parts, head.framing == Framing::None)?;
    if exchange.is_beside() {
        return None;
    }
    // What one of us has tried elsewhere, in vain, is not tried by each of us.
    if layers::is_final(&head.parts.headers) {
        if exchange.was_retried() {
            exchange.route.metrics.retries.failure.inc();
        }
        return None;
    }
    let mut failed = Failed {
        cause: Cause::DestinationUnavailable,
        failure,
        is_repeatable: call.has_whole_body(),
        granted: None,
    };
    let endpoint = call.endpoint().live.id();
    if asks_later(&head.parts) {
        exchange.asks_later(endpoint);
    }
    let Next::Again(pause) = decide(exchange, choice, parts, &failed, &[endpoint]) else {
        return None;
    };
    failed.granted = Some(pause);
    judge_given_up(exchange, pick, &head.parts, failure);
    if call.take_whole_body(head.framing).is_some() {
        let pool = &exchange.connection.local.pool;
        call.end(head.persistent, pool, keep(choice), exchange.now.get());
    }
    Some(failed)
}

/// How an endpoint failed that answers so, as the route sees it.
pub(super) fn named_failure(
    exchange: &Exchange<'_>,
    head: &ResponseParts,
    is_alone: bool,
) -> Option<Failure> {
    let policy = &exchange.route.retry;
    if policy.names(head.status) {
        return Some(Failure::Status(head.status));
    }
    // What follows a head may be messages, and those are passed on as they come.
    if exchange.record.call().is_none() || !is_alone {
        return None;
    }
    let code = Code::parse(head.headers.get(&GRPC_STATUS)?.as_bytes());
    policy.names_code(code).then_some(Failure::Grpc(code))
}

impl Why {
    /// In words, for who reads what was tried.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Policy => "",
            Self::BodyGone => "; more of its body was sent than is kept",
            Self::NoTime => "; no time is left",
            Self::Shedding => "; the others shed load or are full",
            Self::Budget => "; no retries are left",
        }
    }
}

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
