//! Takes a response: what follows its head is a body, or a tunnel.

use std::rc::Rc;

use http::{HeaderValue, StatusCode, Version};

use super::answer::Answer;
use super::attempt::{Attempt, protocol_error};
use super::exchange::Exchange;
use super::respond::Cause;
use super::upgrade::{Counted, Tunnel};
use super::websocket;
use crate::body::Body;
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
    Streams(ResponseParts, (Framing, Trailers), bool),
    /// It switches to this protocol.
    Switched(ResponseParts, Box<HeaderValue>),
}

impl Accepted {
    /// The answer that the response becomes.
    pub(super) fn answer(
        self,
        exchange: &Exchange<'_>,
        choice: &Choice,
        pick: Pick,
        call: Call,
    ) -> Result<Answer, Attempt> {
        let local = &exchange.connection.local;
        let pool = &local.pool;
        let keep = keep(choice);
        Ok(match self {
            Self::Whole(answer) => answer,
            Self::Streams(parts, framing, persistent) => {
                let pool = Rc::clone(pool);
                let home = Return { pool, keep };
                Answer::new(parts, call.body(framing, persistent, home, pick))
            }
            Self::Switched(parts, chosen) => {
                let connection = call.into_connection();
                let connection = connection.ok_or_else(|| protocol_error(Cause::UpgradeFailed))?;
                let tunnel = Tunnel {
                    upstream: connection.into_tunnel(),
                    limits: local.with_random(|random| choice.timeouts.tunnel(random)),
                    // As for an end that TCP calls a reset (RFC 8441 §5).
                    cut: ErrorCode::CANCEL,
                    pick,
                    counted: Counted::of(exchange, choice),
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

/// Takes a response's head: what follows is a body, or a tunnel.
pub(super) fn accept(
    exchange: &Exchange<'_>,
    choice: &Choice,
    (call, request): (&mut Call, &RequestParts),
    head: ResponseHead,
) -> Result<Accepted, Attempt> {
    let endpoint = call.endpoint();
    let mut parts = head.parts;
    endpoint.responded(parts.status);
    let metrics = &exchange.route.metrics;
    let first_byte = exchange.record.first_byte.get().unwrap_or_default();
    metrics.observe_first_byte(&choice.upstream.name, &endpoint.zone, first_byte);
    Via::response(&mut parts.headers, parts.version);
    exchange.attempt_overdue.set(None);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
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
    let Some(whole) = call.take_whole_body(head.framing) else {
        let framing = (head.framing, head.trailers);
        return Ok(Accepted::Streams(parts, framing, head.persistent));
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
fn keep(choice: &Choice) -> Keep {
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
