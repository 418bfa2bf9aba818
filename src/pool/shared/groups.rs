//! A worker's shared connections, by endpoint.
//!
//! Problem: where connections depend on the host or on the client, an endpoint has a group for each
//! of them, which are as many as clients please; and each request looks for its own.
//!
//! So the groups of an endpoint are found by a hash of what they are for, with keys that nobody
//! outside knows. What is left of them when their connections are gone is taken out about once a
//! second, and before that whenever they have become twice as many; what they have learnt is kept
//! for as long as it holds, of so many of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use super::group::Worth;
use super::{Group, Shared};
use crate::endpoint::{Endpoint, Protocol};
use crate::pool::Wanted;
use crate::pool::idle::IdHasher;

/// A worker's groups, by the id of their endpoint's live state.
#[derive(Debug, Default)]
pub(in crate::pool) struct Groups {
    by_endpoint: RefCell<ByNumber<OfEndpoint>>,
    keys: RandomState,
}

/// By an id, or by a hash.
type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// The groups of one endpoint.
#[derive(Debug, Default)]
struct OfEndpoint {
    /// The one for requests for which any connection will do.
    for_any: Option<Rc<Group>>,
    /// Those for some requests only, by the hash of what these want. A second one with the same
    /// hash is rarer than anything else that goes wrong, but would be somebody else's.
    for_some: ByNumber<Vec<Rc<Group>>>,
    /// How many of these there are, and may be before they are looked through.
    count: usize,
    most: usize,
}

impl Groups {
    /// The group that a request belongs to, if there is one.
    fn find(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Option<Rc<Group>> {
        let groups = self.by_endpoint.borrow();
        let groups = groups.get(&endpoint.live.id())?;
        groups.find(wanted, &self.keys).map(Rc::clone)
    }

    /// The group that a request belongs to.
    pub(in crate::pool) fn group(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Rc<Group> {
        let mut groups = self.by_endpoint.borrow_mut();
        let groups = groups.entry(endpoint.live.id()).or_default();
        if let Some(group) = groups.find(wanted, &self.keys) {
            return Rc::clone(group);
        }
        let group = Rc::new(Group::new(endpoint, wanted));
        groups.add(&group, wanted, &self.keys);
        group
    }

    /// A connection with room for another request, other than these; none where the endpoint, which
    /// may choose, lately wanted HTTP/1.1.
    pub(in crate::pool) fn with_room(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        now: Instant,
        avoided: &[Weak<Shared>],
    ) -> Option<Rc<Shared>> {
        let group = self.find(endpoint, wanted)?;
        if endpoint.protocol == Protocol::Either && group.requires_http1(now) {
            return None;
        }
        group.with_room(endpoint, avoided)
    }

    /// Whether the endpoint, which may choose, lately wanted HTTP/1.1 for a request.
    pub(in crate::pool) fn requires_http1(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        now: Instant,
    ) -> bool {
        let group = self.find(endpoint, wanted);
        group.is_some_and(|group| group.requires_http1(now))
    }

    /// It wants that now.
    pub(in crate::pool) fn wants_http1(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        now: Instant,
    ) {
        self.group(endpoint, wanted).wants_http1(now);
    }

    /// Closes the connection to an endpoint that has rested longest, if one rests.
    pub(in crate::pool) fn close_one(&self, id: u64) {
        let groups = self.by_endpoint.borrow();
        let Some(groups) = groups.get(&id) else {
            return;
        };
        let resting = groups.resting().into_iter();
        if let Some((_, shared)) = resting.min_by_key(|(since, _)| *since) {
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
        let is_wanted_here = groups.each().any(|group| group.is_waited_for());
        let mut has_closed = false;
        for shared in groups.each().flat_map(|group| group.members()) {
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
        if let Some(shared) = groups.each().find_map(|group| group.emptiest()) {
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
            groups.each().for_each(|group| group.look_after(now));
            groups.close_surplus();
            groups.forget(now);
            groups.each().next().is_some()
        });
    }

    /// Connections in all.
    pub(in crate::pool) fn len(&self) -> usize {
        let groups = self.by_endpoint.borrow();
        let groups = groups.values().flat_map(OfEndpoint::each);
        groups.map(|group| group.len()).sum()
    }

    /// Ends everything.
    pub(in crate::pool) fn clear(&self) {
        self.by_endpoint.borrow_mut().clear();
    }
}

impl OfEndpoint {
    fn find(&self, wanted: Wanted<'_>, keys: &RandomState) -> Option<&Rc<Group>> {
        if wanted.is_any() {
            return self.for_any.as_ref();
        }
        let alike = self.for_some.get(&keys.hash_one(wanted.key()))?;
        alike.iter().find(|group| group.is_for(wanted))
    }

    fn add(&mut self, group: &Rc<Group>, wanted: Wanted<'_>, keys: &RandomState) {
        if wanted.is_any() {
            self.for_any = Some(Rc::clone(group));
            return;
        }
        if self.count >= self.most {
            self.forget(Instant::now());
        }
        let alike = self.for_some.entry(keys.hash_one(wanted.key()));
        alike.or_default().push(Rc::clone(group));
        self.count += 1;
    }

    fn each(&self) -> impl Iterator<Item = &Rc<Group>> {
        self.for_any.iter().chain(self.for_some.values().flatten())
    }

    /// What rests, and since when.
    fn resting(&self) -> Vec<(Instant, Rc<Shared>)> {
        let mut resting = Vec::new();
        self.each()
            .for_each(|group| group.add_resting(&mut resting));
        resting
    }

    /// Closes what rests beyond the number that may be kept.
    fn close_surplus(&self) {
        let mut resting = self.resting();
        let kept = resting.iter();
        let kept = kept.map(|(_, shared)| shared.rest.get().keep.count).max();
        let surplus = resting.len().saturating_sub(kept.unwrap_or(0));
        if surplus == 0 {
            return;
        }
        if surplus < resting.len() {
            resting.select_nth_unstable_by_key(surplus, |(since, _)| *since);
        }
        for (_, shared) in resting.into_iter().take(surplus) {
            shared.close();
        }
    }

    /// Takes out the groups that are not kept, of those that are kept for what they have learnt the
    /// ones that hold for the shortest.
    fn forget(&mut self, now: Instant) {
        let is_kept = |group: &Rc<Group>| group.worth(now) != Worth::Nothing;
        self.for_any.take_if(|group| !is_kept(group));
        let mut holds = Vec::new();
        self.retain(|group| {
            let worth = group.worth(now);
            if let Worth::Until(until) = worth {
                holds.push(until);
            }
            worth != Worth::Nothing
        });
        let surplus = holds.len().saturating_sub(REMEMBERED);
        if surplus > 0 {
            let (_, last, _) = holds.select_nth_unstable(surplus - 1);
            let last = *last;
            self.retain(|group| match group.worth(now) {
                Worth::InUse => true,
                Worth::Until(until) => until > last,
                Worth::Nothing => false,
            });
        }
        self.most = (2 * self.count).max(FEW);
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Rc<Group>) -> bool) {
        let mut count = 0;
        self.for_some.retain(|_, alike| {
            alike.retain(&mut is_kept);
            count += alike.len();
            !alike.is_empty()
        });
        self.count = count;
    }
}

/// Hosts or clients of an endpoint for which it is remembered that it wants HTTP/1.1: enough for
/// those that a worker has at a time, and what anybody can fill costs some hundred kilobytes.
const REMEMBERED: usize = 256;

/// Groups that are not looked through for those that are over, other than once a second.
const FEW: usize = 64;
