//! Asks an upstream, and another endpoint of it where that is allowed.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::accept::{Accepted, accept, account, offers};
use super::again::{instead, is_repeated, wait};
use super::answer::Answer;
use super::attempt::{Attempt, Carried, abandoned_call, failed_call, needs_http1};
use super::awaited::{NoHead, response_head};
use super::calling::call;
use super::connect::{Need, carrier, wants_http1};
use super::exchange::Exchange;
use super::hedge::{hedged, may_be_hedged};
use super::queueing::{Vain, wait as wait_for_room};
use super::respond::Cause;
use super::told::{followed, unavailable};
use super::upgrade::{Counted, Tunnel};
use super::websocket::WEBSOCKET;
use crate::body::Body;
use crate::endpoint::Protocol;
use crate::http2::ErrorCode;
use crate::message::RequestParts;
use crate::policy::retry::{Asked, Failure};
use crate::pool::{Call, CallError, Carrier, Connection};
use crate::snapshot::Choice;
use crate::tls::Purpose;
use crate::upstream::{Haste, Pick, PickError, Upstream};

/// Forwards a request, whose body is taken as far as it is needed. `None` if its client has gone.
///
/// No `async fn`, and neither are those that it waits for while a request is under way: their
/// futures would hold each argument twice, and thousands of requests may wait for their endpoints.
pub(super) fn forward<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    parts: &'a mut RequestParts,
    body: &'a mut Body,
) -> impl Future<Output = Option<Answer>> + 'a {
    exchange.limit(&choice.timeouts);
    let usual = exchange.terms.listener.timeouts.body_idle;
    if let Some(stream) = exchange.connection.client.http2()
        && exchange.body_idle() > usual
    {
        stream.may_rest(exchange.body_idle());
    }
    let hedge = exchange.route.hedge.as_deref();
    let is_hedged = hedge.is_some_and(|hedge| may_be_hedged(exchange, hedge, parts, body));
    async move {
        let mut tried = Vec::new();
        let mut last: Option<Cause> = None;
        loop {
            let pick = match pick(exchange, choice, parts, &tried) {
                // In a box: few requests wait, and the others do not carry the room for it.
                Err(PickError::AllAtLimit) => {
                    Box::pin(wait_for_room(exchange, choice, parts, &tried)).await
                }
                picked => picked.map_err(Vain::from),
            };
            let pick = match pick {
                Ok(pick) => pick,
                Err(Vain::ClientGone) => return None,
                Err(Vain::Because(cause)) => {
                    return Some(unavailable(exchange, parts, (last, &tried), cause));
                }
            };
            // Who is turned away pays for nobody's retries, nor does what is one already, of a
            // proxy in front.
            if exchange.record.attempts.get() == 1 && !is_repeated(exchange, parts) {
                let budget = choice.upstream.retry_budget();
                budget.deposit(exchange.now.get());
            }
            let endpoint = pick.endpoint().live.id();
            exchange.tell_time_left(parts);
            let attempted = if is_hedged && tried.is_empty() {
                Box::pin(hedged(exchange, choice, pick, parts, &mut tried)).await
            } else {
                attempt(exchange, choice, pick, parts, body).await
            };
            let asked = (&*parts, &mut tried, last.is_some());
            let pause = match followed(exchange, choice, attempted, endpoint, asked) {
                Ok((cause, pause)) => {
                    last = Some(cause);
                    pause
                }
                Err(over) => return over,
            };
            if !Box::pin(wait(exchange, parts, pause)).await {
                return None;
            }
        }
    }
}

/// Picks an endpoint for the next attempt, which begins here; unless others wait for one.
pub(super) fn pick(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    tried: &[u64],
) -> Result<Pick, PickError> {
    let upstream = &choice.upstream;
    if upstream.lets_requests_wait() && upstream.has_waiting() {
        return Err(PickError::AllAtLimit);
    }
    // Where it may not wait, its client does, who is told when to come again.
    let when = (exchange.now.get(), Haste::MayWait);
    let pick = look(exchange, (choice, upstream), parts, tried, when)?;
    begin(exchange, upstream, &pick);
    Ok(pick)
}

/// Picks an endpoint, of the upstream as it is now.
pub(super) fn look(
    exchange: &Exchange<'_>,
    (choice, upstream): (&Choice, &Upstream),
    parts: &RequestParts,
    tried: &[u64],
    when: (Instant, Haste),
) -> Result<Pick, PickError> {
    let local = &exchange.connection.local;
    let ties = exchange.ties(choice, parts);
    if tried.is_empty() {
        return local.with_random(|random| upstream.pick_in(ties, tried, when, random));
    }
    let tried = (tried, &*local.lately.list());
    local.with_random(|random| upstream.pick_again(ties, tried, when, random))
}

/// An attempt begins.
pub(super) fn begin(exchange: &Exchange<'_>, upstream: &Arc<Upstream>, pick: &Pick) {
    exchange.record.attempt(upstream, pick.endpoint());
    let (limit, now) = (exchange.route.retry.per_try_timeout, exchange.now.get());
    exchange.attempt_overdue.set(limit.map(|limit| now + limit));
}

/// One attempt at one endpoint. Where the body can be sent again, it is there again. A reused
/// connection that turns out closed is replaced here, and one that took no notice of the request:
/// that is no failure of the endpoint, and no attempt of the request.
pub(super) fn attempt<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    pick: Pick,
    parts: &'a RequestParts,
    body: &'a mut Body,
) -> impl Future<Output = Result<Answer, Attempt>> + 'a {
    let has_body = !body.is_end_stream();
    // A body may turn out to be longer than what is kept of it.
    let mut need = Need {
        repeatable: exchange.route.retry.may_run_twice(&parts.method)
            && !has_body
            && !is_repeated(exchange, parts),
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
            let began = exchange.now.get();
            let NoHead { error, waited } = match response_head(exchange, choice, &mut call).await {
                Ok(head) => {
                    account(exchange, choice, call.endpoint(), &head.parts);
                    if exchange.route.retry.looks_at_answers
                        && let Some(failed) =
                            instead(exchange, choice, parts, (&pick, &mut call), &head)
                    {
                        *body = call.into_whole_body().unwrap_or_default();
                        return Err(Attempt::Failed(failed));
                    }
                    call.keep_nothing();
                    return Ok(
                        match accept(exchange, choice, (&pick, &mut call, parts), head)? {
                            // Said here, so that a call that has ended is not moved once more.
                            Accepted::Whole(answer) => answer,
                            accepted => accepted.answer(exchange, choice, pick, call)?,
                        },
                    );
                }
                Err(no_head) => no_head,
            };
            let Some(error) = error else {
                abandoned_call(&pick, waited);
                return Err(Attempt::ClientGone);
            };
            let unprocessed =
                matches!(error, CallError::Unprocessed).then(|| call.shared().cloned());
            let left = call.into_whole_body();
            let is_repeatable = left.is_some();
            *body = left.unwrap_or_default();
            // What ends after it has worked for a while was no connection that was kept too long.
            // It may have worked since the first piece of a body; and not while the request was
            // waiting for a place, or was elsewhere.
            let worked = if has_body {
                exchange.now.get() - began
            } else {
                waited.time
            };
            let is_stale = error.is_stale(reused) && worked < STALE;
            let state = (Carried::by(reused, is_stale), exchange.is_attempt_overdue());
            let may_go_on = is_repeatable && !state.1 && !exchange.is_overdue();
            let avoids = |shared| exchange.avoids(&shared, (&choice.upstream, &pick), may_go_on);
            let goes_on = unprocessed.flatten().is_some_and(avoids)
                || goes_on(exchange, &pick, parts, (&error, is_stale), &mut need);
            if is_repeatable && goes_on {
                continue;
            }
            return Err(failed_call(&pick, state, (&error, waited), is_repeatable));
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
    let endpoint = pick.endpoint();
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
    (error, is_stale): (&CallError, bool),
    need: &mut Need,
) -> bool {
    // What an endpoint wants to hear in HTTP/1.1 (RFC 9113 §7) it has not acted on, so that any
    // method may be sent again; and it is no failure, so that it costs no attempt. Once in each.
    let is_choice = pick.endpoint().protocol == Protocol::Either;
    if matches!(error, CallError::Http1Required) && is_choice && need.purpose == Purpose::Http {
        need.purpose = Purpose::Http1;
        wants_http1(exchange, pick.endpoint(), parts);
        return true;
    }
    if !need.may_reuse || !is_stale {
        return false;
    }
    need.may_reuse = false;
    let failure = Failure::Stale {
        unsent: error.is_unsent(),
    };
    let asked = Asked {
        method: &parts.method,
        attempt: exchange.record.attempts.get(),
        is_whole: true,
        is_repeated: is_repeated(exchange, parts),
    };
    exchange.route.retry.may_retry(&asked, failure)
}

/// CONNECT succeeds with any 2xx, and has no body (RFC 9110 §9.3.6).
fn connected(
    exchange: &Exchange<'_>,
    choice: &Choice,
    mut pick: Pick,
    connection: Connection,
) -> Answer {
    pick.answered();
    let local = &exchange.connection.local;
    let tunnel = Tunnel {
        upstream: connection.into_tunnel(),
        limits: local.with_random(|random| choice.timeouts.tunnel(random)),
        cut: ErrorCode::CONNECT_ERROR,
        pick,
        counted: Counted::of(exchange, choice),
        line: None,
    };
    Answer {
        tunnel: Some(Box::new(tunnel)),
        ..Answer::plain(Response::new(Body::empty()))
    }
}

/// How soon after a request a kept connection ends that had been idle for too long: the close was
/// on its way already, so that a packet which is lost and sent again is all that can delay it.
const STALE: Duration = Duration::from_secs(1);
