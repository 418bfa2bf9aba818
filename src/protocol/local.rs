//! What the connections of one worker share.
//!
//! Everything here belongs to one thread, so nothing is locked; only the snapshot and the live
//! state of endpoints, which it leads to, are shared with other threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use http::HeaderValue;
use http::header::DATE;
use tokio::time::Instant;

use super::lately::Lately;
use crate::body::{ROOM, Room};
use crate::drain::Watchers;
use crate::message::{Fields, PreparedLine};
use crate::pool::Pool;
use crate::snapshot::{Cache, Snapshot};
use crate::telemetry::access::AccessLog;
use crate::telemetry::tcp::TcpSampler;
use crate::upstream::Upstream;

/// One worker's share of the data plane.
#[derive(Debug)]
pub struct Local {
    /// Idle connections to endpoints.
    pub pool: Rc<Pool>,
    /// Which endpoints answered well.
    pub lately: Lately,
    /// Memory for bodies that may have to be sent again.
    pub kept_bodies: Rc<Room>,
    /// Asks the kernel about the network.
    pub sampler: Rc<TcpSampler>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Whether the process is to end: from its start answers say `Connection: close`, and once
    /// accepting has ended connections without a request are closed.
    pub drain: Watchers,
    /// Connections that wait for a request.
    pub resting: Roster,
    snapshot: RefCell<Cache>,
    random: RefCell<fastrand::Rng>,
    date: Date,
}

/// Connections that wait for a request, so that all can be woken when they should end.
#[derive(Debug, Default)]
pub struct Roster {
    places: RefCell<Places>,
}

#[derive(Debug, Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A place in a [`Roster`], given back when it is dropped.
#[derive(Debug)]
pub struct Member {
    local: Rc<Local>,
    place: usize,
}

/// The `Date` field (RFC 9110 §6.6.1), formatted twice a second at most.
#[derive(Debug)]
struct Date {
    until: Cell<Option<Instant>>,
    line: RefCell<PreparedLine>,
}

impl Local {
    /// A worker's share. `seed` makes its random choices; they are not for secrets.
    pub fn new(
        snapshot: Cache,
        access_log: AccessLog,
        drain: impl Into<Watchers>,
        seed: u64,
    ) -> Rc<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let sampler = Rc::new(TcpSampler::new(random.fork()));
        Rc::new(Self {
            pool: Rc::new(Pool::new(&sampler)),
            lately: Lately::default(),
            kept_bodies: Room::new(ROOM),
            sampler,
            access_log,
            drain: drain.into(),
            resting: Roster::default(),
            snapshot: RefCell::new(snapshot),
            random: RefCell::new(random),
            date: Date {
                until: Cell::new(None),
                line: RefCell::new(date_line()),
            },
        })
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.snapshot.borrow_mut().load())
    }

    /// The snapshot in force, if it is another one than `known`.
    pub fn newer_than(&self, known: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let mut cache = self.snapshot.borrow_mut();
        let current = cache.load();
        (!Arc::ptr_eq(current, known)).then(|| Arc::clone(current))
    }

    /// The upstream of this one's name that is in force; itself, if a reload took it out.
    pub fn running(&self, known: &Arc<Upstream>) -> Arc<Upstream> {
        let mut cache = self.snapshot.borrow_mut();
        let upstreams = &cache.load().upstreams;
        Arc::clone(upstreams.get(&known.name).unwrap_or(known))
    }

    /// Runs a choice with this worker's randomness.
    pub fn with_random<T>(&self, choose: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        choose(&mut self.random.borrow_mut())
    }

    /// Adds the `Date` of now.
    pub fn append_date(&self, now: Instant, fields: &mut Fields) {
        self.date.append(now, fields);
    }

    /// Joins the connections that wait for requests.
    pub fn join(self: &Rc<Self>) -> Member {
        let mut places = self.resting.places.borrow_mut();
        let place = places.free.pop().unwrap_or(places.wakers.len());
        if place == places.wakers.len() {
            places.wakers.push(None);
        }
        Member {
            local: Rc::clone(self),
            place,
        }
    }
}

impl Roster {
    /// Wakes every waiting connection, so that it looks whether it should end.
    pub fn wake_all(&self) {
        for waker in self.places.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

impl Member {
    /// Has this task woken by [`Roster::wake_all`].
    pub fn register(&self, waker: &Waker) {
        let mut places = self.local.resting.places.borrow_mut();
        let place = &mut places.wakers[self.place];
        if place
            .as_ref()
            .is_none_or(|present| !present.will_wake(waker))
        {
            *place = Some(waker.clone());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut places = self.local.resting.places.borrow_mut();
        places.wakers[self.place] = None;
        places.free.push(self.place);
    }
}

impl Date {
    fn append(&self, now: Instant, fields: &mut Fields) {
        if self.until.get().is_none_or(|until| now >= until) {
            *self.line.borrow_mut() = date_line();
            self.until.set(Some(now + DATE_KEPT));
        }
        fields.append_prepared(&self.line.borrow());
    }
}

fn date_line() -> PreparedLine {
    let text = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let value = HeaderValue::try_from(text.to_string());
    PreparedLine::new(
        &DATE,
        &value.unwrap_or_else(|_| HeaderValue::from_static("")),
    )
}

/// The field has whole seconds: half of one keeps it right within its own grain.
const DATE_KEPT: std::time::Duration = std::time::Duration::from_millis(500);
