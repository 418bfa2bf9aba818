//! The live state of one endpoint: atomics that all workers share.

mod compared;
mod epoch;
mod in_flight;
mod kept;
mod passive;
mod removal;
mod score;
mod silence;
mod slowness;
mod tally;
mod unreachable;
mod waiters;

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::time::Instant;

pub use in_flight::{Held, InFlight};
pub use kept::Kept;
pub(crate) use passive::Of;
pub use score::REQUEST;
pub use slowness::TooSlow;
pub use tally::{Reading, SLOTS, Trial, times_of};
pub use waiters::Waiter;

use self::compared::Compared;
pub(super) use self::epoch::Epoch;
use self::removal::Removal;
use self::silence::Silence;
use self::tally::Tally;
use self::unreachable::Unreachable;
use self::waiters::Waiters;
use super::backoff::{ConnectBackoff, Failed};
use super::health::Health;
use super::idle::IdleClose;
use super::shedding::Shedding;
use super::{Ejection, IdleRequests, Line, ProbeRequests, Suspects};
use crate::queue::Queue;

/// What is known about one endpoint of one upstream. Survives reloads.
///
/// Counters are relaxed: each is a fact of its own, nothing is published through them. The count of
/// connections is not, for somebody may wait for it to change: see [`Waiter`].
///
/// What a first attempt reads of it, and counts, is in the first line of the cache. With thousands
/// of endpoints each further one would be as dear as all else that a pick does.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Live {
    in_flight: AtomicU32,
    /// Requests at once on one connection, as the endpoint said last; `u32::MAX` if it never did.
    carried: AtomicU32,
    backoff: ConnectBackoff,
    compared: Compared,
    /// In flight at all endpoints of its upstream.
    together: Arc<AtomicU32>,
    /// Who waits for it, or for another of its upstream, to have room.
    queue: Arc<Queue<Line>>,
    // Here the next line begins.
    id: u64,
    epoch: Epoch,
    /// When it came into service, in milliseconds of the epoch and one more; 0 if that is so long
    /// ago that nobody asks.
    in_service: AtomicU64,
    waiters: Waiters,
    health: AtomicU8,
    is_probed: AtomicBool,
    probe_is_wanted: AtomicBool,
    tally: Tally,
    removal: Removal,
    idle: IdleClose,
    shedding: Shedding,
    silence: Silence,
    unreachable: Unreachable,
    verdict: Mutex<Option<Verdict>>,
    told: Told,
}

/// Where other parts of the process are told something, for all endpoints.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) requests: Arc<ProbeRequests>,
    pub(super) suspects: Arc<Suspects>,
    pub(super) idle_requests: IdleRequests,
}

/// Why the health is what it is, and since when.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// When the health last changed.
    pub since: Instant,
    /// The reason in words.
    pub why: Arc<str>,
    /// The ejection, if it is one.
    pub ejection: Option<Ejection>,
}

/// One connection that stands, or is being made, to an endpoint. Dropping it ends the count.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct OpenConnection {
    live: Arc<Live>,
}

impl Live {
    pub(super) fn new(
        id: u64,
        epoch: Epoch,
        (together, queue): (Arc<AtomicU32>, Arc<Queue<Line>>),
        told: Told,
    ) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            carried: AtomicU32::new(u32::MAX),
            backoff: ConnectBackoff::default(),
            compared: Compared::default(),
            together,
            queue,
            id,
            epoch,
            in_service: AtomicU64::new(0),
            waiters: Waiters::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            is_probed: AtomicBool::new(false),
            probe_is_wanted: AtomicBool::new(false),
            tally: Tally::default(),
            removal: Removal::default(),
            idle: IdleClose::default(),
            shedding: Shedding::default(),
            silence: Silence::default(),
            unreachable: Unreachable::default(),
            verdict: Mutex::new(None),
            told,
        }
    }

    /// A number that no other endpoint of this process has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Requests at once that the endpoint takes on one connection, as it said last; `u32::MAX`
    /// while that is not known.
    pub fn carried(&self) -> u32 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Takes in how many requests at once the endpoint takes on one connection. None at all is for
    /// a short while (RFC 9113 §5.1.2), and told as one.
    pub fn carries(&self, requests: u32) {
        let requests = requests.max(1);
        if self.carried() != requests {
            self.carried.store(requests, Ordering::Relaxed);
        }
    }

    /// Open connections, over all workers.
    pub fn connections(&self) -> u32 {
        self.waiters.open()
    }

    /// Counts a connection in unless `max` are open already; `u32::MAX` is no limit.
    pub fn open_connection(self: &Arc<Self>, max: u32) -> Option<OpenConnection> {
        self.waiters.try_open(max).then(|| OpenConnection {
            live: Arc::clone(self),
        })
    }

    /// Waits until a connection can be counted in, and has the workers close idle ones for it. For
    /// requests that are in flight here, whose number no limit of connections may be below: of them
    /// nobody waits in vain. The caller sets the time limit all the same, since a worker
    /// may be held up.
    pub fn wait_for_connection(self: &Arc<Self>, max: u32) -> Waiter {
        Waiter::new(self, max)
    }

    /// Whether connections may be kept idle. Costs one load.
    pub fn may_rest(&self) -> bool {
        self.waiters.may_rest()
    }

    /// The verdict of the health checks.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed))
    }

    /// Why the health is what it is, once a verdict was given.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().ok()?.clone()
    }

    /// Sets the verdict without telling anybody. Only the upstream does so, which rebuilds its
    /// table, and then lets all requests go there if it is half-open no more ([`Live::open`]).
    pub(crate) fn set_health(&self, health: Health, verdict: Option<Verdict>) -> Health {
        if let Ok(mut known) = self.verdict.lock() {
            *known = verdict;
        }
        if health == Health::HalfOpen {
            // Before a table lets anything go there.
            self.half_open(Instant::now());
        }
        let before = Health::from_u8(self.health.swap(health as u8, Ordering::Relaxed));
        if health == Health::Healthy && before != Health::Healthy {
            self.forgive();
            self.shedding.forget();
        }
        before
    }

    /// Whether a reload removed the endpoint: what runs may finish, idle connections are dropped.
    pub fn is_retired(&self) -> bool {
        self.waiters.is_retired()
    }

    pub(crate) fn set_retired(&self, is_retired: bool) {
        self.waiters.set_retired(is_retired);
        if !is_retired {
            self.removal.set(None);
        }
    }

    /// Retires the endpoint; the tunnels to it end then, if that is said.
    pub(crate) fn retire(&self, end_of_tunnels: Option<Instant>) {
        self.set_retired(true);
        let end = end_of_tunnels.map(|end| self.epoch.millis(end));
        self.removal.set(end);
    }

    /// When tunnels to it have to end, if they have to: it was taken out of its upstream.
    pub fn end_of_tunnels(&self) -> Option<Instant> {
        self.removal.end().map(|end| self.epoch.instant(end))
    }

    /// How often that has become another: what is cheap to ask.
    pub fn changes_of_end(&self) -> u32 {
        self.removal.changes()
    }

    /// Ready once that is another. Whoever makes it before it asks misses nothing.
    pub fn end_of_tunnels_changed(&self) -> Notified<'_> {
        self.removal.changed()
    }

    /// Takes in that a connection could not be made: for a second, doubling up to ten, the endpoint
    /// is picked only if nothing else is left. Asks for a probe.
    pub fn connect_failed(&self, now: Instant) {
        self.fail(now, Failed::Connecting);
    }

    /// The same of a connection that stood, and died before a byte of the first response.
    pub fn died_unanswered(&self, now: Instant) {
        self.fail(now, Failed::Unanswered);
    }

    /// The same where nothing was heard of it at all: those who try it as long as nothing else is
    /// left wait in vain, so that hardly anybody should.
    pub fn connect_timed_out(&self, now: Instant) {
        self.leave_alone(now, Failed::Connecting);
        self.unreachable.begin(self.tally.heads(), self.millis(now));
    }

    /// Whether nobody else waits in vain already at an endpoint of which nothing is heard.
    #[inline]
    pub(crate) fn may_be_tried_at(&self, now: impl FnOnce() -> u64) -> bool {
        self.unreachable.may_be_tried(now)
    }

    /// Whether this one may try it, as the only one for a while.
    pub(crate) fn try_it(&self, now: Instant) -> bool {
        self.unreachable.try_it(self.millis(now))
    }

    fn fail(&self, now: Instant, how: Failed) {
        self.unreachable.end();
        self.leave_alone(now, how);
    }

    fn leave_alone(&self, now: Instant, how: Failed) {
        if self.backoff.fail(self.epoch.millis(now), how) {
            self.request_probe();
        }
    }

    /// Takes in that a connection stands on which nothing has been said. That is no proof if the
    /// last one stood as well, and died.
    pub fn connected(&self) {
        self.backoff.connected();
    }

    /// Takes in that the endpoint proved to be well. Cheap: one load if nothing had failed.
    pub fn connect_succeeded(&self) {
        self.backoff.succeed();
    }

    /// Whether picks should leave the endpoint alone for now.
    pub fn is_backing_off(&self, now: Instant) -> bool {
        self.is_backing_off_at(|| self.millis(now))
    }

    /// The same of a time that is known in milliseconds ([`Live::millis`]).
    #[inline]
    pub(crate) fn is_backing_off_at(&self, now: impl FnOnce() -> u64) -> bool {
        self.backoff.has_failed() && self.backoff.is_active(now())
    }

    /// A time as all endpoints count it: whoever asks many of them asks one for it.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        self.epoch.millis(now)
    }

    /// Whether a request may go there: always if nothing failed. After a backoff one caller is let
    /// through to try; the others wait a second more for its result.
    pub fn admit(&self, now: Instant) -> bool {
        !self.backoff.has_failed() || self.backoff.admit(self.epoch.millis(now))
    }

    /// Takes in that a probe passed on the address that requests use: the next request may try.
    pub fn probe_passed(&self, now: Instant) {
        self.backoff.cut_short(self.epoch.millis(now));
    }

    /// How long a connection may be idle so that we close it before the endpoint does; `None` while
    /// the endpoint's own time is not known.
    pub fn idle_limit(&self) -> Option<Duration> {
        self.idle.limit(|| self.epoch.millis(Instant::now()))
    }

    /// Takes in that the endpoint closed a connection that had been idle for `idle_for`.
    pub fn learn_idle_close(&self, idle_for: Duration) {
        self.idle.learn(idle_for, self.epoch.millis(Instant::now()));
    }

    /// Takes in that the endpoint sheds load, and wants nothing for so long that need not be; a
    /// minute at most.
    pub fn sheds_for(&self, time: Duration, now: Instant) {
        let time = time.min(SHEDS_AT_MOST);
        self.shedding.until(self.epoch.millis(now + time));
    }

    /// Whether retries and hedges should leave the endpoint alone.
    pub fn is_shedding(&self, now: Instant) -> bool {
        self.shedding.is_active(self.epoch.millis(now))
    }

    /// Asks for a probe at once, if the endpoint is probed at all and none is asked for yet.
    pub fn request_probe(&self) {
        if self.is_probed.load(Ordering::Relaxed)
            && !self.probe_is_wanted.swap(true, Ordering::Relaxed)
        {
            self.told.requests.push(self.id);
        }
    }

    /// Tells whether somebody probes this endpoint and so takes requests for it.
    pub fn set_probed(&self, is_probed: bool) {
        self.is_probed.store(is_probed, Ordering::Relaxed);
        self.probe_is_wanted.store(false, Ordering::Relaxed);
    }

    /// Tells that a requested probe was taken up, so that the next request is queued again.
    pub fn take_probe_request(&self) {
        self.probe_is_wanted.store(false, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.live.waiters.close();
    }
}

/// What is behind it is for the end of a request, for the control plane, or told seldom.
const _: () = assert!(offset_of!(Live, id) == 64);

/// Who asks for an hour means that he is away; that is for health checks to find out.
const SHEDS_AT_MOST: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
