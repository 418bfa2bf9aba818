//! The live state of one endpoint: atomics that all workers share.

mod removal;
mod waiters;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::time::Instant;

pub use waiters::Waiter;

use self::removal::Removal;
use self::waiters::Waiters;
use super::backoff::{ConnectBackoff, Failed};
use super::health::Health;
use super::idle::IdleClose;
use super::{IdleRequests, ProbeRequests, Queue};

/// What is known about one endpoint of one upstream. Survives reloads.
///
/// Counters are relaxed: each is a fact of its own, nothing is published through them. The count of
/// connections is not, for somebody may wait for it to change: see [`Waiter`].
#[derive(Debug)]
pub struct Live {
    id: u64,
    in_flight: AtomicU32,
    /// Who waits for it, or for another of its upstream, to have room.
    queue: Arc<Queue>,
    /// Requests at once on one connection, as the endpoint said last; `u32::MAX` if it never did.
    carried: AtomicU32,
    waiters: Waiters,
    health: AtomicU8,
    is_probed: AtomicBool,
    probe_is_wanted: AtomicBool,
    backoff: ConnectBackoff,
    removal: Removal,
    idle: IdleClose,
    verdict: Mutex<Option<Verdict>>,
    epoch: Epoch,
    requests: Arc<ProbeRequests>,
    idle_requests: IdleRequests,
}

/// Why the health is what it is, and since when.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// When the health last changed.
    pub since: Instant,
    /// The reason in words.
    pub why: Arc<str>,
}

/// One request, or tunnel, that is in flight at an endpoint. Dropping it ends the count.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct InFlight {
    live: Arc<Live>,
}

/// One connection that stands, or is being made, to an endpoint. Dropping it ends the count.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct OpenConnection {
    live: Arc<Live>,
}

/// The instant from which milliseconds are counted, so that a time fits an atomic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch(pub(super) Instant);

impl Live {
    pub(super) fn new(
        id: u64,
        epoch: Epoch,
        queue: Arc<Queue>,
        (requests, idle_requests): (Arc<ProbeRequests>, IdleRequests),
    ) -> Self {
        Self {
            id,
            in_flight: AtomicU32::new(0),
            queue,
            carried: AtomicU32::new(u32::MAX),
            waiters: Waiters::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            is_probed: AtomicBool::new(false),
            probe_is_wanted: AtomicBool::new(false),
            backoff: ConnectBackoff::default(),
            removal: Removal::default(),
            idle: IdleClose::default(),
            verdict: Mutex::new(None),
            epoch,
            requests,
            idle_requests,
        }
    }

    /// A number that no other endpoint of this process has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Requests in flight, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            live: Arc::clone(self),
        }
    }

    /// Counts a request in unless `max` are in flight already; `u32::MAX` is no limit.
    pub fn try_begin(self: &Arc<Self>, max: u32) -> Option<InFlight> {
        count_in(&self.in_flight, max, Ordering::Relaxed).then(|| InFlight {
            live: Arc::clone(self),
        })
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

    /// Sets the verdict without telling anybody. Only the upstream does so, which
    /// rebuilds its table.
    pub(crate) fn set_health(&self, health: Health, verdict: Option<Verdict>) -> Health {
        if let Ok(mut known) = self.verdict.lock() {
            *known = verdict;
        }
        Health::from_u8(self.health.swap(health as u8, Ordering::Relaxed))
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

    fn fail(&self, now: Instant, how: Failed) {
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
        self.backoff.has_failed() && self.backoff.is_active(self.epoch.millis(now))
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

    /// Asks for a probe at once, if the endpoint is probed at all and none is asked for yet.
    pub fn request_probe(&self) {
        if self.is_probed.load(Ordering::Relaxed)
            && !self.probe_is_wanted.swap(true, Ordering::Relaxed)
        {
            self.requests.push(self.id);
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

impl Drop for InFlight {
    fn drop(&mut self) {
        // Before it is asked whether anybody waits for it.
        self.live.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.live.queue.freed(&self.live);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.live.waiters.close();
    }
}

impl Epoch {
    fn millis(self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX >> 8)
    }

    /// The inverse, up to a millisecond.
    fn instant(self, millis: u64) -> Instant {
        self.0 + Duration::from_millis(millis)
    }
}

/// Adds one unless `max` is reached. Never passes `max` even for a moment, which an add that is
/// taken back would: it would turn others away for nothing.
fn count_in(counter: &AtomicU32, max: u32, order: Ordering) -> bool {
    if max == u32::MAX {
        counter.fetch_add(1, order);
        return true;
    }
    counter
        .fetch_update(order, order, |count| (count < max).then_some(count + 1))
        .is_ok()
}

#[cfg(test)]
mod tests;
