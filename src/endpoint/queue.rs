//! Who waits for an endpoint of an upstream to have room.
//!
//! A request that finds every endpoint at its limit is answered at once: its client can come again.
//! Who connects to a database pool comes again as well, and at once, so a TCP session waits for a
//! moment. It waits for the upstream, and room is made at an endpoint; so all of an upstream's
//! live states share one queue, in all builds of it.
//!
//! Most wait for whatever endpoint has room. Who is going to a destination of his own waits for
//! that one: so a queue has lines, and who stands in one is not held up by another.
//!
//! In each line only the first may look. He is called when room is made, and whoever leaves from
//! the front calls the next: room for two lets two in. Nobody is forgotten: who waits is counted in
//! before it looks for the last time, and who makes room does so before it looks whether anybody
//! waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicUsize, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Live;

/// The queue of one upstream.
#[derive(Debug, Default)]
pub struct Queue {
    /// Over all lines. Changed only while they are locked.
    waiting: AtomicUsize,
    lines: Mutex<Lines>,
}

/// None of them is empty.
type Lines = BTreeMap<Line, VecDeque<Arc<Notify>>>;

/// What one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// Whatever endpoint has room.
    Any,
    /// The endpoint of this number ([`Live::id`]). Who waits has to keep its live state: once
    /// nobody has it, it gets another number.
    Only(u64),
}

/// A place in a [`Queue`], left when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct Place {
    queue: Arc<Queue>,
    line: Line,
    call: Arc<Notify>,
}

impl Queue {
    /// Whether nobody waits in a line.
    pub fn is_empty(&self, line: Line) -> bool {
        self.waiting.load(SeqCst) == 0 || !self.lines().contains_key(&line)
    }

    /// Joins those who wait, at the end of a line; `None` if as many wait as may.
    pub fn join(self: &Arc<Self>, line: Line) -> Option<Place> {
        let mut lines = self.lines();
        if self.waiting.load(SeqCst) >= AT_MOST {
            return None;
        }
        self.waiting.fetch_add(1, SeqCst);
        // What is in flight is read loosely afterwards.
        fence(SeqCst);
        let call = Arc::default();
        lines.entry(line).or_default().push_back(Arc::clone(&call));
        Some(Place {
            queue: Arc::clone(self),
            line,
            call,
        })
    }

    /// Something is in flight no longer at this endpoint: the first may look.
    pub(super) fn freed(&self, endpoint: &Live) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let lines = self.lines();
        for line in [Line::Any, Line::Only(endpoint.id())] {
            call_first(lines.get(&line));
        }
    }

    /// A panic elsewhere cannot leave the lines half-changed.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is this one's turn to look.
    pub fn is_first(&self) -> bool {
        let lines = self.queue.lines();
        let first = lines.get(&self.line).and_then(VecDeque::front);
        first.is_some_and(|first| Arc::ptr_eq(first, &self.call))
    }

    /// Ready once this one has been called since it was ready last.
    pub async fn called(&self) {
        self.call.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queue.lines();
        let Some(line) = lines.get_mut(&self.line) else {
            return;
        };
        let place = line.iter().position(|call| Arc::ptr_eq(call, &self.call));
        if let Some(place) = place {
            line.remove(place);
            self.queue.waiting.fetch_sub(1, SeqCst);
        }
        if line.is_empty() {
            lines.remove(&self.line);
        } else if place == Some(0) {
            call_first(Some(line));
        }
    }
}

fn call_first(line: Option<&VecDeque<Arc<Notify>>>) {
    if let Some(first) = line.and_then(VecDeque::front) {
        first.notify_one();
    }
}

/// Those who wait at most, for one upstream. As many as wait for a place at a listener: who comes
/// behind a thousand has little to hope for within some seconds.
const AT_MOST: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_called(place: &Place) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(pin!(place.called()).poll(&mut context), Poll::Ready(()))
    }

    #[test]
    fn they_come_in_the_order_in_which_they_came() {
        let queue = Arc::<Queue>::default();
        let join = || queue.join(Line::Any).expect("there is room");
        let (first, second, third) = (join(), join(), join());
        assert!(first.is_first() && !second.is_first());
        drop(second);
        assert!(!is_called(&third), "it is not its turn");
        drop(first);
        assert!(third.is_first() && is_called(&third));
        assert!(!is_called(&third), "once for each call");
        drop(third);
        assert!(queue.is_empty(Line::Any));
        assert!(queue.lines().is_empty());
    }

    #[test]
    fn lines_do_not_hold_each_other_up() {
        let queue = Arc::<Queue>::default();
        let one = queue.join(Line::Only(1)).expect("there is room");
        assert!(!queue.is_empty(Line::Only(1)));
        assert!(queue.is_empty(Line::Only(2)) && queue.is_empty(Line::Any));
        let other = queue.join(Line::Only(2)).expect("there is room");
        assert!(one.is_first() && other.is_first());
    }

    #[test]
    fn as_many_wait_as_may_over_all_lines() {
        let queue = Arc::<Queue>::default();
        let lines = (0..1_024).map(Line::Only);
        let mut places: Vec<_> = lines.map_while(|line| queue.join(line)).collect();
        assert_eq!(places.len(), AT_MOST);
        assert!(queue.join(Line::Any).is_none());
        places.pop();
        assert!(queue.join(Line::Any).is_some());
    }
}
