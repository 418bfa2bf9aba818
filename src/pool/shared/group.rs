//! The shared connections to one endpoint, and who waits for one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Outcome, Queue};
use super::{Shared, Standing, Task};
use crate::endpoint::{ConnectFailure, Endpoint, Live};
use crate::pool::wanted::Kept;
use crate::pool::{ConnectError, Connection, Progress, Wanted};

/// The connections to one endpoint, or those of one kind.
#[derive(Debug)]
pub(in crate::pool) struct Group {
    live: Arc<Live>,
    kept: Kept,
    /// The oldest first.
    members: RefCell<Vec<Member>>,
    pub(super) queue: RefCell<Queue>,
    pub(super) openings: RefCell<Vec<Opening>>,
    /// Where the endpoint may choose: whether it chose HTTP/1.1 last.
    pub(super) speaks_http1: Cell<bool>,
    /// Where it may choose, and wanted HTTP/1.1 of what came in HTTP/2: until when it gets all in
    /// HTTP/1.1.
    http1_until: Cell<Option<Instant>>,
    /// Requests in a row for which it wanted that.
    wishes: Cell<u32>,
    /// When requests were lost with a connection.
    lost_at: Cell<Option<Instant>>,
    /// How much rarer than configured the endpoint is asked whether it is there.
    rarer: Cell<u32>,
    /// Streams that one connection is to carry, by the configuration in force.
    most: Cell<u32>,
    /// Streams that the endpoint allowed last.
    allows: Cell<u32>,
}

#[derive(Debug)]
struct Member {
    shared: Rc<Shared>,
    _driver: Task,
}

/// Whether a group is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is.
    InUse,
    /// Until then, for what it has learnt.
    Until(Instant),
    /// Nothing would be lost with it.
    Nothing,
}

/// A connection that is being opened for those who wait.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) number: u64,
    pub(super) progress: Rc<Progress>,
    pub(super) _task: Task,
}

impl Group {
    /// One without connections.
    pub(super) fn new(endpoint: &Endpoint, wanted: Wanted<'_>) -> Self {
        Self {
            live: Arc::clone(&endpoint.live),
            kept: wanted.keep(),
            members: RefCell::default(),
            queue: RefCell::default(),
            openings: RefCell::default(),
            speaks_http1: Cell::new(false),
            http1_until: Cell::new(None),
            wishes: Cell::new(0),
            lost_at: Cell::new(None),
            rarer: Cell::new(1),
            most: Cell::new(endpoint.http2.max_streams),
            allows: Cell::new(EXPECTED),
        }
    }

    /// Whether it is for requests that want this.
    pub(super) fn is_for(&self, wanted: Wanted<'_>) -> bool {
        self.kept.is(wanted)
    }

    /// The oldest connection with room for another request, other than these, and than those that
    /// are suspected. Where no other can be opened, one of these has to do.
    pub(super) fn with_room(
        &self,
        endpoint: &Endpoint,
        avoided: &[Weak<Shared>],
    ) -> Option<Rc<Shared>> {
        self.most.set(endpoint.http2.max_streams);
        let members = self.members.borrow();
        let (mut last_resort, mut suspected) = (None, 0);
        for member in members.iter() {
            let shared = &member.shared;
            if shared.room(endpoint.http2.max_streams) == 0 {
                continue;
            }
            if !shared.is_made_for(endpoint) {
                shared.close();
            } else if avoided.iter().any(|it| shared.is(it)) {
                last_resort.get_or_insert_with(|| Rc::clone(shared));
            } else if shared.is_suspected() {
                suspected += 1;
                last_resort = Some(Rc::clone(shared));
            } else {
                return Some(Rc::clone(shared));
            }
        }
        let is_full = self.live.connections() >= endpoint.limits.max_connections;
        // Where all look alike, it is not the connections.
        last_resort.filter(|_| is_full || suspected >= SUSPECTED)
    }

    /// Takes in a connection that speaks HTTP/2.
    pub(in crate::pool) fn adopt(self: &Rc<Self>, connection: Connection) -> Rc<Shared> {
        self.speaks_http1.set(false);
        let (shared, driver) = Shared::start(connection, self, Instant::now());
        self.members.borrow_mut().push(Member {
            shared: Rc::clone(&shared),
            _driver: driver,
        });
        self.wake();
        shared
    }

    /// Drops a connection that has ended.
    pub(super) fn forget(&self, shared: &Rc<Shared>) {
        shared.standing.set(Standing::Ended);
        let mut members = self.members.borrow_mut();
        members.retain(|member| !Rc::ptr_eq(&member.shared, shared));
        drop(members);
        self.wake();
    }

    /// Wakes those who wait, as many as can go on, and where nothing is being opened one more,
    /// which opens others.
    pub(super) fn wake(&self) {
        if !self.is_waited_for() {
            return;
        }
        let members = self.members.borrow();
        let room = members
            .iter()
            .map(|member| member.shared.room(self.most.get()) as usize);
        let room: usize = room.sum();
        drop(members);
        let opens = usize::from(self.expected() == 0);
        self.queue.borrow().wake(room.saturating_add(opens));
    }

    /// The endpoint has said how many streams it allows.
    pub(super) fn learn(&self, shared: &Shared) {
        if let Some(most) = shared.http2.max_streams() {
            self.allows.set(most.clamp(1, EXPECTED));
            if self.http1_until.get().is_none() {
                self.live.carries(most);
            }
        }
    }

    /// The endpoint, which may choose, wants HTTP/1.1 for a request (`HTTP_1_1_REQUIRED`). That may
    /// be a matter of the request; after a few in a row to ask twice for each one costs more than
    /// streams save.
    pub(super) fn wants_http1(&self, now: Instant) {
        self.wishes.set(self.wishes.get() + 1);
        if self.wishes.get() >= WISHES {
            self.requires_http1_from(now);
        }
    }

    /// It has brought an answer in HTTP/2.
    pub(super) fn has_answered(&self) {
        self.wishes.set(0);
    }

    /// It wants HTTP/1.1 for whatever comes.
    pub(super) fn requires_http1_from(&self, now: Instant) {
        self.wishes.set(0);
        self.http1_until.set(Some(now + HTTP1_FOR));
        self.live.carries(1);
    }

    /// Whether it did so lately.
    pub(super) fn requires_http1(&self, now: Instant) -> bool {
        let Some(until) = self.http1_until.get() else {
            return false;
        };
        if now >= until {
            self.http1_until.set(None);
        }
        now < until
    }

    /// Requests are lost with a connection. Whether others were with another one, a short while
    /// ago.
    pub(super) fn loses_another(&self, now: Instant) -> bool {
        let before = self.lost_at.replace(Some(now));
        before.is_some_and(|before| now.duration_since(before) < SHORT_WHILE)
    }

    /// The endpoint has been asked too often whether it is there: twice as rarely from now on
    /// (gRPC A8).
    pub(super) fn asks_less(&self) {
        let rarer = self.rarer.get().saturating_mul(2).min(RAREST);
        self.rarer.set(rarer);
    }

    /// Whether those who wait may get room although nothing can be opened: connections are there
    /// whose requests are answered, and so end.
    pub(super) fn may_get_room(&self) -> bool {
        let members = self.members.borrow();
        members.iter().any(|member| member.shared.brings_answers())
    }

    /// Whether the endpoint serves requests on one of its connections, while it refuses on this.
    pub(super) fn serves_beside(&self, refused: &Shared, now: Instant) -> bool {
        let members = self.members.borrow();
        let mut members = members.iter().map(|member| &member.shared);
        members.any(|shared| shared.serves_beside(refused, now))
    }

    /// Gives what an endpoint of HTTP/1.1 has accepted to the one that waits longest. The others
    /// open their own.
    pub(super) fn hand_out(&self, connection: Box<Connection>) {
        self.speaks_http1.set(true);
        self.live.carries(1);
        let mut queue = self.queue.borrow_mut();
        if let Some(first) = queue.undecided().next() {
            first.outcome = Some(Outcome::Own(connection));
        }
        queue.wake(usize::MAX);
    }

    /// Tells all who wait that no connection could be opened; one of them with the error itself.
    pub(super) fn fail(&self, error: ConnectError) {
        let (failure, why) = (error.failure(), error.to_string());
        let why: Rc<str> = why.into();
        let mut error = Some(error);
        let mut queue = self.queue.borrow_mut();
        for waiting in queue.undecided() {
            let error = error.take().unwrap_or_else(|| ConnectError::Joined {
                failure: failure.unwrap_or(ConnectFailure::Unavailable),
                why: Rc::clone(&why),
            });
            waiting.outcome = Some(Outcome::Failed(error));
        }
        queue.wake(usize::MAX);
    }

    /// Whether more wait than what is being opened will have room for.
    pub(super) fn lacks_openings(&self, endpoint: &Endpoint) -> bool {
        let each = endpoint.http2.max_streams.clamp(1, self.allows.get()) as usize;
        let waiting = self.queue.borrow().len();
        waiting > self.expected().saturating_mul(each)
    }

    /// Connections that will have room: those that are being opened, and those whose endpoint is
    /// yet to say how much.
    fn expected(&self) -> usize {
        let members = self.members.borrow();
        let unsettled = members.iter().filter(|member| member.shared.is_settling());
        self.openings.borrow().len() + unsettled.count()
    }

    /// Since when the endpoint is asked for a connection, or for what it allows on one.
    pub(super) fn has_been_asked(&self) -> Option<Instant> {
        let openings = self.openings.borrow();
        let opening = openings
            .iter()
            .find_map(|opening| opening.progress.allowed.get());
        let members = self.members.borrow();
        let unsettled = members.iter().find(|member| member.shared.is_settling());
        opening.or(unsettled.map(|member| member.shared.began))
    }

    /// Whether a connection to the endpoint stands, and nothing but TLS is missing.
    pub(super) fn waits_for_tls(&self) -> bool {
        let openings = self.openings.borrow();
        openings.iter().any(|opening| opening.progress.stands.get())
    }

    /// Whether what is being opened waits for others to close theirs.
    pub(super) fn waits_to_open(&self) -> bool {
        let openings = self.openings.borrow();
        openings
            .iter()
            .any(|opening| opening.progress.allowed.get().is_none())
    }

    /// Looks after its connections, and lets go of those that do not come to their end.
    pub(super) fn look_after(&self, now: Instant) {
        let rarer = self.rarer.get();
        let members = self.members().into_iter();
        for over in members.filter(|shared| !shared.look_after(now, rarer)) {
            self.forget(&over);
        }
        self.wake();
    }

    /// A number for what is about to be opened.
    pub(super) fn next_opening(&self) -> u64 {
        self.queue.borrow_mut().number()
    }

    /// Something is no longer being opened.
    pub(super) fn opening_over(&self, number: u64) {
        let mut openings = self.openings.borrow_mut();
        openings.retain(|opening| opening.number != number);
    }

    /// Has all who wait look again.
    pub(super) fn wake_all(&self) {
        self.queue.borrow().wake(usize::MAX);
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    pub(super) fn members(&self) -> Vec<Rc<Shared>> {
        let members = self.members.borrow();
        members
            .iter()
            .map(|member| Rc::clone(&member.shared))
            .collect()
    }

    /// The busy one with the fewest requests.
    pub(super) fn emptiest(&self) -> Option<Rc<Shared>> {
        let open = self.members().into_iter();
        let open = open.filter(|shared| shared.standing.get() == Standing::Open);
        open.min_by_key(|shared| shared.calls.get())
    }

    /// Connections that it has.
    pub(super) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Adds those of its connections that rest, and since when.
    pub(super) fn add_resting(&self, resting: &mut Vec<(Instant, Rc<Shared>)>) {
        let members = self.members.borrow();
        resting.extend(members.iter().filter_map(|Member { shared, .. }| {
            let since = shared.rests_since()?;
            Some((since, Rc::clone(shared)))
        }));
    }

    /// What would be lost with it. What is known about an endpoint is remembered, but not for every
    /// host that anybody asks for, nor for every client: of these only what costs requests to learn
    /// again, and as long as it holds.
    pub(super) fn worth(&self, now: Instant) -> Worth {
        if !self.members.borrow().is_empty() || self.is_waited_for() {
            return Worth::InUse;
        }
        if self.live.is_retired() {
            return Worth::Nothing;
        }
        let requires_http1 = self.requires_http1(now);
        if self.kept.is_for_some() {
            let until = self.http1_until.get().filter(|_| requires_http1);
            return until.map_or(Worth::Nothing, Worth::Until);
        }
        if requires_http1 || self.speaks_http1.get() || self.rarer.get() > 1 {
            return Worth::InUse;
        }
        Worth::Nothing
    }
}

/// Connections that may be suspected before all of them are used as if none were.
const SUSPECTED: usize = 3;

/// Requests in a row for which an endpoint wants HTTP/1.1 before it gets all in it: one or two are
/// those requests' own matter.
const WISHES: u32 = 3;

/// Connections that take requests along twice within this time are no accident.
const SHORT_WHILE: Duration = Duration::from_secs(10);

/// How long an endpoint that wants HTTP/1.1 gets all in it: long enough that it costs nothing to
/// speak of, and short enough for a server that was set right meanwhile.
const HTTP1_FOR: Duration = Duration::from_mins(5);

/// With the default, that is an hour and a half: servers of gRPC close a connection that is quiet
/// for as long by themselves.
const RAREST: u32 = 16;

/// Streams that a connection is expected to take before its endpoint has said how many: the least
/// that RFC 9113 §6.5.2 recommends.
const EXPECTED: u32 = 100;
