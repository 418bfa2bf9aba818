//! Waiting for a connection to an endpoint that has as many as its limit allows.
//!
//! Problem: the limit counts the connections of all workers, but each worker keeps its idle ones to
//! itself. So a worker can find the limit reached although nothing is in use. Then it joins the
//! queue and asks the others ([`IdleRequests`](crate::endpoint::IdleRequests)), which close what
//! rests in their pools.
//!
//! There always is something to close. A request asks for a connection only once it counts as in
//! flight, of which there are never more than the limit of connections allows
//! ([`Endpoint::most_in_flight`](crate::endpoint::Endpoint::most_in_flight)), and every connection
//! in use belongs to another request in flight. So of as many connections as there may be, one is
//! idle for each that waits, or is just being closed. A request to an endpoint whose connections
//! are all in use never comes here: it is not picked.
//!
//! And nobody waits for a connection that has been closed. Three things make sure of it:
//!
//! 1. Who waits is counted in before it looks for the last time whether there is room, and who
//!    closes makes room before it looks whether anybody waits. Both pairs are sequentially
//!    consistent, so at least one of the two sees the other.
//! 2. Who waits asks all pools after it is counted in, and a pool that is asked closes what is idle
//!    for as long as anybody waits. The channel tells a pool that has missed something.
//! 3. A pool keeps no connection while anybody waits. One that has been asked sees the count; one
//!    that kept a connection because it did not see the count is yet to be asked.
//!
//! So a wait lasts as long as another worker needs to get to it: microseconds, unless that one is
//! held up. The caller sets a limit to it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::in_flight::count_in;
use super::{Live, OpenConnection};

/// The connections of one endpoint, over all workers, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    open: AtomicU32,
    /// Why none may be kept idle: how many wait for one, and [`RETIRED`]. One word, so that a
    /// checkin has one question.
    waiting_or_retired: AtomicU32,
    queue: Mutex<Queue>,
}

/// Who waits, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// The limit by the configuration that the request runs with.
    max: u32,
    waker: Waker,
}

/// Waits for a connection: ready with one counted in. Dropping it lets the next one have it. That
/// none waits in vain is shown at the head of this file.
#[derive(Debug)]
#[must_use = "nothing is counted in before it is ready"]
pub struct Waiter {
    live: Arc<Live>,
    max: u32,
    /// Its number in the queue, once it stands there and until it has been told that it was served.
    number: Option<u64>,
}

impl Waiters {
    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Counts a connection in, unless `max` are open.
    pub(super) fn try_open(&self, max: u32) -> bool {
        count_in(&self.open, max, SeqCst)
    }

    /// Counts a connection out. Who waits gets its place.
    pub(super) fn close(&self) {
        self.open.fetch_sub(1, SeqCst);
        if self.waiting_or_retired.load(SeqCst) & !RETIRED != 0 {
            self.serve();
        }
    }

    /// Whether connections may be kept idle: nobody waits for one, and the endpoint is in use.
    pub(super) fn may_rest(&self) -> bool {
        self.waiting_or_retired.load(Relaxed) == 0
    }

    pub(super) fn is_retired(&self) -> bool {
        self.waiting_or_retired.load(Relaxed) & RETIRED != 0
    }

    pub(super) fn set_retired(&self, is_retired: bool) {
        if is_retired {
            self.waiting_or_retired.fetch_or(RETIRED, Relaxed);
        } else {
            self.waiting_or_retired.fetch_and(!RETIRED, Relaxed);
        }
    }

    /// Joins the queue.
    fn join(&self, max: u32, waker: Waker) -> u64 {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Waiting { number, max, waker });
        self.waiting_or_retired.fetch_add(1, SeqCst);
        number
    }

    /// Whether this number still waits; its task is woken when it has been served.
    fn is_waiting(&self, number: u64, waker: &Waker) -> bool {
        let mut queue = self.queue();
        let waiting = queue.waiting.iter_mut().find(|it| it.number == number);
        let Some(waiting) = waiting else { return false };
        waiting.waker.clone_from(waker);
        true
    }

    /// Leaves the queue. False for a number that has been served: it has a connection to give back.
    fn leave(&self, number: u64) -> bool {
        let mut queue = self.queue();
        let place = queue.waiting.iter().position(|it| it.number == number);
        let left = place.and_then(|place| queue.waiting.remove(place));
        if left.is_some() {
            self.waiting_or_retired.fetch_sub(1, SeqCst);
        }
        left.is_some()
    }

    /// Serves as many as there is room for.
    fn serve(&self) {
        while let Some(waker) = self.serve_one() {
            waker.wake();
        }
    }

    /// The first by whose own limit there is room: requests of two configurations may wait.
    fn serve_one(&self) -> Option<Waker> {
        let mut queue = self.queue();
        let place = queue
            .waiting
            .iter()
            .position(|waiting| self.try_open(waiting.max))?;
        let served = queue.waiting.remove(place)?;
        self.waiting_or_retired.fetch_sub(1, SeqCst);
        Some(served.waker)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    pub(super) fn new(live: &Arc<Live>, max: u32) -> Self {
        Self {
            live: Arc::clone(live),
            max,
            number: None,
        }
    }
}

impl Future for Waiter {
    type Output = OpenConnection;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OpenConnection> {
        let waiter = self.get_mut();
        let waiters = &waiter.live.waiters;
        let is_new = waiter.number.is_none();
        let number = *waiter
            .number
            .get_or_insert_with(|| waiters.join(waiter.max, cx.waker().clone()));
        if is_new {
            waiters.serve();
        }
        if waiters.is_waiting(number, cx.waker()) {
            if is_new {
                waiter.live.told.idle_requests.push(waiter.live.id);
            }
            return Poll::Pending;
        }
        waiter.number = None;
        Poll::Ready(OpenConnection {
            live: Arc::clone(&waiter.live),
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && !self.live.waiters.leave(number)
        {
            self.live.waiters.close(); // served, and nobody came to take it
        }
    }
}

/// The highest bit: the rest counts those who wait, of whom there are never as many.
const RETIRED: u32 = 1 << 31;

#[cfg(test)]
mod tests;
