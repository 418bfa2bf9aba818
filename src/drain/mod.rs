//! Drain as a value that one holds: a trigger, its watchers, and the guards that hold it up.
//!
//! A process that is asked to end does so in steps, and each part of it needs another one: answers
//! tell clients to come back elsewhere while connections are still accepted (the others in a
//! cluster need a moment to learn), then accepting ends, then what runs may finish, then what
//! is left is cut. A process whose successor accepts already needs no such moment: it leaves
//! accepting to that one at once, and lets those rest that would be closed for want of work.
//!
//! There are two of them, since a process beside an application has two sides: what comes for the
//! application may have to end before what comes from it ([`both`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

mod both;

pub use both::{Direction, Triggers, Watchers, both};

/// How far a drain has come. Later steps include the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Not started.
    Serving,
    /// Not ready any more, and answers say that the connection closes; accepting goes on.
    Started,
    /// No further connections are accepted, beyond those that the kernel has already taken.
    Left,
    /// And connections without work end.
    Closed,
    /// What still runs is dropped.
    Cut,
}

/// Starts a drain and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    step: watch::Sender<Step>,
    shared: Arc<Shared>,
}

/// Sees how far the drain is. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Watcher {
    step: watch::Receiver<Step>,
    shared: Arc<Shared>,
}

/// Holds the end of a drain up while it lives: one per connection.
#[derive(Debug)]
pub struct Blocker {
    shared: Arc<Shared>,
}

/// Holds the end up like a [`Blocker`], for something that may bring connections but is none: an
/// accept loop that empties its queue.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The step, for those that ask with every request: what the channel holds is behind a lock.
    step: AtomicU8,
    blockers: AtomicUsize,
    cut_requests: AtomicUsize,
    holds: AtomicUsize,
    ended: Notify,
}

/// A drain that has not started.
pub fn channel() -> (Trigger, Watcher) {
    let (sender, receiver) = watch::channel(Step::Serving);
    let shared = Arc::new(Shared::default());
    (
        Trigger {
            step: sender,
            shared: Arc::clone(&shared),
        },
        Watcher {
            step: receiver,
            shared,
        },
    )
}

impl Trigger {
    /// Starts the drain; watchers are woken. Starting twice changes nothing.
    pub fn start(&self) {
        self.advance(Step::Started);
    }

    /// Leaves accepting to a successor. Who has said nothing yet may go on to wait.
    pub fn leave(&self) {
        self.advance(Step::Left);
    }

    /// Ends accepting, when the grace is over.
    pub fn close(&self) {
        self.advance(Step::Closed);
    }

    /// Ends the waiting: what is still running is dropped.
    pub fn cut(&self) {
        self.advance(Step::Cut);
    }

    /// Blockers that are still held: the connections that still run.
    pub fn blockers(&self) -> usize {
        self.shared.blockers.load(Ordering::Acquire)
    }

    /// Returns when neither a blocker nor a hold is left. The caller sets the time limit.
    pub async fn wait(&self) {
        loop {
            let ended = self.shared.ended.notified();
            if self.shared.is_free() {
                return;
            }
            ended.await;
        }
    }

    /// Never goes back: a drain cannot be taken back once clients were told.
    fn advance(&self, to: Step) {
        self.step.send_if_modified(|step| {
            let further = to > *step;
            *step = to.max(*step);
            self.shared.step.store(*step as u8, Ordering::Release);
            further
        });
    }
}

impl Watcher {
    /// Whether the drain has started.
    pub fn is_draining(&self) -> bool {
        self.has_reached(Step::Started)
    }

    /// Whether connections without work should end.
    pub fn is_closed(&self) -> bool {
        self.has_reached(Step::Closed)
    }

    /// Returns when the drain starts, or never if its trigger is gone without having started it.
    pub async fn started(&mut self) {
        self.reached(Step::Started).await;
    }

    /// Returns when accepting is to end, or never if its trigger is gone without having ended it.
    pub async fn left(&mut self) {
        self.reached(Step::Left).await;
    }

    /// Returns when connections without work are to end as well, or never as above.
    pub async fn closed(&mut self) {
        self.reached(Step::Closed).await;
    }

    /// Returns when what still runs is to be dropped, or never as above.
    pub async fn cut(&mut self) {
        self.reached(Step::Cut).await;
    }

    /// Holds the drain's end up until [`Watcher::unblock`]: for a guard that reaches a watcher
    /// anyway, and of which there are so many that another pointer counts.
    pub fn block(&self) {
        self.shared.blockers.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends what [`Watcher::block`] began.
    pub fn unblock(&self) {
        self.shared.release(&self.shared.blockers);
    }

    /// A guard that holds the drain's end up.
    pub fn blocker(&self) -> Blocker {
        self.block();
        Blocker {
            shared: Arc::clone(&self.shared),
        }
    }

    /// A guard that holds the drain's end up without being counted as a connection.
    pub fn hold(&self) -> Hold {
        self.shared.holds.fetch_add(1, Ordering::AcqRel);
        Hold {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Tells that a request was cut with its connection.
    pub fn request_cut(&self) {
        self.shared.cut_requests.fetch_add(1, Ordering::AcqRel);
    }

    /// Requests that were cut; all of them once the workers have ended.
    pub fn cut_requests(&self) -> usize {
        self.shared.cut_requests.load(Ordering::Acquire)
    }

    fn has_reached(&self, wanted: Step) -> bool {
        self.shared.step.load(Ordering::Acquire) >= wanted as u8
    }

    async fn reached(&mut self, wanted: Step) {
        if self.step.wait_for(|step| *step >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.shared.release(&self.shared.blockers);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.release(&self.shared.holds);
    }
}

impl Shared {
    /// Holds first: what one brings is counted before it goes.
    fn is_free(&self) -> bool {
        self.holds.load(Ordering::Acquire) == 0 && self.blockers.load(Ordering::Acquire) == 0
    }

    fn release(&self, counter: &AtomicUsize) {
        if counter.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{Step, channel};

    #[tokio::test]
    async fn the_end_waits_for_every_guard() {
        let (trigger, watcher) = channel();
        let first = watcher.blocker();
        let second = watcher.clone().blocker();
        trigger.start();
        trigger.close();
        drop(first);
        let early = timeout(Duration::from_millis(20), trigger.wait()).await;
        assert!(early.is_err(), "ended while a guard was held");
        let hold = watcher.hold();
        drop(second);
        assert_eq!(trigger.blockers(), 0, "a hold is no connection");
        let early = timeout(Duration::from_millis(20), trigger.wait()).await;
        assert!(early.is_err(), "ended while something was held");
        drop(hold);
        trigger.wait().await;
    }

    #[tokio::test]
    async fn steps_never_go_back() {
        let (trigger, mut watcher) = channel();
        assert!(!watcher.is_draining());
        trigger.cut();
        trigger.start();
        assert_eq!(*watcher.step.borrow(), Step::Cut);
        watcher.started().await;
        watcher.left().await;
        watcher.closed().await;
        watcher.cut().await;
    }

    #[tokio::test]
    async fn who_leaves_accepting_to_another_closes_nothing() {
        let (trigger, mut watcher) = channel();
        trigger.start();
        trigger.leave();
        watcher.left().await;
        assert!(watcher.is_draining() && !watcher.is_closed());
        trigger.close();
        assert!(watcher.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_trigger_starts_nothing() {
        let (trigger, mut watcher) = channel();
        drop(trigger);
        let started = timeout(Duration::from_hours(1), watcher.started()).await;
        assert!(started.is_err(), "a drain that nobody asked for");
    }
}
