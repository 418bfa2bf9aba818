//! Waits for the head of a response, and knows for how long its endpoint was waited for.
//!
//! An endpoint is blamed for a late response only if it had a fair time for it, whatever limit
//! passed: a client may set one of a millisecond, or send the end of its body a moment before the
//! route's passes. So time is taken from the end of the request, or from the last piece that the
//! endpoint took of it, and none while it is the client that is waited for. The limit of one
//! attempt, which is for the endpoint, runs in the same way.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::exchange::Exchange;
use crate::http1::ResponseHead;
use crate::pool::{Call, CallError, Event};
use crate::snapshot::Choice;

/// No head came.
#[derive(Debug)]
pub(super) struct NoHead {
    /// Why; `None`: the client has gone.
    pub(super) error: Option<CallError>,
    pub(super) waited: Waited,
}

/// How long an endpoint was waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waited {
    /// Since it had all of the request, or had to take more of it. None, where that was the
    /// client's to send.
    pub(super) time: Duration,
    /// Whether a limit has passed, and that says something about the endpoint.
    pub(super) is_fair: bool,
}

/// Drives a call until its response begins, relaying interim responses.
pub(super) fn response_head<'a>(
    exchange: &'a Exchange<'_>,
    choice: &'a Choice,
    call: &'a mut Call,
) -> impl Future<Output = Result<ResponseHead, NoHead>> + 'a {
    // The wait that begins then has looked at the clock. Where there was none after the whole
    // request had left in one go, it took no time to speak of.
    let mut sent = None;
    async move {
        loop {
            // Room in this future is dear: it is there for each request that waits.
            let (mut armed, mut is_fair) = (u64::MAX, false);
            let event = poll_fn(|cx| {
                if let Poll::Ready(event) = call.poll_event(cx) {
                    return Poll::Ready(Some(event));
                }
                let client = &exchange.connection.client;
                if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(None);
                }
                let progress = call.progress() << 1 | u64::from(call.is_sent());
                if armed != progress {
                    let is_begun = armed & 1 == 1;
                    armed = progress;
                    sent = exchange.arm(choice, call, sent.filter(|_| is_begun));
                }
                let since = sent.unwrap_or_else(|| exchange.now.get());
                let passed = ready!(poll_passed(cx, exchange, (choice, call), since));
                let late = || {
                    let limit = exchange.whole_limit(choice, call);
                    is_fair = exchange.was_fair(since.elapsed(), limit);
                    call.overdue(is_fair, exchange.awaits_client(call))
                };
                Poll::Ready(Some(Err(passed.err().unwrap_or_else(late))))
            })
            .await;
            let since = sent.unwrap_or_else(|| exchange.now.get());
            exchange.wait_over();
            let no_head = |error, call: &Call| {
                let time = exchange.now.get() - since;
                let is_its_client = exchange.awaits_client(call);
                let time = if is_its_client { Duration::ZERO } else { time };
                let waited = Waited { time, is_fair };
                Err(NoHead { error, waited })
            };
            let interim = match event {
                None => return no_head(None, call),
                Some(Err(_)) if exchange.connection.client.has_failed() => {
                    return no_head(None, call);
                }
                Some(Err(error)) => return no_head(Some(error), call),
                Some(Ok(Event::Response(head))) => {
                    // An answer that came before the end of its request, as in a conversation it
                    // may, was waited for by nobody: how long it took is not known.
                    let was_there = armed == u64::MAX && call.is_sent();
                    let since = sent.or(was_there.then(|| exchange.now.get()));
                    let first_byte = since.map(|since| exchange.now.get() - since);
                    exchange.record.first_byte.set(first_byte);
                    return Ok(head);
                }
                Some(Ok(Event::Interim(_))) if !exchange.relays_interims() => continue,
                Some(Ok(Event::Interim(head))) => {
                    if head.parts.status == StatusCode::CONTINUE && !call.is_sent() {
                        exchange.message.awaits_go_ahead.set(false);
                        sent = None;
                    }
                    exchange.interim(head.parts)
                }
            };
            // In a box: few responses have one, and the others do not carry the room for it.
            if !Box::pin(exchange.relay_interim(interim)).await {
                // It was the client that was waited for.
                let waited = Waited::default();
                return Err(NoHead {
                    error: None,
                    waited,
                });
            }
        }
    }
}

/// Ready once a call has taken too long, of which a step began then. Meanwhile it is looked, each
/// time that a connection has had its time to be made, whether what was sent arrives at all.
fn poll_passed(
    cx: &mut Context<'_>,
    exchange: &Exchange<'_>,
    (choice, call): (&Choice, &Call),
    since: Instant,
) -> Poll<Result<(), CallError>> {
    loop {
        ready!(exchange.deadline().poll_passed(cx));
        let (now, end) = (Instant::now(), since + exchange.whole_limit(choice, call));
        if now >= end || exchange.is_overdue() || exchange.is_attempt_overdue() {
            return Poll::Ready(Ok(()));
        }
        call.looked_after()?;
        exchange.wait_until(end.min(now + choice.timeouts.connect));
    }
}

impl Exchange<'_> {
    /// Sets the limits of a call of which something has moved, or that begins to wait. Returns
    /// since when its answer is waited for, if it is: since then, or from now on.
    #[inline]
    fn arm(&self, choice: &Choice, call: &Call, since: Option<Instant>) -> Option<Instant> {
        let awaits_answer = self.awaits_answer(call);
        let since = since.filter(|_| awaits_answer);
        self.take_turns(call);
        let limit = self.limit_of(choice, call, since);
        self.wait_at_most(limit.min(choice.timeouts.connect));
        since.or(awaits_answer.then(|| self.now.get()))
    }

    /// How long the next step of a call may take, whose request was sent then. Interim responses do
    /// not begin the wait for the head anew: an endpoint could go on with them for as long as it
    /// likes.
    fn limit_of(&self, choice: &Choice, call: &Call, sent: Option<Instant>) -> Duration {
        let passed = sent.map_or(Duration::ZERO, |sent| sent.elapsed());
        self.whole_limit(choice, call).saturating_sub(passed)
    }

    fn whole_limit(&self, choice: &Choice, call: &Call) -> Duration {
        if self.awaits_answer(call) {
            choice.timeouts.response_head
        } else {
            self.body_idle()
        }
    }

    /// Whether it is the endpoint's turn to say something.
    fn awaits_answer(&self, call: &Call) -> bool {
        call.is_sent() || call.awaits_body() && self.awaits_go_ahead()
    }

    /// Whether it is the client that a call waits for: the rest of its body.
    fn awaits_client(&self, call: &Call) -> bool {
        !call.is_sent() && call.awaits_body() && !self.awaits_go_ahead()
    }

    /// Whether the client waits itself: for the endpoint to say that it may send its body, or to
    /// answer without (RFC 9110 §10.1.1). Not once it was told, or has begun without a word.
    fn awaits_go_ahead(&self) -> bool {
        self.message.awaits_go_ahead.get() && self.connection.client.body_bytes() == 0
    }

    /// Stops the limit of the attempt while its client is waited for, and has it run anew once the
    /// endpoint is.
    fn take_turns(&self, call: &Call) {
        let Some(limit) = self.route.retry.per_try_timeout else {
            return;
        };
        if self.awaits_client(call) {
            self.attempt_overdue.set(None);
        } else if !call.is_sent() || self.attempt_overdue.get().is_none() {
            self.attempt_overdue.set(Some(Instant::now() + limit));
        }
    }
}
