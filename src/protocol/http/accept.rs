//! Takes a response: what follows its head is a body, or a tunnel.

use std::rc::Rc;

use http::{HeaderValue, StatusCode, Version};

use super::answer::Answer;
use super::attempt::{Attempt, protocol_error};
use super::exchange::Exchange;
use super::respond::Cause;
use super::rest::{Judge, Rest, judge, retry_after};
use super::upgrade::{Counted, Tunnel};
use super::websocket;
use crate::body::Body;
use crate::endpoint::Endpoint;
use crate::http1::{Framing, ResponseHead, Trailers};
use crate::http2::ErrorCode;
use crate::message::{RequestParts, ResponseParts};
use crate::policy::Via;
use crate::pool::{Call, Keep, Return};
use crate::snapshot::Choice;
use crate::upstream::Pick;

/// A response whose head has been taken. Where a body streams: whether its connection persists.
#[derive(Debug)]
pub(super) enum Accepted {
    /// All of its body was here: its connection is free again.
    Whole(Answer),
    /// Its body is still to come.
    Streams(ResponseParts, (Framing, Trailers), bool, Judge),
    /// It switches to this protocol.
    Switched(ResponseParts, Box<HeaderValue>),
}

impl Accepted {
    /// The answer that the response becomes.
    pub(super) fn answer(
        self,
        exchange: &Exchange<'_>,
        choice: &Choice,
        mut pick: Pick,
        call: Call,
    ) -> Result<Answer, Attempt> {
        let local = &exchange.connection.local;
        let pool = &local.pool;
        let keep = keep(choice);
        Ok(match self {
            Self::Whole(answer) => answer,
            Self::Streams(parts, framing, persistent, judge) => {
                let pool = Rc::clone(pool);
                let home = Return { pool, keep };
                let rest = Rest::new(pick, judge);
                Answer::new(parts, call.body(framing, persistent, home, rest))
            }
            Self::Switched(parts, chosen) => {
                let connection = call.into_connection();
                let connection = connection.ok_or_else(|| protocol_error(Cause::UpgradeFailed))?;
                pick.answered();
                let tunnel = Tunnel {
                    upstream: connection.into_tunnel(),
                    limits: local.with_random(|random| choice.timeouts.tunnel(random)),
                    // As for an end that TCP calls a reset (RFC 8441 §5).
                    cut: ErrorCode::CANCEL,
                    pick,
                    counted: Counted::of(exchange, choice),
                    line: None,
                };
                Answer {
                    tunnel: Some(Box::new(tunnel)),
                    upgrade: Some(chosen),
                    ..Answer::new(parts, Body::empty())
                }
            }
        })
    }
}

/// Takes in what is known of an endpoint once the head of its response is there.
#[inline]
pub(super) fn account(
    exchange: &Exchange<'_>,
    choice: &Choice,
    endpoint: &Endpoint,
    head: &ResponseParts,
) {
    let metrics = &exchange.route.metrics;
    // One that began before its request had ended took no time that says anything.
    if let Some(first_byte) = exchange.record.first_byte.get() {
        metrics.observe_first_byte(&choice.upstream.name, &endpoint.zone, first_byte);
    }
    if !head.status.is_server_error() {
        let local = &exchange.connection.local;
        local.lately.answered(endpoint.live.id());
    }
    // 429 is about who asks (RFC 6585 §4), and no reason to ask less for others.
    if head.status == StatusCode::SERVICE_UNAVAILABLE
        && let Some(time) = retry_after(head)
    {
        endpoint.live.sheds_for(time, exchange.now.get());
    }
}

/// Takes a response's head: what follows is a body, or a tunnel.
pub(super) fn accept(
    exchange: &Exchange<'_>,
    choice: &Choice,
    (pick, call, request): (&Pick, &mut Call, &RequestParts),
    head: ResponseHead,
) -> Result<Accepted, Attempt> {
    let mut parts = head.parts;
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let whole = if switches {
        None
    } else {
        call.take_whole_body(head.framing)
    };
    let is_whole = switches || whole.is_some();
    let judge = judge(exchange, pick, (&parts, is_whole));
    Via::response(&mut parts.headers, parts.version);
    exchange.tell_tie(choice, call.endpoint(), &mut parts);
    exchange.attempt_overdue.set(None);
    if switches {
        let asked = exchange.message.upgrade.as_deref();
        return match (asked, head.upgrade) {
            (Some(asked), Some(chosen))
                if call.is_sent()
                    && offers(asked, chosen.as_bytes())
                    && is_granted(request, &mut parts) =>
            {
                Ok(Accepted::Switched(parts, chosen))
            }
            _ => Err(protocol_error(Cause::UpgradeFailed)),
        };
    }
    exchange.route.filters.response(&mut parts);
    let Some(whole) = whole else {
        let framing = (head.framing, head.trailers);
        return Ok(Accepted::Streams(parts, framing, head.persistent, judge));
    };
    let pool = &exchange.connection.local.pool;
    call.end(head.persistent, pool, keep(choice), exchange.now.get());
    Ok(Accepted::Whole(Answer::new(parts, Body::full(whole))))
}

/// Whether a 101 is for this request, as far as that is not for its client to judge.
fn is_granted(request: &RequestParts, response: &mut ResponseParts) -> bool {
    request.version != Version::HTTP_2 || websocket::grant(request, response)
}

/// How connections to this upstream are kept.
pub(super) fn keep(choice: &Choice) -> Keep {
    Keep {
        idle: choice.timeouts.upstream_idle,
        count: choice.upstream.max_idle_per_endpoint as usize,
    }
}

/// Whether a client that asked for one of the protocols in `asked` may be switched to `chosen`.
pub(super) fn offers(asked: &HeaderValue, chosen: &[u8]) -> bool {
    let chosen = chosen.trim_ascii();
    let mut offered = asked.as_bytes().split(|byte| *byte == b',');
    offered.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(chosen))
}
