//! A worker's shared connections, by endpoint.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use super::{Group, Shared};
use crate::endpoint::Endpoint;
use crate::pool::Wanted;
use crate::pool::idle::IdHasher;

/// A worker's groups, by the id of their endpoint's live state. Where connections depend on the
/// host or on the client, an endpoint has a group for each.
#[derive(Debug, Default)]
pub(in crate::pool) struct Groups {
    by_endpoint: RefCell<ByEndpoint>,
}

type ByEndpoint = HashMap<u64, Vec<Rc<Group>>, BuildHasherDefault<IdHasher>>;

impl Groups {
    /// The group that a request belongs to, if there is one.
    fn find(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Option<Rc<Group>> {
        let groups = self.by_endpoint.borrow();
        let groups = groups.get(&endpoint.live.id())?;
        let group = groups.iter().find(|group| group.is_for(wanted))?;
        Some(Rc::clone(group))
    }

    /// The group that a request belongs to.
    pub(in crate::pool) fn group(&self, endpoint: &Endpoint, wanted: Wanted<'_>) -> Rc<Group> {
        if let Some(group) = self.find(endpoint, wanted) {
            return group;
        }
        let group = Rc::new(Group::new(endpoint, wanted));
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
        let members = groups.get(&id).into_iter().flatten();
        let mut rests: Option<(Instant, Rc<Shared>)> = None;
        for group in members {
            for shared in group.members() {
                let Some(since) = shared.rests_since() else {
                    continue;
                };
                if rests.as_ref().is_none_or(|(longest, _)| since < *longest) {
                    rests = Some((since, shared));
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
            groups.retain(|group| !group.is_over(now));
            !groups.is_empty()
        });
    }

    /// Connections in all.
    pub(in crate::pool) fn len(&self) -> usize {
        let groups = self.by_endpoint.borrow();
        let groups = groups.values().flatten();
        groups.map(|group| group.len()).sum()
    }

    /// Ends everything.
    pub(in crate::pool) fn clear(&self) {
        self.by_endpoint.borrow_mut().clear();
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
