//! Who waits at a limit, in the order in which they came.
//!
//! Problem: whoever finds a limit reached may wait until somebody leaves. If all who wait look
//! then, who comes in is a matter of luck, and a thousand looks are made for one place; if each
//! looks now and then, a place stands empty meanwhile; and if one is forgotten, he waits for
//! nothing.
//!
//! So there is a line, and only the first of it looks. He is called when room is made, and whoever
//! leaves from the front calls the next: room for two lets two in, and nobody looks in vain but the
//! one behind them. Who waits for one thing is not held up by those who wait for another: a queue
//! has as many lines as that needs, and one bound for all.
//!
//! Nobody is forgotten. Who waits is counted in before he looks for the last time, and who makes
//! room does so before he asks whether anybody waits; both pairs are sequentially consistent, so at
//! least one of the two sees the other. A call to one who is just leaving goes to the next.
//!
//! And nobody is held up by one who cannot look, as on a worker that is stopped: who has been
//! called a while ago and has not looked is passed over, with all who wait on the same thread,
//! until that does anything here. Whether it is so is seen by whoever makes room or joins; and by
//! those behind, now and then, since room may be made once and never again.
//!
//! Who came in and has to come back stands where he stood: an [`Arrival`] says when somebody came,
//! and lines are kept in its order. Or clients take turns in a line, and its newest is first once
//! somebody has waited in vain: see [`Order`].
//!
//! Use: [`Queue::join`] for those that [`Queue::is_next`] or [`Queue::is_empty`] sends behind
//! others, or that find no room; then [`InLine::turn`]. Whatever makes room says so by
//! [`Queue::call`]; what may make room for anybody, as a reload does, by [`Queue::call_all`]. How
//! many may wait, and for how long, is for those to say who wait: it may be another number after a
//! reload, and the queue stays.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

mod line;

pub use line::Order;

use line::{Left, Line};

/// Those that wait at one limit, in lines that `L` names.
#[derive(Debug)]
pub struct Queue<L = ()> {
    /// Over all lines. Changed only while they are locked.
    waiting: AtomicUsize,
    /// Of whoever comes next.
    arrivals: AtomicU64,
    lines: Mutex<Lines<L>>,
    /// Who has been called so long ago and has not looked is asleep.
    asleep_after: Duration,
}

/// When somebody came to a queue, against others.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    number: u64,
    /// Whether he has stood in line before.
    has_waited: bool,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the line"]
pub struct InLine<L: Copy + Ord = ()> {
    queue: Arc<Queue<L>>,
    line: L,
    client: u64,
    arrival: Arrival,
    call: Arc<Notify>,
    /// What came of it: [`WAITS`], [`FOUND`] or [`LATE`].
    end: AtomicU8,
}

/// Still.
const WAITS: u8 = 0;
/// It has what it waited for.
const FOUND: u8 = 1;
/// Its time was over first.
const LATE: u8 = 2;

/// None of them is empty.
type Lines<L> = BTreeMap<L, Line<Waiter>>;

/// Who waits.
#[derive(Debug)]
struct Waiter {
    call: Arc<Notify>,
    /// Where he waits: what stops one there stops all.
    thread: ThreadId,
}

/// Where one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Behind,
    /// Nowhere any more: another one needed the place.
    PushedOut,
}

impl<L: Copy + Ord> Queue<L> {
    /// For one that comes now.
    pub fn arrive(&self) -> Arrival {
        Arrival {
            // Nothing is published through it.
            number: self.arrivals.fetch_add(1, Relaxed),
            has_waited: false,
        }
    }

    /// Whether nobody waits in a line.
    pub fn is_empty(&self, line: L) -> bool {
        self.waiting.load(SeqCst) == 0 || !self.lines().contains_key(&line)
    }

    /// Whether anybody waits, in whatever line. Costs one load.
    pub fn is_used(&self) -> bool {
        self.waiting() > 0
    }

    /// Those that wait, in all lines.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Whether the newest is first in a line, since somebody waited there in vain.
    pub fn is_newest_first(&self, line: L) -> bool {
        self.is_used() && self.lines().get(&line).is_some_and(Line::is_stale)
    }

    /// Whether nobody who waits in a line came earlier, in one that is in the order of arrival.
    pub fn is_next(&self, line: L, arrival: Arrival) -> bool {
        if !self.is_used() {
            return true;
        }
        let lines = self.lines();
        let known = lines.get(&line);
        known.is_none_or(|line| line.first() > arrival.number)
    }

    /// Joins those who wait in a line, behind those who came earlier; `None` if so many wait in the
    /// queue already. Who has waited before is let back in all the same: he had a place among them,
    /// and there are no more of his kind than there was room for.
    pub fn join(self: &Arc<Self>, line: L, arrival: Arrival, at_most: usize) -> Option<InLine<L>> {
        self.join_in(line, arrival, Order::OF_ARRIVAL, at_most)
    }

    /// The same of a line that is in another order, which is one for all in it. Who has more
    /// waiting there than this client would have makes room for it.
    pub fn join_in(
        self: &Arc<Self>,
        line: L,
        arrival: Arrival,
        order: Order,
        at_most: usize,
    ) -> Option<InLine<L>> {
        let now = Instant::now();
        let mut lines = self.lines();
        if self.waiting.load(SeqCst) >= at_most && !arrival.has_waited {
            let out = lines.get_mut(&line)?.push_out(order.client, now)?;
            self.waiting.fetch_sub(1, SeqCst);
            out.call.notify_one();
        }
        self.waiting.fetch_add(1, SeqCst);
        // What there is room for may be read loosely afterwards.
        fence(SeqCst);
        let call: Arc<Notify> = Arc::default();
        let joined = lines.entry(line).or_insert_with(Line::new);
        let thread = thread::current().id();
        let waiter = Waiter {
            call: Arc::clone(&call),
            thread,
        };
        joined.join(arrival.number, order, waiter, now);
        joined.wake(|other| other.thread == thread);
        // Who joins looks by himself.
        let before = [joined.first(), arrival.number];
        self.pass_over_sleepers(joined, now);
        call_if(joined, now, |first| !before.contains(&first));
        Some(InLine {
            queue: Arc::clone(self),
            line,
            client: order.client,
            arrival: Arrival {
                has_waited: true,
                ..arrival
            },
            call,
            end: AtomicU8::new(WAITS),
        })
    }

    /// There may be room for one who waits in any of these lines: the first of each looks.
    pub fn call(&self, lines: &[L]) {
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let (mut known, now) = (self.lines(), Instant::now());
        for line in lines {
            if let Some(line) = known.get_mut(line) {
                self.call_first(line, now);
            }
        }
    }

    /// There may be room for anybody: the first of every line looks.
    pub fn call_all(&self) {
        // What was changed may have been written loosely.
        fence(SeqCst);
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let now = Instant::now();
        for line in self.lines().values_mut() {
            self.call_first(line, now);
        }
    }

    fn call_first(&self, line: &mut Line<Waiter>, now: Instant) {
        self.pass_over_sleepers(line, now);
        call_if(line, now, |_| true);
    }

    fn pass_over_sleepers(&self, line: &mut Line<Waiter>, now: Instant) {
        // Whose turn it is may be another's by now than when he was told.
        let first = line.choose(now).map(|first| first.thread);
        let is_asleep = line.told_for(now) >= Some(self.asleep_after);
        // Who waits on this very thread looks once it has done what it does.
        if let Some(thread) = first
            && is_asleep
            && thread != thread::current().id()
        {
            line.pass_over(|waiter| waiter.thread == thread);
        }
    }

    /// A panic elsewhere cannot leave the lines half-changed.
    fn lines(&self) -> MutexGuard<'_, Lines<L>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Default for Queue<L> {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            arrivals: AtomicU64::new(0),
            lines: Mutex::new(BTreeMap::new()),
            asleep_after: ASLEEP_AFTER,
        }
    }
}

impl<L: Copy + Ord> InLine<L> {
    /// When this one came: with it, it comes back to where it stood.
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// That it has found what it waited for although nobody asked whether it is its turn.
    pub fn has_found(&self) {
        self.end.store(FOUND, Relaxed);
    }

    /// That its time is over, before it was its turn.
    pub fn is_late(&self) {
        self.end.store(LATE, Relaxed);
    }

    /// Looks by `look` once this one is the first, and again whenever it is called, until that
    /// finds something; `None` once it has lost its place to another one. `again` is for room that
    /// nobody tells of: so often the first looks without being called. The caller sets the time
    /// limit.
    pub async fn turn<T>(
        &self,
        again: Option<Duration>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        // Twice as long each time: a thousand that wait shall not look all the time.
        let mut watch = self.queue.asleep_after;
        loop {
            let place = self.place();
            let is_first = place == Place::First;
            if place == Place::PushedOut {
                return None;
            }
            if is_first && let Some(found) = look() {
                self.has_found();
                return Some(found);
            }
            // A call that comes meanwhile is kept until it is awaited. Who comes to the front is
            // called.
            let called = self.call.notified();
            let limit = if is_first { again } else { Some(watch) };
            match limit {
                Some(limit) => {
                    let is_over = timeout(limit, called).await.is_err();
                    if is_over && !is_first {
                        watch = watch.saturating_mul(2);
                    }
                }
                None => called.await,
            }
        }
    }

    /// Where he stands who is about to look.
    fn place(&self) -> Place {
        let number = self.arrival.number;
        let mut lines = self.queue.lines();
        let Some(line) = lines.get_mut(&self.line) else {
            return Place::PushedOut;
        };
        let Some(thread) = line.find(number, self.client).map(|own| own.thread) else {
            return Place::PushedOut;
        };
        line.looks(number);
        let before = [line.first(), number];
        let is_awake = line.wake(|other| other.thread == thread);
        if is_awake || before[0] != number {
            let now = Instant::now();
            self.queue.pass_over_sleepers(line, now);
            call_if(line, now, |first| !before.contains(&first));
        }
        if line.first() == number {
            Place::First
        } else {
            Place::Behind
        }
    }
}

impl<L: Copy + Ord> Drop for InLine<L> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut lines = self.queue.lines();
        let Some(line) = lines.get_mut(&self.line) else {
            return;
        };
        let number = self.arrival.number;
        let before = line.first();
        let why = match self.end.load(Relaxed) {
            FOUND => Left::Served,
            LATE => Left::Late,
            _ => Left::Gone,
        };
        let Some(Waiter { thread, .. }) = line.leave(number, self.client, why, now) else {
            return;
        };
        line.wake(|other| other.thread == thread);
        self.queue.waiting.fetch_sub(1, SeqCst);
        if line.is_empty() {
            lines.remove(&self.line);
            return;
        }
        call_if(line, now, |first| first != before);
    }
}

/// Decides whose turn it is, and calls him if he is to be called.
fn call_if(line: &mut Line<Waiter>, now: Instant, is_called: impl FnOnce(u64) -> bool) {
    let Some(call) = line.choose(now).map(|first| Arc::clone(&first.call)) else {
        return;
    };
    if is_called(line.first()) {
        call.notify_one();
        line.has_told(now);
    }
}

/// A worker does what it has to do in less, however much that is, unless something stops it.
const ASLEEP_AFTER: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
