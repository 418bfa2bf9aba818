//! What follows an attempt: another one, or what the client is told of all of them.

use std::time::Duration;

use http_body::Body as _;

use super::again::{Next, Why, decide, named_failure};
use super::answer::Answer;
use super::attempt::{Attempt, Failed};
use super::exchange::Exchange;
use super::respond::{Cause, Details, PROXY_STATUS, Said, proxy_status};
use crate::message::RequestParts;
use crate::snapshot::Choice;

/// What follows an attempt: another one after a pause, or what the client gets. No part of the
/// future, which would keep room for all that is here.
#[inline]
pub(super) fn followed(
    exchange: &Exchange<'_>,
    choice: &Choice,
    attempted: Result<Answer, Attempt>,
    endpoint: u64,
    (parts, tried, is_retry): (&RequestParts, &mut Vec<u64>, bool),
) -> Result<(Cause, Duration), Option<Answer>> {
    let mut failed = match attempted {
        Ok(answer) => return Err(Some(answered(exchange, answer, tried, is_retry))),
        Err(Attempt::ClientGone) => return Err(None),
        Err(Attempt::Failed(failed)) => failed,
    };
    failed.cause = exchange.late(failed.cause);
    tried.push(endpoint);
    let next = match failed.granted {
        Some(pause) => Next::Again(pause),
        None => decide(exchange, choice, parts, &failed, tried),
    };
    match next {
        Next::Again(pause) => Ok((failed.cause, pause)),
        Next::Over(why) => Err(Some(failure(exchange, parts, &failed, tried, why))),
    }
}

/// An attempt has brought an answer. Where others came before, it says so; and where it is one that
/// would be tried again, if that were still worth anything.
fn answered(exchange: &Exchange<'_>, mut answer: Answer, tried: &[u64], is_retry: bool) -> Answer {
    if !is_retry && !exchange.is_final.get() {
        return answer;
    }
    let is_alone = answer.body.is_end_stream();
    let failed = named_failure(exchange, &answer.parts, is_alone).is_some();
    // One that failed has been counted, where it was decided that it is the last.
    if is_retry && !failed {
        exchange.route.metrics.retries.success.inc();
    }
    let text = tried_text(tried);
    let next_hop = exchange.record.endpoint_name();
    let details = Details::for_peer(exchange.peer_is_trusted, next_hop.as_deref(), &text);
    let said = Said {
        cause: None,
        received: failed.then_some(answer.parts.status),
        is_final: failed && exchange.is_final.get(),
    };
    let retried = proxy_status(said, details.as_ref());
    answer.parts.headers.append(&PROXY_STATUS, &retried);
    answer
}

/// The answer to a request all of whose attempts failed.
fn failure(
    exchange: &Exchange<'_>,
    parts: &RequestParts,
    failed: &Failed,
    tried: &[u64],
    why: Why,
) -> Answer {
    let text = tried_text(tried) + why.text();
    let next_hop = exchange.record.endpoint_name();
    let details = Details::for_peer(exchange.peer_is_trusted, next_hop.as_deref(), &text);
    exchange.own(&parts.headers, failed.cause, details)
}

/// The answer to a request that no endpoint can be picked for, or none any more. Where there is
/// nobody else, the `last` attempt tells why; where there is no room or no time, that is why.
pub(super) fn unavailable(
    exchange: &Exchange<'_>,
    parts: &RequestParts,
    (last, tried): (Option<Cause>, &[u64]),
    cause: Cause,
) -> Answer {
    let Some(last) = last else {
        return exchange.own(&parts.headers, cause, None);
    };
    exchange.route.metrics.retries.failure.inc();
    let cause = match cause {
        Cause::DestinationUnavailable => last,
        cause => cause,
    };
    let text = tried_text(tried);
    let next_hop = exchange.record.endpoint_name();
    let details = Details::for_peer(exchange.peer_is_trusted, next_hop.as_deref(), &text);
    exchange.own(&parts.headers, cause, details)
}

fn tried_text(tried: &[u64]) -> String {
    format!(
        "tried {} endpoint{}",
        tried.len(),
        if tried.len() == 1 { "" } else { "s" }
    )
}
