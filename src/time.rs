//! Time: a deadline that costs nothing to move, and a backoff with jitter.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline of one task that moves often and passes seldom.
///
/// Problem: a timer that is set and cancelled for every message costs a thousand instructions each
/// time. Here the timer is armed for the earliest deadline seen and left alone when the deadline
/// moves later; when it fires too early, it is armed again. A keep-alive connection so pays for its
/// timer about once per limit, not once per request.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Cell<Option<Instant>>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Deadline {
    /// Moves the deadline to `limit` from now.
    pub fn set(&self, limit: Duration) {
        self.at.set(Some(Instant::now() + limit));
    }

    /// Moves the deadline to an instant.
    pub fn set_at(&self, at: Instant) {
        self.at.set(Some(at));
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        self.at.set(None);
    }

    /// Ready once the deadline has passed; registers the task otherwise.
    pub fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at.get() else {
            return Poll::Pending;
        };
        let mut timer = self.timer.borrow_mut();
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        loop {
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }

    /// Runs a future against the deadline as it stands; `None` if the deadline passes first.
    pub async fn guard<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_passed(cx).map(|()| None)
        })
        .await
    }
}

/// Delays that double from `first` up to `most`, each with up to half taken off at random, so that
/// many waiters do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// A backoff that has not failed yet.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The delay after a further failure.
    pub fn delay(&mut self, random: &mut fastrand::Rng) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.most);
        delay.mul_f64(1.0 - random.f64() / 2.0)
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
