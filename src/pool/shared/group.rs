//! The shared connections to one endpoint, and who waits for one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::time::Instant;

use super::queue::{Outcome, Queue};
use super::{Shared, Standing, Task};
use crate::endpoint::{ConnectFailure, Endpoint, Live};
use crate::pool::idle::IdHasher;
use crate::pool::wanted::Kept;
use crate::pool::{ConnectError, Connection, Wanted};

/// A worker's groups, by the id of their endpoint's live state. Where connections depend on the
/// host or on the client, an endpoint has a group for each.
#[derive(Debug, Default)]
pub(in crate::pool) struct Groups {
    by_endpoint: RefCell<ByEndpoint>,
}

type ByEndpoint = HashMap<u64, Vec<Rc<Group>>, BuildHasherDefault<IdHasher>>;

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

/// A connection that is being opened for those who wait.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) number: u64,
    /// When it was allowed, if it has been.
    pub(super) allowed: Rc<Cell<Option<Instant>>>,
    pub(super) _task: Task,
}

impl Groups {
    /// The group that a request belongs to, if there is one.
    fn find(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Option<Rc<Group>> {
        let groups = self.by_endpoint.borrow();
        let groups = groups.get(&endpoint.live.id())?;
        let group = groups.iter().find(|group| group.kept.is(wanted))?;
        Some(Rc::clone(group))
    }

    /// The group that a request belongs to.
    pub(in crate::pool) fn group(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Rc<Group> {
        if let Some(group) = self.find(endpoint, wanted) {
            return group;
        }
        let group = Rc::new(Group {
            live: Arc::clone(&endpoint.live),
            kept: wanted.keep(),
            members: RefCell::default(),
            queue: RefCell::default(),
            openings: RefCell::default(),
            speaks_http1: Cell::new(false),
            most: Cell::new(endpoint.http2.max_streams),
            allows: Cell::new(EXPECTED),
        });
        let mut groups = self.by_endpoint.borrow_mut();
        let groups = groups.entry(endpoint.live.id()).or_default();
        groups.push(Rc::clone(&group));
        group
    }

    /// A connection with room for another request, other than these.
    pub(in crate::pool) fn with_room(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        avoided: &[Weak<Shared>],
    ) -> Option<Rc<Shared>> {
        self.find(endpoint, wanted)?.with_room(endpoint, avoided)
    }

    /// Whether the endpoint, which may choose, chose HTTP/1.1 last.
    pub(in crate::pool) fn speaks_http1(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> bool {
        let group = self.find(endpoint, wanted);
        group.is_some_and(|group| group.speaks_http1.get())
    }

    /// Closes the connection to an endpoint that has rested longest, if one rests.
    pub(in crate::pool) fn close_one(&self, id: u64) {
        let groups = self.by_endpoint.borrow();
        let members = groups.get(&id).into_iter().flatten();
        let mut rests: Option<(Instant, Rc<Shared>)> = None;
        for group in members {
            for member in group.members.borrow().iter() {
                let Some(since) = member.shared.rests_since() else {
                    continue;
                };
                if rests.as_ref().is_none_or(|(longest, _)| since < *longest) {
                    rests = Some((since, Rc::clone(&member.shared)));
                }
            }
        }
        if let Some((_, shared)) = rests {
            shared.close();
        }
    }

    /// Closes what rests for as long as another worker waits for a connection, and where nothing
    /// does, has a busy one give way for a moment: it ends if all that runs on it does. Something
    /// may go on for ever, and then this worker would have lost it for nothing.
    pub(in crate::pool) fn make_room(&self, id: u64) {
        let groups = self.by_endpoint.borrow();
        let Some(groups) = groups.get(&id) else {
            return;
        };
        let is_wanted_here = groups.iter().any(|group| group.is_waited_for());
        let mut has_closed = false;
        for shared in groups.iter().flat_map(|group| group.members()) {
            if shared.endpoint.live.may_rest() || is_wanted_here {
                return;
            }
            if shared.rests_since().is_some() {
                shared.close();
                has_closed = true;
            }
        }
        if has_closed {
            return;
        }
        if let Some(shared) = groups.iter().find_map(|group| group.emptiest()) {
            shared.give_way();
        }
    }

    /// The same for all endpoints: requests for them were lost.
    pub(in crate::pool) fn make_room_anywhere(&self) {
        let ids: Vec<u64> = self.by_endpoint.borrow().keys().copied().collect();
        for id in ids {
            self.make_room(id);
        }
    }

    /// Looks after all connections. To be called about once a second.
    pub(in crate::pool) fn sweep(&self, now: Instant) {
        let mut groups = self.by_endpoint.borrow_mut();
        groups.retain(|_, groups| {
            for group in groups.iter() {
                group.look_after(now);
            }
            close_surplus(groups);
            groups.retain(|group| !group.is_over());
            !groups.is_empty()
        });
    }

    /// Connections in all.
    pub(in crate::pool) fn len(&self) -> usize {
        let groups = self.by_endpoint.borrow();
        let groups = groups.values().flatten();
        groups.map(|group| group.members.borrow().len()).sum()
    }

    /// Ends everything.
    pub(in crate::pool) fn clear(&self) {
        self.by_endpoint.borrow_mut().clear();
    }
}

impl Group {
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
        }
    }

    /// Gives what an endpoint of HTTP/1.1 has accepted to the one that waits longest. The others
    /// open their own.
    pub(super) fn hand_out(&self, connection: Box<Connection>) {
        self.speaks_http1.set(true);
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

    /// Whether what is being opened waits for others to close theirs.
    pub(super) fn waits_to_open(&self) -> bool {
        let openings = self.openings.borrow();
        openings
            .iter()
            .any(|opening| opening.allowed.get().is_none())
    }

    /// Looks after its connections, and lets go of those that do not come to their end.
    fn look_after(&self, now: Instant) {
        let members = self.members().into_iter();
        for over in members.filter(|shared| !shared.look_after(now)) {
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

    fn members(&self) -> Vec<Rc<Shared>> {
        let members = self.members.borrow();
        members
            .iter()
            .map(|member| Rc::clone(&member.shared))
            .collect()
    }

    /// The busy one with the fewest requests.
    fn emptiest(&self) -> Option<Rc<Shared>> {
        let open = self.members().into_iter();
        let open = open.filter(|shared| shared.standing.get() == Standing::Open);
        open.min_by_key(|shared| shared.calls.get())
    }

    /// Whether nothing would be lost with it. What an endpoint chose is remembered, but not for
    /// every host that anybody asks for, nor for every client.
    fn is_over(&self) -> bool {
        self.members.borrow().is_empty()
            && !self.is_waited_for()
            && (!self.speaks_http1.get() || self.kept.is_for_some() || self.live.is_retired())
    }
}

/// Closes what rests beyond the number that may be kept.
fn close_surplus(groups: &[Rc<Group>]) {
    let members = groups.iter().flat_map(|group| group.members());
    let mut resting: Vec<_> = members
        .filter_map(|shared| Some((shared.rests_since()?, shared)))
        .collect();
    resting.sort_by_key(|(since, _)| *since);
    let keep = resting
        .iter()
        .map(|(_, shared)| shared.rest.get().keep.count);
    let keep = keep.max().unwrap_or(0);
    let surplus = resting.len().saturating_sub(keep);
    for (_, shared) in resting.into_iter().take(surplus) {
        shared.close();
    }
}

/// Connections that may be suspected before all of them are used as if none were.
const SUSPECTED: usize = 3;

/// Streams that a connection is expected to take before its endpoint has said how many: the least
/// that RFC 9113 §6.5.2 recommends.
const EXPECTED: u32 = 100;
