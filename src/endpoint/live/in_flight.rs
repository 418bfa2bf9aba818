//! The guard of what is in flight at an endpoint.
//!
//! It holds the endpoint, or only the live state where no endpoint is at hand. Not both: each count
//! of who holds what is a line of the cache that all workers write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Live, Of};
use crate::endpoint::backoff::Through;
use crate::endpoint::{Endpoint, Line};

/// One request, or tunnel, that is in flight at an endpoint. Dropping it ends the count.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct InFlight<H: Held = Arc<Live>> {
    held: H,
    /// Set if it tries an endpoint that is half-open.
    tries: Option<Through>,
    is_answered: bool,
}

/// What leads to the state in which something is counted as in flight, and keeps it.
pub trait Held: Clone {
    /// That state.
    fn live(&self) -> &Live;
}

impl Held for Arc<Live> {
    fn live(&self) -> &Live {
        self
    }
}

impl Held for Arc<Endpoint> {
    fn live(&self) -> &Live {
        &self.live
    }
}

impl<H: Held> InFlight<H> {
    /// The guard of what has been counted in.
    pub(super) fn new(held: &H) -> Self {
        Self {
            held: held.clone(),
            tries: None,
            is_answered: false,
        }
    }

    /// Where it is in flight.
    pub fn held(&self) -> &H {
        &self.held
    }

    /// It was let through to an endpoint, after it had a place there: if that is half-open, how it
    /// ends decides whether the endpoint comes back.
    pub(crate) fn let_through(mut self) -> Self {
        self.tries = self.held.live().backoff.begin();
        self
    }

    /// Its answer has begun. What goes on for hours, as a tunnel does, is no sign that none comes.
    pub fn answered(&mut self) {
        if !self.is_answered {
            self.is_answered = true;
            self.held.live().begin_answer();
        }
    }

    /// Which attempt it is, for who tells how that ended.
    pub(crate) fn of(&self) -> Of {
        Of::Pick(self.tries)
    }
}

impl Live {
    /// Requests in flight, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.together.fetch_add(1, Ordering::Relaxed);
        InFlight::new(self)
    }

    /// Counts a request in unless `max` are in flight here already, or `max_together` at all
    /// endpoints of the upstream; `u32::MAX` is no limit.
    pub fn try_begin(self: &Arc<Self>, max: u32, max_together: u32) -> Option<InFlight> {
        let is_in = self.try_count_in(max, max_together);
        is_in.then(|| InFlight::new(self))
    }

    /// The same for who holds the endpoint itself, at which this is.
    pub(crate) fn try_begin_at(
        &self,
        endpoint: &Arc<Endpoint>,
        max: u32,
        max_together: u32,
    ) -> Option<InFlight<Arc<Endpoint>>> {
        debug_assert!(std::ptr::eq(self, &raw const *endpoint.live));
        let is_in = self.try_count_in(max, max_together);
        is_in.then(|| InFlight::new(endpoint))
    }

    #[inline]
    fn try_count_in(&self, max: u32, max_together: u32) -> bool {
        if !count_in(&self.in_flight, max, Ordering::Relaxed) {
            return false;
        }
        if !count_in(&self.together, max_together, Ordering::Relaxed) {
            // Somebody may have found no room here for it.
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.call();
            return false;
        }
        true
    }

    /// Requests in flight at all endpoints of the upstream, over all workers.
    pub fn together(&self) -> u32 {
        self.together.load(Ordering::Relaxed)
    }

    /// There may be room for those that wait.
    #[inline]
    fn call(&self) {
        // As `call` asks itself: but which lines these are stands in another line of the cache.
        if !self.queue.is_used() {
            return;
        }
        let lines = [Line::Any, Line::Requests, Line::Only(self.id)];
        self.queue.call(&lines);
    }
}

impl<H: Held> Drop for InFlight<H> {
    fn drop(&mut self) {
        let live = self.held.live();
        if let Some(through) = self.tries {
            live.backoff.end(through);
        }
        if self.is_answered {
            live.end_answer();
        }
        // Before it is asked whether anybody waits for it.
        live.in_flight.fetch_sub(1, Ordering::SeqCst);
        live.together.fetch_sub(1, Ordering::SeqCst);
        live.call();
    }
}

/// Adds one unless `max` is reached. Never passes `max` even for a moment, which an add that is
/// taken back would: it would turn others away for nothing.
pub(super) fn count_in(counter: &AtomicU32, max: u32, order: Ordering) -> bool {
    if max == u32::MAX {
        counter.fetch_add(1, order);
        return true;
    }
    counter
        .fetch_update(order, order, |count| (count < max).then_some(count + 1))
        .is_ok()
}
