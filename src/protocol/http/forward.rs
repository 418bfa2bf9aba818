//! Asks an upstream, and another endpoint of it where that is allowed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use tokio::time::Instant;

use super::exchange::{Answer, Exchange};
use super::respond::{Cause, Details};
use super::upgrade::Tunnel;
use crate::body::{Body, BodyError};
use crate::http1::{
    Buffer, Framing, Limits, RequestOptions, ResponseHead, encode_interim, encode_request,
};
use crate::policy::{self, Failure};
use crate::pool::{
    Call, CallError, ConnectError, Connection, Event, Keep, ResponseBody, Return,
};
use crate::snapshot::Choice;
use crate::telemetry::access::End;
use crate::upstream::{Pick, PickError};

/// An attempt that brought no response.
#[derive(Debug)]
struct Failed {
    cause: Cause,
    end: End,
    failure: Failure,
    /// What is left of the request's body, if none of it was used up.
    body: Option<Body>,
}

/// How an attempt ended otherwise than with a response.
#[derive(Debug)]
enum Attempt {
    Failed(Failed),
    /// The client has gone: nobody waits for another attempt.
    ClientGone,
}

/// Forwards a request. `None` if its client has gone.
pub(super) async fn forward(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: Parts,
    mut body: Body,
) -> Option<Answer> {
    let upstream = &choice.upstream;
    let budget = upstream.retry_budget();
    budget.deposit();
    let retry = &exchange.route.retry;
    let mut tried = Vec::new();
    let mut last: Option<Cause> = None;
    loop {
        let now = Instant::now();
        let local = &exchange.connection.local;
        let pick = match local.with_random(|random| upstream.pick(&tried, random, now)) {
            Ok(pick) => pick,
            Err(error) => return Some(unavailable(exchange, last, &error)),
        };
        let endpoint = Arc::clone(&pick.endpoint);
        exchange.record.attempt(upstream, &endpoint);
        let failed = match attempt(exchange, choice, pick, &parts, body).await {
            Ok(answer) => {
                count_retry(exchange, tried.is_empty(), true);
                return Some(answer);
            }
            Err(Attempt::ClientGone) => return None,
            Err(Attempt::Failed(failed)) => failed,
        };
        tried.push(endpoint.live.id());
        let attempts = exchange.record.attempts.get();
        let replayable = failed.body.is_some();
        if !retry.may_retry(&parts.method, attempts, failed.failure, replayable) {
            count_retry(exchange, tried.len() == 1, false);
            return Some(failure(exchange, &failed, &tried));
        }
        if !budget.withdraw() {
            exchange.route.metrics.retries.budget_exhausted.inc();
            return Some(failure(exchange, &failed, &tried));
        }
        last = Some(failed.cause);
        body = failed.body.unwrap_or_default();
    }
}

/// One attempt at one endpoint. A reused connection that turns out closed is replaced here: that is
/// no failure of the endpoint, and no attempt of the request.
async fn attempt(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: Pick,
    parts: &Parts,
    mut body: Body,
) -> Result<Answer, Attempt> {
    let repeatable = policy::is_idempotent(&parts.method);
    let mut may_reuse = parts.method != Method::CONNECT;
    loop {
        let connection = match connection(exchange, choice, &pick, repeatable, may_reuse).await {
            Ok(connection) => connection,
            Err(Attempt::Failed(failed)) => {
                return Err(Attempt::Failed(Failed { body: Some(body), ..failed }));
            }
            Err(gone) => return Err(gone),
        };
        if parts.method == Method::CONNECT {
            return Ok(connected(choice, pick, connection));
        }
        let reused = connection.is_reused();
        let mut call = call(exchange, connection, parts, body);
        let error = match response_head(exchange, choice, &mut call).await {
            Ok(head) => return accept(exchange, choice, pick, call, head),
            Err(None) => return Err(Attempt::ClientGone),
            Err(Some(error)) => error,
        };
        let left = call.into_untouched_body();
        match left {
            Some(left) if reused && repeatable && error.is_before_response() => {
                may_reuse = false;
                body = left;
            }
            left => return Err(failed_call(exchange, &pick, reused, &error, left)),
        }
    }
}

/// A connection from the pool, or a new one.
async fn connection(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: &Pick,
    repeatable: bool,
    may_reuse: bool,
) -> Result<Connection, Attempt> {
    let endpoint = &pick.endpoint;
    let pool = &exchange.connection.local.pool;
    let began = Instant::now();
    if may_reuse && let Some(connection) = pool.checkout(endpoint, began, !repeatable) {
        return Ok(connection);
    }
    let client = &exchange.connection.client;
    client.deadline.set_at(exchange.until(choice, began + choice.timeouts.connect));
    let mut opening = std::pin::pin!(Connection::open(endpoint));
    let opened = poll_fn(|cx| {
        if let Poll::Ready(result) = opening.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        client.deadline.poll_passed(cx).map(|()| Some(Err(ConnectError::TimedOut)))
    })
    .await;
    match opened {
        None => Err(Attempt::ClientGone),
        Some(Ok(connection)) => {
            let took = began.elapsed();
            endpoint.connected(took);
            exchange.record.connect.set(Some(took));
            Ok(connection)
        }
        Some(Err(error)) => Err(Attempt::Failed(failed_connect(pick, &error))),
    }
}

fn call(exchange: &Exchange<'_>, connection: Connection, parts: &Parts, body: Body) -> Call {
    let message = &exchange.message;
    let framing = match message.framing {
        // What has no body needs no framing, unless its method suggests one (RFC 9110 §8.6).
        Framing::None | Framing::UntilClose => Framing::None,
        framing => framing,
    };
    let mut head = Buffer::take();
    let options = RequestOptions {
        upgrade: message.upgrade.as_ref().filter(|_| framing == Framing::None),
        te_trailers: message.te_trailers,
    };
    encode_request(&mut head, parts, framing, options);
    Call::new(connection, head, (body, framing), parts.method.clone(), RESPONSE_LIMITS)
}

/// Drives a call until its response begins, relaying interim responses. `Err(None)`: the client has
/// gone.
async fn response_head(
    exchange: &Exchange<'_>,
    choice: &Choice,
    call: &mut Call,
) -> Result<ResponseHead, Option<CallError>> {
    let client = &exchange.connection.client;
    loop {
        let mut armed = None;
        let event = poll_fn(|cx| {
            if let Poll::Ready(event) = call.poll_event(cx) {
                return Poll::Ready(Some(event));
            }
            if client.poll_gone(cx).is_ready() {
                return Poll::Ready(None);
            }
            let progress = (call.is_sent(), call.progress());
            if armed != Some(progress) {
                armed = Some(progress);
                let timeouts = &choice.timeouts;
                let limit = if call.is_sent() { timeouts.response_head } else { timeouts.body_idle };
                client.deadline.set_at(exchange.until(choice, Instant::now() + limit));
            }
            client.deadline.poll_passed(cx).map(|()| Some(Err(CallError::TimedOut)))
        })
        .await;
        match event {
            None => return Err(None),
            Some(Err(_)) if client.has_failed() => return Err(None),
            Some(Err(error)) => return Err(Some(error)),
            Some(Ok(Event::Response(head))) => {
                exchange.record.first_byte.set(Some(exchange.record.started().elapsed()));
                return Ok(head);
            }
            Some(Ok(Event::Interim(head))) => {
                // RFC 9110 §15.2: never to a client of HTTP/1.0.
                if exchange.message.version == Version::HTTP_10 {
                    continue;
                }
                let mut encoded = Buffer::take();
                encode_interim(&mut encoded, &head.parts);
                if client.send_head(encoded, choice.timeouts.body_idle).await.is_err() {
                    return Err(None);
                }
            }
        }
    }
}

/// Takes a response's head: what follows is a body, or a tunnel.
fn accept(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: Pick,
    call: Call,
    head: ResponseHead,
) -> Result<Answer, Attempt> {
    let endpoint = Arc::clone(&pick.endpoint);
    let mut parts = head.parts;
    endpoint.responded(parts.status);
    let metrics = &exchange.route.metrics;
    let first_byte = exchange.record.first_byte.get().unwrap_or_default();
    metrics.observe_first_byte(&choice.upstream.name, &endpoint.zone, first_byte);
    if policy::via_response(&mut parts).is_err() {
        return Err(protocol_error(Cause::HttpProtocolError));
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = exchange.message.upgrade.as_ref();
        let (Some(asked), Some(chosen)) = (asked, head.upgrade) else {
            return Err(protocol_error(Cause::HttpUpgradeFailed));
        };
        if !call.is_sent() || !policy::offers(asked, &chosen) {
            return Err(protocol_error(Cause::HttpUpgradeFailed));
        }
        let tunnel = Tunnel {
            upstream: call.into_connection().into_tunnel(),
            idle: choice.timeouts.tunnel_idle,
            pick,
        };
        return Ok(Answer {
            response: Response::from_parts(parts, Body::empty()),
            tunnel: Some(Box::new(tunnel)),
            upgrade: Some(chosen),
        });
    }
    let home = Return {
        pool: exchange.connection.local.pool.clone(),
        keep: Keep {
            idle: choice.timeouts.upstream_idle,
            count: choice.upstream.max_idle_per_endpoint as usize,
        },
    };
    let mut body = ResponseBody::new(call, head.framing, head.persistent, home, pick);
    let body = body.take_ready().map_or_else(|| Body::stream(body), Body::full);
    Ok(Answer::plain(Response::from_parts(parts, body)))
}

/// CONNECT succeeds with any 2xx, and has no body (RFC 9110 §9.3.6).
fn connected(choice: &Choice, pick: Pick, connection: Connection) -> Answer {
    let tunnel = Tunnel {
        upstream: connection.into_tunnel(),
        idle: choice.timeouts.tunnel_idle,
        pick,
    };
    Answer {
        response: Response::new(Body::empty()),
        tunnel: Some(Box::new(tunnel)),
        upgrade: None,
    }
}
