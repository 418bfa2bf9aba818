//! Asks a second endpoint where the first one takes unusually long.
//!
//! Both attempts are polled by the one task of the request, the second by an exchange beside that
//! of the first: the same request, with a record, a deadline and limits of its own. The first
//! answer counts. The other attempt is dropped: its connection is closed, or its stream reset, and
//! no byte of it reaches the client. Were its endpoint told nothing, a dead one would never be
//! found out: so it hears for how long it was waited for in vain
//! ([`Endpoint::unheard`](crate::endpoint::Endpoint::unheard)).
//!
//! An answer of the second endpoint counts only if it is one: where it fails, or says that it
//! failed (5xx, 429), the client gets what it would have got without. Interim responses of a
//! request that is at two endpoints are not relayed, for a client must not hear of one what the
//! other is about to answer; once one has been relayed, the endpoint is at work, and no other one
//! is asked.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use http_body::Body as _;
use tokio::time::{Instant, timeout};

use super::again::{is_repeated, next_attempt};
use super::answer::Answer;
use super::attempt::{Attempt, Failed};
use super::exchange::{Exchange, Message};
use super::forward::{attempt, begin};
use super::rare::Rare;
use super::record::Record;
use crate::body::Body;
use crate::http1::Framing;
use crate::message::RequestParts;
use crate::policy::HedgePolicy;
use crate::policy::retry::layers;
use crate::snapshot::Choice;
use crate::upstream::Pick;

/// What becomes of interim responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Interims {
    /// They are relayed.
    #[default]
    Relayed,
    /// They are, and one has been.
    Heard,
    /// They are not: two endpoints have been asked.
    Dropped,
}

type Attempted = Result<Answer, Attempt>;

/// Which of two attempts has ended.
enum Ended {
    First(Attempted),
    Second(Attempted),
}

/// Whether a second endpoint may be asked for a request. Not for one that a proxy in front already
/// asks a second time.
pub(super) fn may_be_hedged(
    exchange: &Exchange<'_>,
    hedge: &HedgePolicy,
    parts: &RequestParts,
    body: &Body,
) -> bool {
    hedge.takes(&parts.method)
        && body.is_end_stream()
        && exchange.message.upgrade.is_none()
        && !is_repeated(exchange, parts)
}

/// The first attempt at a request, and a second one beside it where it takes long. The endpoint of
/// the second is one of those that were `tried` then.
pub(super) async fn hedged(
    exchange: &Exchange<'_>,
    choice: &Choice,
    first: Pick,
    parts: &RequestParts,
    tried: &mut Vec<u64>,
) -> Attempted {
    let began = exchange.now.get();
    let endpoint = first.endpoint().live.id();
    let mut body = Body::empty();
    let mut first = pin!(attempt(exchange, choice, first, parts, &mut body));
    let times = choice.upstream.usual_wait();
    let hedge = exchange.route.hedge.as_deref();
    let after = hedge.and_then(|hedge| hedge.after.or_else(|| times.usual(began)));
    let (ended, is_second) = if let Some(ended) = within(first.as_mut(), after).await {
        (ended, false)
    } else {
        let record = exchange.record.beside();
        let beside = exchange.beside(&record);
        if let Some(second) = second(&beside, choice, parts, endpoint) {
            tried.push(second.endpoint().live.id());
            let first = (exchange, first, began);
            race(first, (&beside, second), choice, parts).await
        } else {
            (first.await, false)
        }
    };
    let now = exchange.now.get();
    match (&ended, after) {
        (Ok(_), Some(after)) if is_second => times.record_longer(after, now),
        (Ok(_), _) => times.record(now - began, now),
        // Neither of the two has anything more to say.
        (Err(_), _) => exchange.interims.set(Interims::default()),
    }
    ended
}

/// What an attempt comes to within a time, if that is limited.
async fn within(
    first: Pin<&mut impl Future<Output = Attempted>>,
    time: Option<Duration>,
) -> Option<Attempted> {
    let Some(time) = time else {
        return Some(first.await);
    };
    timeout(time, first).await.ok()
}

/// Picks the second endpoint, if there is another one and the budget allows it: which is asked
/// last, so that what cannot be made takes nothing from it. The second attempt begins here.
fn second(
    beside: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    first: u64,
) -> Option<Pick> {
    let upstream = &choice.upstream;
    let now = beside.now.get();
    let is_over = beside.overdue.get().is_some_and(|at| now >= at);
    if is_over || beside.interims.get() == Interims::Heard {
        return None;
    }
    let ties = beside.ties(choice, parts);
    let local = &beside.connection.local;
    let picked = local.with_random(|random| upstream.pick_beside(ties, &[first], now, random))?;
    if !upstream.retry_budget().withdraw(now) {
        beside.route.metrics.hedges.budget_exhausted.inc();
        return None;
    }
    begin(beside, upstream, &picked);
    Some(picked)
}

/// Two attempts, of which the first answer counts; and whether the second brought it.
async fn race(
    (exchange, mut first, began): (
        &Exchange<'_>,
        Pin<&mut impl Future<Output = Attempted>>,
        Instant,
    ),
    (beside, pick): (&Exchange<'_>, Pick),
    choice: &Choice,
    parts: &RequestParts,
) -> (Attempted, bool) {
    let hedges = &exchange.route.metrics.hedges;
    let mut parts_beside = parts.clone();
    let number = next_attempt(exchange, parts);
    layers::set_attempt(&mut parts_beside.headers, number);
    beside.tell_time_left(&mut parts_beside);
    exchange.record.another_attempt();
    exchange.set_hedged();
    exchange.interims.set(Interims::Dropped);
    beside.interims.set(Interims::Dropped);
    let mut body = Body::empty();
    let mut second = pin!(attempt(beside, choice, pick, &parts_beside, &mut body));
    let mut failed: Option<Failed> = None;
    let mut second_is_over = false;
    loop {
        let ended = poll_fn(|cx| {
            if failed.is_none()
                && let Poll::Ready(ended) = first.as_mut().poll(cx)
            {
                return Poll::Ready(Ended::First(ended));
            }
            if !second_is_over && let Poll::Ready(ended) = second.as_mut().poll(cx) {
                return Poll::Ready(Ended::Second(ended));
            }
            Poll::Pending
        })
        .await;
        match ended {
            Ended::First(Err(Attempt::Failed(why))) if !second_is_over => failed = Some(why),
            Ended::First(Err(Attempt::ClientGone)) | Ended::Second(Err(Attempt::ClientGone)) => {
                return (Err(Attempt::ClientGone), false);
            }
            Ended::First(ended) => {
                hedges.lost.inc();
                return (ended, false);
            }
            Ended::Second(Ok(answer)) if is_usable(answer.parts.status) => {
                hedges.won.inc();
                exchange.wait_over();
                let now = beside.now.get();
                exchange.now.set(now);
                exchange.attempt_overdue.set(None);
                if failed.is_none()
                    && let Some(endpoint) = exchange.record.endpoint()
                {
                    endpoint.unheard(now - began, now);
                }
                exchange.record.adopt(beside.record);
                return (Ok(answer), true);
            }
            Ended::Second(Ok(_) | Err(Attempt::Failed(_))) => {
                second_is_over = true;
                if let Some(failed) = failed.take() {
                    hedges.lost.inc();
                    return (Err(Attempt::Failed(failed)), false);
                }
            }
        }
    }
}

/// Whether an answer of the second endpoint is one that the first need not be waited for.
fn is_usable(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

impl<'a> Exchange<'a> {
    /// The same exchange for a second attempt, with what belongs to each attempt.
    fn beside<'b>(&'b self, record: &'b Record) -> Exchange<'b>
    where
        'a: 'b,
    {
        Exchange {
            connection: self.connection,
            terms: self.terms,
            route: self.route,
            record,
            message: Message {
                framing: Framing::None,
                upgrade: None,
                te_trailers: self.message.te_trailers,
                version: self.message.version,
                persistent: self.message.persistent,
                awaits_go_ahead: Cell::new(false),
            },
            peer_is_trusted: self.peer_is_trusted,
            is_within: Cell::default(),
            overdue: self.overdue.clone(),
            given: self.given.clone(),
            attempt_overdue: Cell::default(),
            body_idle: self.body_idle.clone(),
            now: Cell::new(Instant::now()),
            waiting_since: Cell::default(),
            rare: OnceCell::from(Box::new(Rare::beside(self.tie()))),
            interims: self.interims.clone(),
            is_final: Cell::default(),
            under_way: None,
        }
    }

    /// Whether it is one beside another.
    pub(super) fn is_beside(&self) -> bool {
        self.under_way.is_none()
    }

    /// Whether an interim response that has come is relayed.
    pub(super) fn relays_interims(&self) -> bool {
        if self.interims.get() == Interims::Dropped {
            return false;
        }
        self.interims.set(Interims::Heard);
        true
    }
}
