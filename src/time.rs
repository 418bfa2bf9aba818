//! Time: a deadline that costs nothing to move, a backoff with jitter, and the wall
//! clock as a number.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// A moment, as tests can pause it. For rooms that are told the time and must not wait for it.
pub use tokio::time::Instant;

/// A deadline of one task that moves often and passes seldom.
///
/// Problem: a timer that is set and cancelled for every message costs a thousand instructions each
/// time. Here the timer is armed for the earliest deadline seen and left alone when the deadline
/// moves later; when it fires too early, it is armed again. A keep-alive connection so pays for its
/// timer about once per limit, not once per request.
#[derive(Default)]
pub struct Deadline {
    at: Cell<Option<Instant>>,
    armed: Cell<Option<Armed>>,
}

/// A timer that will wake a task.
#[derive(Debug)]
struct Armed {
    timer: Pin<Box<Sleep>>,
    waker: Waker,
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
        let mut armed = self.armed.take().unwrap_or_else(|| Armed::for_deadline(at));
        let passed = armed.poll_passed(cx, at);
        self.armed.set(Some(armed));
        passed
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

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("at", &self.at.get())
            .finish_non_exhaustive()
    }
}

impl Armed {
    fn for_deadline(at: Instant) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep_until(first_stop(at))),
            waker: Waker::noop().clone(),
        }
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.is_early_enough(at, cx.waker()) {
            return Poll::Pending;
        }
        self.waker.clone_from(cx.waker());
        loop {
            if self.timer.deadline() > at {
                self.timer.as_mut().reset(at);
            }
            // Whatever the task has used up of its turn: a timer that was told to wait for the next
            // one would not be registered, and taken for one that is.
            if Pin::new(&mut unconstrained(self.timer.as_mut()))
                .poll(cx)
                .is_pending()
            {
                return Poll::Pending;
            }
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(first_stop(at));
        }
    }

    /// Whether the timer will wake this task, not later than at the deadline: then there is nothing
    /// to do. This is what nearly every poll finds.
    fn is_early_enough(&self, at: Instant, waker: &Waker) -> bool {
        self.timer.deadline() <= at && !self.timer.is_elapsed() && self.waker.will_wake(waker)
    }
}

/// Where a timer on its way to `at` stops first. A connection waits for a request for longer
/// than its request then waits for an endpoint; with a stop before both, the timer stays as
/// it is for both.
fn first_stop(at: Instant) -> Instant {
    at.min(Instant::now() + STRIDE)
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

/// Whole milliseconds from one moment to another; none if it is not later.
pub fn millis_between(since: Instant, now: Instant) -> u64 {
    let millis = now.saturating_duration_since(since).as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// The moment that was so many milliseconds ago; now, where no clock can tell it.
pub fn millis_ago(millis: u64, now: Instant) -> Instant {
    now.checked_sub(Duration::from_millis(millis))
        .unwrap_or(now)
}

/// From 1970 to a time of the wall clock, in UTC and without leap seconds, as logs and metrics
/// count. A clock that stands before 1970 counts as 1970.
pub fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The default limit of a response's head, the shortest that every request waits for.
const STRIDE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_when_it_was_last_set_to() {
        let deadline = Deadline::default();
        let began = Instant::now();
        deadline.set(5 * SECOND);
        assert!(deadline.guard(tokio::time::sleep(SECOND)).await.is_some());
        deadline.set(10 * SECOND); // later: the timer that is armed for 5 s must not count
        assert!(deadline.guard(std::future::pending::<()>()).await.is_none());
        assert_eq!(began.elapsed(), 11 * SECOND);
        deadline.set(SECOND); // earlier than the timer stood
        assert!(deadline.guard(std::future::pending::<()>()).await.is_none());
        assert_eq!(began.elapsed(), 12 * SECOND);
    }

    /// Uses up what the task may do before it has to let others run.
    fn spend_turn(cx: &mut Context<'_>) {
        while tokio::task::coop::has_budget_remaining() {
            let spent = std::pin::pin!(tokio::task::coop::consume_budget());
            if spent.poll(cx).is_pending() {
                return;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_although_the_task_has_used_up_its_turn() {
        let deadline = Deadline::default();
        deadline.set(SECOND);
        let mut is_first = true;
        let passed = std::future::poll_fn(|cx| {
            if std::mem::take(&mut is_first) {
                spend_turn(cx);
                assert!(deadline.poll_passed(cx).is_pending());
                // Only the timer may wake the task.
                return Poll::Pending;
            }
            deadline.poll_passed(cx)
        });
        let began = Instant::now();
        passed.await;
        assert_eq!(began.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_was_taken_away_never_passes() {
        let deadline = Deadline::default();
        deadline.set(SECOND);
        assert!(deadline.guard(std::future::pending::<()>()).await.is_none());
        deadline.clear();
        assert!(deadline.guard(tokio::time::sleep(SECOND)).await.is_some());
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        assert_eq!(since_epoch(UNIX_EPOCH + SECOND), SECOND);
        assert_eq!(since_epoch(UNIX_EPOCH - SECOND), Duration::ZERO);
    }

    #[test]
    fn delays_double_up_to_the_most_and_lose_at_most_half() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new(SECOND, 4 * SECOND);
        for full in [1, 2, 4, 4] {
            let delay = backoff.delay(&mut random);
            assert!(
                delay <= full * SECOND && delay >= full * SECOND / 2,
                "{delay:?} of {full} s"
            );
        }
        backoff.reset();
        assert!(backoff.delay(&mut random) <= SECOND);
    }
}
