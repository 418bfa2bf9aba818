//! What a pick compares endpoints by, besides what is in flight: failures, speed, and how long each
//! has been in service. The last is asked for only when a table is made.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Live;
use super::score::{Latency, Penalty, REQUEST};
use super::slowness::Slowness;

/// Where it is kept.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Compared {
    pub(super) penalty: Penalty,
    pub(super) latency: Latency,
    pub(super) slowness: Slowness,
    /// In flight, and the answer has begun: nobody learns anything from how long it goes on. Only
    /// where the latency is learned.
    pub(super) answered: AtomicU32,
}

impl Live {
    /// What its failures count as beside what is in flight, in parts of a request
    /// ([`REQUEST`](crate::endpoint::REQUEST)). Costs one load where nothing failed.
    #[inline]
    pub fn penalty(&self, now: Instant) -> u32 {
        self.penalty_at(|| self.millis(now))
    }

    /// The same at a time that is known in milliseconds ([`Live::millis`]).
    #[inline]
    pub(crate) fn penalty_at(&self, now: impl FnOnce() -> u64) -> u32 {
        self.compared.penalty.at(now)
    }

    /// The same in requests, rounded up: for people.
    pub fn penalty_in_requests(&self, now: Instant) -> u32 {
        let requests = u64::from(self.penalty(now)).div_ceil(REQUEST);
        u32::try_from(requests).unwrap_or(u32::MAX)
    }

    /// Whether nothing but failures was heard of it lately.
    pub fn only_fails(&self) -> bool {
        self.compared.penalty.only_fails()
    }

    /// How long an answer of it may take, in microseconds; `None` while that is not known.
    #[inline]
    pub fn latency(&self, now: Instant) -> Option<f32> {
        self.latency_at(self.millis(now))
    }

    /// The same at a time that is known in milliseconds ([`Live::millis`]).
    #[inline]
    pub(crate) fn latency_at(&self, now: u64) -> Option<f32> {
        let answered = self.compared.answered.load(Ordering::Relaxed);
        let is_idle = self.in_flight() <= answered;
        self.compared.latency.at(now, is_idle)
    }

    /// Takes in that a request failed there, or was turned away. `stay_away` is what the endpoint
    /// asked for.
    pub fn penalize(&self, now: Instant, stay_away: Option<Duration>) {
        let now = self.epoch.millis(now);
        self.compared.penalty.failed(now, stay_away);
        self.compared.latency.failed(now);
    }

    /// Forgets the failures: it gets another chance.
    pub(crate) fn forget_penalty(&self) {
        self.compared.penalty.forget();
    }

    /// Takes in that a request succeeded. Costs one load where nothing failed.
    #[inline]
    pub fn succeeded(&self, now: impl FnOnce() -> Instant) {
        let penalty = &self.compared.penalty;
        // The end of an answer that began far too late is no better news than its beginning.
        if penalty.is_frozen() && !self.compared.slowness.is_present() {
            penalty.thaw(self.epoch.millis(now()));
        }
    }

    /// The answer to one of those in flight has begun.
    pub(super) fn begin_answer(&self) {
        self.compared.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// One whose answer had begun is no longer in flight.
    pub(super) fn end_answer(&self) {
        self.compared.answered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in that no answer had begun after so long: that is never good news.
    pub fn took_longer(&self, now: Instant, than: Duration) {
        let micros = than.as_secs_f32() * 1e6;
        if self.latency(now).is_none_or(|known| known < micros) {
            self.took(now, than);
        }
    }

    /// Takes in how long it took to begin an answer.
    pub fn took(&self, now: Instant, took: Duration) {
        self.compared.latency.learn(self.epoch.millis(now), took);
    }

    /// Since when it gets traffic; `None` if that was not told.
    pub fn in_service_since(&self) -> Option<Instant> {
        let millis = self.in_service.load(Ordering::Relaxed);
        let millis = millis.checked_sub(1)?;
        Some(self.epoch.instant(millis))
    }

    /// Tells that it gets traffic since then.
    pub(crate) fn set_in_service(&self, since: Instant) {
        let millis = self.epoch.millis(since) + 1;
        self.in_service.store(millis, Ordering::Relaxed);
    }
}
