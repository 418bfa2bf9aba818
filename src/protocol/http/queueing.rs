//! Waits for an endpoint that has room, where every one is at its limits.
//!
//! A request leaves the queue by its turn, by the end of its patience or of its own time, or with
//! its client. Meanwhile a reload may come: who looks, looks at the upstream of that name that is
//! in force.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;

use super::exchange::Exchange;
use super::forward::{begin, look};
use super::respond::Cause;
use crate::message::RequestParts;
use crate::snapshot::{Choice, who_takes_turns};
use crate::upstream::{Haste, InQueue, NotQueued, Pick, PickError, PushedOut, Waited};

/// A request that waited in vain.
#[derive(Debug)]
pub(super) enum Vain {
    /// There is nobody to tell.
    ClientGone,
    /// It is answered for this.
    Because(Cause),
}

/// The time that a request has waited, which its record gets however the wait ends: it may be given
/// up at any moment, as by the end of a drain.
struct Queued<'a> {
    time: Waited,
    record: &'a Cell<Waited>,
}

/// How the wait ended.
enum End {
    Looked(Result<Result<Pick, PickError>, PushedOut>),
    ClientGone,
    TimeOver,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.record.set(self.time);
    }
}

impl From<PickError> for Vain {
    fn from(error: PickError) -> Self {
        Self::Because(match error {
            PickError::NoEndpoints => Cause::DestinationUnavailable,
            PickError::AllAtLimit => Cause::Overload,
        })
    }
}

/// Waits for an endpoint, where requests may wait for one, and begins the next attempt there.
pub(super) async fn wait(
    exchange: &Exchange<'_>,
    choice: &Choice,
    parts: &RequestParts,
    tried: &[u64],
) -> Result<Pick, Vain> {
    let local = &exchange.connection.local;
    let begun = local.running(&choice.upstream);
    if !begun.lets_requests_wait() {
        return Err(PickError::AllAtLimit.into());
    }
    let now = || {
        let upstream = local.running(&choice.upstream);
        let when = (Instant::now(), Haste::MayWait);
        look(exchange, (choice, &upstream), parts, tried, when)
    };
    // Whoever is first by now. But none that lately failed, which would take still longer.
    let at_last = || match now() {
        Err(PickError::AllAtLimit) => {
            begun.waited_in_vain();
            Err(Vain::Because(Cause::QueueTimeout))
        }
        looked => looked.map_err(Vain::from),
    };
    let client = who_takes_turns(exchange.record.client.get());
    let mut queued = Queued {
        time: exchange.record.queued.get(),
        record: &exchange.record.queued,
    };
    let pick = match begun.join_queue(client, &mut queued.time) {
        Ok(in_queue) => match in_turn(exchange, &in_queue, &now).await {
            End::Looked(Ok(looked)) => looked.map_err(Vain::from),
            End::Looked(Err(PushedOut)) => Err(Vain::Because(Cause::QueueFull)),
            End::ClientGone => Err(Vain::ClientGone),
            End::TimeOver if exchange.is_overdue() => {
                in_queue.is_late();
                Err(Vain::Because(exchange.late(Cause::ResponseTimeout)))
            }
            End::TimeOver => {
                in_queue.is_late();
                at_last().inspect(|_| in_queue.has_found())
            }
        },
        Err(NotQueued::TimeOver) => at_last(),
        Err(NotQueued::Full) => Err(Vain::Because(Cause::QueueFull)),
    }?;
    begin(exchange, &local.running(&choice.upstream), &pick);
    Ok(pick)
}

async fn in_turn(
    exchange: &Exchange<'_>,
    in_queue: &InQueue<'_>,
    look: impl Fn() -> Result<Pick, PickError>,
) -> End {
    let client = &exchange.connection.client;
    exchange.wait_at_most(in_queue.limit());
    let turn = in_queue.turn(|| match look() {
        Err(PickError::AllAtLimit) => None,
        found => Some(found),
    });
    let mut turn = pin!(turn);
    // One whose body has not come yet is not read from meanwhile. A stream's connection hears.
    let mut broken = Box::pin(async {
        match client.http2() {
            Some(_) => pending().await,
            None => client.stream().broken().await,
        }
    });
    let end = poll_fn(|cx| {
        if let Poll::Ready(looked) = turn.as_mut().poll(cx) {
            return Poll::Ready(End::Looked(looked));
        }
        if client.poll_gone(cx).is_ready() || broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::ClientGone);
        }
        exchange.deadline().poll_passed(cx).map(|()| End::TimeOver)
    })
    .await;
    exchange.wait_over();
    end
}
