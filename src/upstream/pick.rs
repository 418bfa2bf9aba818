//! The pick: which endpoint gets this request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use tokio::time::Instant;

use super::wish::{Takes, Wish};
use super::{Mark, Upstream};
use crate::config::Balance;
use crate::endpoint::{Endpoint, InFlight, Of, Outcome};

/// An endpoint that was picked. Counts as in flight there until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count of the request in flight"]
pub struct Pick {
    in_flight: InFlight<Arc<Endpoint>>,
}

impl Pick {
    /// Where the request goes.
    #[inline]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.held()
    }

    /// The answer has begun. Told where how long that takes is compared.
    #[inline]
    pub fn answered(&mut self) {
        if self.endpoint().learns_latency {
            self.in_flight.answered();
        }
    }

    /// Takes in how the attempt ended that it was picked for: [`Endpoint::learn`].
    #[inline]
    pub fn learn(&self, outcome: Outcome, now: Instant) -> bool {
        self.learn_at(outcome, || now)
    }

    /// The same of one that ends at this moment: the clock is read only where it matters.
    #[inline]
    pub(crate) fn learn_at(&self, outcome: Outcome, now: impl Fn() -> Instant) -> bool {
        self.endpoint().learn_of(self.of(), outcome, now)
    }

    /// Which attempt it is for, where that is told by another one than who holds this.
    pub(crate) fn of(&self) -> Of {
        self.in_flight.of()
    }

    /// The pick of an endpoint that is the only one, for a session that takes a connection for
    /// itself, unless it is at its limit.
    pub fn only(endpoint: &Arc<Endpoint>) -> Result<Self, PickError> {
        let in_flight = endpoint.try_begin_session();
        let in_flight = in_flight.ok_or(PickError::AllAtLimit)?.let_through();
        Ok(in_flight.into())
    }
}

impl From<InFlight<Arc<Endpoint>>> for Pick {
    #[inline]
    fn from(in_flight: InFlight<Arc<Endpoint>>) -> Self {
        Self { in_flight }
    }
}

/// What a client has to do with some endpoint rather than another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ties {
    /// The same for all that belongs together; some algorithms give it the same endpoint each time.
    pub key: Option<u64>,
    /// The endpoint that it is to have as long as that is well.
    pub mark: Option<Mark>,
}

/// Why no endpoint can be picked. Neither is the fault of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none that may be used (503, destination unavailable).
    #[error("no endpoint may be used")]
    NoEndpoints,
    /// Every one carries as much as its limits allow (503, overload: try again soon).
    #[error("every endpoint is at its limit")]
    AllAtLimit,
}

/// Whether who picks may wait for an endpoint that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// He waits in turn; or his client does, who is told when to come again.
    MayWait,
    /// Not, or no longer.
    Now,
}

impl From<Option<u64>> for Ties {
    fn from(key: Option<u64>) -> Self {
        Self { key, mark: None }
    }
}

impl Ties {
    pub(super) fn wish(
        self,
        tried: &[u64],
        (now, haste): (Instant, Haste),
        takes: Takes,
    ) -> Wish<'_> {
        Wish {
            tried,
            known: &[],
            far_from: &[],
            // Sessions know nothing of what answers say.
            spares_shedding: !tried.is_empty() && takes == Takes::Request,
            now,
            key: self.key,
            tie: self.mark,
            haste,
            takes,
        }
    }
}

impl Upstream {
    /// Picks an endpoint, preferring those whose [`Live::id`](crate::endpoint::Live::id) is not in
    /// `tried`. If all were tried it may be one of them again; but none of those that shed load,
    /// which want nothing a second time.
    pub fn pick(&self, tried: &[u64], random: &mut Rng, now: Instant) -> Result<Pick, PickError> {
        self.pick_for(Ties::default(), tried, random, now)
    }

    /// The same for one who has ties, such as the key of a client
    /// ([`client_key`](crate::balance::client_key)).
    pub fn pick_for(
        &self,
        ties: impl Into<Ties>,
        tried: &[u64],
        random: &mut Rng,
        now: Instant,
    ) -> Result<Pick, PickError> {
        self.pick_in(ties, tried, (now, Haste::MayWait), random)
    }

    /// The same for one that may wait: it gets none that lately failed while another one is merely
    /// at its limit.
    pub fn pick_in(
        &self,
        ties: impl Into<Ties>,
        tried: &[u64],
        when: (Instant, Haste),
        random: &mut Rng,
    ) -> Result<Pick, PickError> {
        let wish = ties.into().wish(tried, when, Takes::Request);
        self.pick_as(wish, random)
    }

    /// The same for a further attempt, where it is known who answered well lately: `known` has the
    /// last one first. Where many have begun to fail at the same time, nothing else tells those
    /// that do from those that do not. Not where the order of endpoints is by key or by hand.
    pub fn pick_again(
        &self,
        ties: impl Into<Ties>,
        (tried, known): (&[u64], &[u64]),
        when: (Instant, Haste),
        random: &mut Rng,
    ) -> Result<Pick, PickError> {
        let mut wish = ties.into().wish(tried, when, Takes::Request);
        match self.rules.balance {
            Balance::FirstHealthy | Balance::RingHash | Balance::Maglev => {}
            Balance::RoundRobin
            | Balance::LeastConnections
            | Balance::PowerOfTwo
            | Balance::PeakEwma
            | Balance::Random => wish.known = known,
        }
        self.pick_as(wish, random)
    }

    /// The same for a session, which takes a connection for itself.
    pub fn pick_by(
        &self,
        ties: impl Into<Ties>,
        tried: &[u64],
        when: (Instant, Haste),
        random: &mut Rng,
    ) -> Result<Pick, PickError> {
        let wish = ties.into().wish(tried, when, Takes::Connection);
        self.pick_as(wish, random)
    }

    /// Picks one for an attempt beside another: a candidate that is well as far as is known, sheds
    /// no load, has room and is not in `tried`. `None` where there is none, or where others wait.
    pub fn pick_beside(
        &self,
        ties: impl Into<Ties>,
        tried: &[u64],
        now: Instant,
        random: &mut Rng,
    ) -> Option<Pick> {
        if self.is_full() || self.has_waiting() {
            return None;
        }
        let wish = ties
            .into()
            .wish(tried, (now, Haste::MayWait), Takes::Request);
        let table = self.table.load();
        table.pick_beside(wish, random).map(Pick::from)
    }

    fn pick_as(&self, wish: Wish<'_>, random: &mut Rng) -> Result<Pick, PickError> {
        let table = self.table.load();
        if self.is_full() {
            return Err(table.why_none());
        }
        table.pick(wish, random).map(Pick::from)
    }

    /// What ties a client to an endpoint that has served it; `None` where nothing does, or where it
    /// is tied to another one that merely had no room, or failed this once.
    pub fn tie(&self, endpoint: &Endpoint, tied: Option<Mark>, now: Instant) -> Option<Mark> {
        let table = self.table.load();
        let mark = table.mark(endpoint)?;
        let is_kept = tied.is_some_and(|tied| tied == mark || table.is_tied(tied, now));
        if is_kept {
            return None;
        }
        let counts = &self.rules.ties;
        let count = tied.map_or(&counts.new, |_| &counts.again);
        count.fetch_add(1, Ordering::Relaxed);
        Some(mark)
    }
}
