//! Asks an upstream, and another endpoint of it where that is allowed.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::accept::{Accepted, accept, offers};
use super::answer::Answer;
use super::attempt::{Attempt, Failed, failed_call, needs_http1};
use super::calling::call;
use super::connect::{Need, carrier, wants_http1};
use super::exchange::Exchange;
use super::respond::{Cause, Details, PROXY_STATUS, proxy_status};
use super::upgrade::{Counted, Tunnel};
use super::websocket::WEBSOCKET;
use crate::balance::client_key;
use crate::body::Body;
use crate::endpoint::Protocol;
use crate::http1::ResponseHead;
use crate::http2::ErrorCode;
use crate::message::RequestParts;
use crate::net::named;
use crate::policy::retry::Failure;
use crate::pool::{Call, CallError, Carrier, Connection, Event};
use crate::snapshot::Choice;
use crate::tls::Purpose;
use crate::upstream::{Pick, PickError};

/// Forwards a request, whose body is taken as far as it is needed. `None` if its client has gone.
///
/// No `async fn`, and neither are those that it waits for while a request is under way: their
/// futures would hold each argument twice, and thousands of requests may wait for their endpoints.
pub(super) fn forward<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    parts: &'a RequestParts,
    body: &'a mut Body,
) -> impl Future<Output = Option<Answer>> + 'a {
    exchange.limit(&choice.timeouts);
    let usual = exchange.terms.listener.timeouts.body_idle;
    if let Some(stream) = exchange.connection.client.http2()
        && exchange.body_idle() > usual
    {
        stream.may_rest(exchange.body_idle());
    }
    choice.upstream.retry_budget().deposit();
    async move {
        let mut tried = Vec::new();
        let mut last: Option<Cause> = None;
        loop {
            let pick = match pick(exchange, choice, &tried) {
                Ok(pick) => pick,
                Err(error) => return Some(unavailable(exchange, parts, last, error)),
            };
            let endpoint = pick.endpoint.live.id();
            let failed = match attempt(exchange, choice, pick, parts, body).await {
                Ok(answer) => return Some(answered(exchange, answer, &tried)),
                Err(Attempt::ClientGone) => return None,
                Err(Attempt::Failed(failed)) => failed,
            };
            tried.push(endpoint);
            if !take_retry(exchange, choice, parts, &failed) {
                return Some(failure(exchange, parts, &failed, &tried));
            }
            last = Some(failed.cause);
            exchange.now.set(Instant::now());
        }
    }
}

/// Picks an endpoint for the next attempt, which begins here.
fn pick(exchange: &Exchange<'_>, choice: &Choice, tried: &[u64]) -> Result<Pick, PickError> {
    let upstream = &choice.upstream;
    let now = exchange.now.get();
    let local = &exchange.connection.local;
    let key = named(exchange.connection.client.facts.peer).map(client_key);
    let pick = local.with_random(|random| upstream.pick_for(key, tried, random, now))?;
    exchange.record.attempt(upstream, &pick.endpoint);
    let limit = exchange.route.retry.per_try_timeout;
    exchange.attempt_overdue.set(limit.map(|limit| now + limit));
    Ok(pick)
}

/// An attempt has brought an answer. Where others came before, it says so.
fn answered(exchange: &Exchange<'_>, mut answer: Answer, tried: &[u64]) -> Answer {
    if !tried.is_empty() {
        exchange.route.metrics.retries.success.inc();
        let text = tried_text(tried);
        let next_hop = exchange.record.endpoint_name();
        let details = Details::for_peer(exchange.peer_is_trusted, next_hop.as_deref(), &text);
        let retried = proxy_status(None, details.as_ref());
        answer.parts.headers.append(&PROXY_STATUS, &retried);
    }
    answer
}

/// Takes another attempt from the budget, if one may follow the one that failed, and counts it.
fn take_retry(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    failed: &Failed,
) -> bool {
    let retry = &exchange.route.retry;
    let retries = &exchange.route.metrics.retries;
    let attempts = exchange.record.attempts.get();
    let replayable = failed.is_repeatable;
    if exchange.is_overdue()
        || !retry.may_retry(&parts.method, attempts, failed.failure, replayable)
    {
        if attempts > 1 {
            retries.failure.inc();
        }
        return false;
    }
    let has_budget = choice.upstream.retry_budget().withdraw();
    if !has_budget {
        retries.budget_exhausted.inc();
    }
    has_budget
}

/// One attempt at one endpoint. Where the body can be sent again, it is there again. A reused
/// connection that turns out closed is replaced here, and one that took no notice of the request:
/// that is no failure of the endpoint, and no attempt of the request.
fn attempt<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    pick: Pick,
    parts: &'a RequestParts,
    body: &'a mut Body,
) -> impl Future<Output = Result<Answer, Attempt>> + 'a {
    // A body may turn out to be longer than what is kept of it.
    let mut need = Need {
        repeatable: parts.method.is_idempotent() && body.is_end_stream(),
        may_reuse: parts.method != Method::CONNECT,
        purpose: Purpose::Http,
    };
    async move {
        need.purpose = purpose(exchange, &pick, parts)?;
        loop {
            let carrier = match carrier(exchange, choice, &pick, parts, need).await? {
                Carrier::Own(connection) if parts.method == Method::CONNECT => {
                    return Ok(connected(exchange, choice, pick, *connection));
                }
                carrier => carrier,
            };
            let Some((mut call, reused)) = call(exchange, choice, carrier, parts, body) else {
                continue;
            };
            let_converse(exchange, &call);
            let error = match response_head(exchange, choice, &mut call).await {
                Ok(head) => {
                    return Ok(match accept(exchange, choice, (&mut call, parts), head)? {
                        // Said here, so that a call that has ended is not moved once more.
                        Accepted::Whole(answer) => answer,
                        accepted => accepted.answer(exchange, choice, pick, call)?,
                    });
                }
                Err(None) => return Err(Attempt::ClientGone),
                Err(Some(error)) => error,
            };
            let unprocessed =
                matches!(error, CallError::Unprocessed).then(|| call.shared().cloned());
            let left = call.into_whole_body();
            let is_repeatable = left.is_some();
            *body = left.unwrap_or_default();
            let state = (reused, exchange.is_attempt_overdue());
            let may_go_on = is_repeatable && !state.1 && !exchange.is_overdue();
            let avoids = |shared| exchange.avoids(&shared, &choice.upstream, may_go_on);
            let goes_on = unprocessed.flatten().is_some_and(avoids)
                || goes_on(exchange, &pick, parts, (&error, reused), &mut need);
            if is_repeatable && goes_on {
                continue;
            }
            return Err(failed_call(&pick, state, &error, is_repeatable));
        }
    }
}

/// A call of gRPC may be silent for hours, where that holds one stream of its endpoint's. Where it
/// has a connection to itself, it is a request as any other, which somebody may only call a call.
fn let_converse(exchange: &Exchange<'_>, call: &Call) {
    if exchange.record.call().is_some()
        && let Some(stream) = exchange.connection.client.http2()
    {
        stream.converses(call.shared().is_some());
    }
}

/// What has to be spoken with the endpoint.
fn purpose(exchange: &Exchange<'_>, pick: &Pick, parts: &RequestParts) -> Result<Purpose, Attempt> {
    let endpoint = &pick.endpoint;
    let what = if parts.method == Method::CONNECT {
        "CONNECT"
    } else if let Some(protocol) = exchange.message.upgrade.as_deref() {
        // Any other may be ignored (RFC 9110 §7.8), and some clients offer one with each request.
        if endpoint.protocol == Protocol::Http2 && !offers(protocol, WEBSOCKET) {
            return Ok(Purpose::Http);
        }
        "a WebSocket"
    } else {
        return Ok(Purpose::Http);
    };
    match endpoint.protocol {
        Protocol::Http1 => Ok(Purpose::Http),
        Protocol::Either => Ok(Purpose::Http1),
        Protocol::Http2 => Err(needs_http1(endpoint, what)),
    }
}

/// Whether a call that failed is tried once more with the same endpoint: on another connection
/// where the one before had been kept for too long, in HTTP/1.1 where the endpoint wants that.
fn goes_on(
    exchange: &Exchange<'_>,
    pick: &Pick,
    parts: &RequestParts,
    (error, reused): (&CallError, bool),
    need: &mut Need,
) -> bool {
    // What an endpoint wants to hear in HTTP/1.1 (RFC 9113 §7) it has not acted on, so that any
    // method may be sent again; and it is no failure, so that it costs no attempt. Once in each.
    let is_choice = pick.endpoint.protocol == Protocol::Either;
    if matches!(error, CallError::Http1Required) && is_choice && need.purpose == Purpose::Http {
        need.purpose = Purpose::Http1;
        wants_http1(exchange, &pick.endpoint, parts);
        return true;
    }
    if !need.may_reuse || !error.is_stale(reused) {
        return false;
    }
    need.may_reuse = false;
    let (retry, attempts) = (&exchange.route.retry, exchange.record.attempts.get());
    let failure = Failure::Stale {
        unsent: error.is_unsent(),
    };
    retry.may_retry(&parts.method, attempts, failure, true)
}

/// Drives a call until its response begins, relaying interim responses. `Err(None)`: the client has
/// gone.
fn response_head<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    call: &'a mut Call,
) -> impl Future<Output = Result<ResponseHead, Option<CallError>>> + 'a {
    // The wait that begins then has looked at the clock. Without one it took no time to speak of.
    let mut sent = None;
    async move {
        loop {
            let mut armed = None;
            let event = poll_fn(|cx| {
                if let Poll::Ready(event) = call.poll_event(cx) {
                    return Poll::Ready(Some(event));
                }
                let client = &exchange.connection.client;
                if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(None);
                }
                let progress = (call.is_sent(), call.progress());
                if armed != Some(progress) {
                    armed = Some(progress);
                    exchange.wait_at_most(limit(choice, call));
                    sent = sent.or(call.is_sent().then(|| exchange.now.get()));
                }
                client
                    .deadline
                    .poll_passed(cx)
                    .map(|()| Some(Err(call.overdue())))
            })
            .await;
            exchange.wait_over();
            let interim = match event {
                None => return Err(None),
                Some(Err(_)) if exchange.connection.client.has_failed() => return Err(None),
                Some(Err(error)) => return Err(Some(error)),
                Some(Ok(Event::Response(head))) => {
                    let first_byte = sent.map(|sent| exchange.now.get() - sent);
                    let first_byte = first_byte.unwrap_or_default();
                    exchange.record.first_byte.set(Some(first_byte));
                    return Ok(head);
                }
                Some(Ok(Event::Interim(head))) => exchange.interim(head.parts),
            };
            // In a box: few responses have one, and the others do not carry the room for it.
            if !Box::pin(exchange.relay_interim(interim)).await {
                return Err(None);
            }
        }
    }
}

/// How long the next step of a call may take.
fn limit(choice: &Choice, call: &Call) -> Duration {
    if call.is_sent() {
        choice.timeouts.response_head
    } else {
        choice.timeouts.body_idle
    }
}

/// CONNECT succeeds with any 2xx, and has no body (RFC 9110 §9.3.6).
fn connected(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: Pick,
    connection: Connection,
) -> Answer {
    let local = &exchange.connection.local;
    let tunnel = Tunnel {
        upstream: connection.into_tunnel(),
        limits: local.with_random(|random| choice.timeouts.tunnel(random)),
        cut: ErrorCode::CONNECT_ERROR,
        pick,
        counted: Counted::of(exchange, choice),
    };
    Answer {
        tunnel: Some(Box::new(tunnel)),
        ..Answer::plain(Response::new(Body::empty()))
    }
}

/// The answer to a request all of whose attempts failed.
fn failure(
    exchange: &Exchange<'_>,
    parts: &RequestParts,
    failed: &Failed,
    tried: &[u64],
) -> Answer {
    let text = tried_text(tried);
    let next_hop = exchange.record.endpoint_name();
    let details = Details::for_peer(exchange.peer_is_trusted, next_hop.as_deref(), &text);
    exchange.own(&parts.headers, failed.cause, details)
}

/// The answer to a request that no endpoint can be picked for, or none any more.
fn unavailable(
    exchange: &Exchange<'_>,
    parts: &RequestParts,
    last: Option<Cause>,
    error: PickError,
) -> Answer {
    if last.is_some() {
        exchange.route.metrics.retries.failure.inc();
    }
    let cause = match (last, error) {
        (Some(cause), _) => cause,
        (None, PickError::NoEndpoints) => Cause::DestinationUnavailable,
        (None, PickError::AllAtLimit) => Cause::Overload,
    };
    exchange.own(&parts.headers, cause, None)
}

fn tried_text(tried: &[u64]) -> String {
    format!(
        "tried {} endpoint{}",
        tried.len(),
        if tried.len() == 1 { "" } else { "s" }
    )
}
