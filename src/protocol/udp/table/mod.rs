//! The sessions of one listener on one worker: who has one, whose turn it is to end, and who makes
//! room for another.
//!
//! Problem: anybody can send a datagram under any address, so whatever makes a session can be made
//! a flood of. That an endpoint answers proves nothing, for it answers what is forged as well. What
//! a flood does not do is go on: nobody who forges an address gets the answer. So a session counts
//! as proved once its client has sent again behind an answer. That can be forged too, blindly and
//! at twice the price, but then falls silent. Those that are proved and those that are not are in
//! two lists, each in the order of use, and those that are proved since lately in another one
//! besides. Room is made by, in this order:
//!
//! 1. an unproved one that has been silent for some seconds: it has asked what it had to;
//! 2. one that is proved since lately, and has been silent for as long since: so what a flood has
//!    proved gives way to what it proves next, and not those that were there before;
//! 3. a proved one that has been idle for a good while; and for some seconds only, where newcomers,
//!    those of 1 and 2, hold little of the table, so that they have the time to become so: a flood
//!    takes no more than that from the others;
//! 4. any unproved one, whoever was silent the longest;
//! 5. a busy one whose network has more than its share, where the newcomer's has not.
//!
//! Use is put in order by the [`TICK`]: moving a session in its list for each datagram would cost
//! more than the order is worth.
//!
//! Pure: times are arguments, and what a session is does not matter here.

mod key;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::key::{Key, Network};

use super::TICK;

/// Sessions by who they belong to.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: HashMap<Key, usize>,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    /// Sessions of each network.
    networks: HashMap<Network, usize>,
    /// Those whose clients are not proved, and those whose are; and of these once more those that
    /// are so since lately, in the order in which they became so.
    lists: [List; 3],
}

#[derive(Debug)]
struct Slot<T> {
    session: T,
    key: Key,
    network: Network,
    used: Instant,
    /// When it was put where it is in its list.
    linked: Instant,
    stage: Stage,
    /// When that was proved, while it is lately.
    proved: Option<Instant>,
    /// In the list of its stage, and in that of those proved lately.
    links: [Links; 2],
}

/// Who stands beside it in a list.
#[derive(Debug, Default, Clone, Copy)]
struct Links {
    before: Option<usize>,
    after: Option<usize>,
}

/// A session and where it is.
type Placed<'a, T> = (usize, &'a Slot<T>);

/// What is known of a session's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has asked.
    Asked,
    /// It was answered, which it may not know.
    Answered,
    /// It has sent again behind an answer.
    Proved,
}

/// In the order of use: the first has been idle the longest, up to a [`TICK`].
#[derive(Debug, Default)]
struct List {
    first: Option<usize>,
    last: Option<usize>,
    count: usize,
}

impl Stage {
    fn after(self, by_endpoint: bool) -> Self {
        match (self, by_endpoint) {
            (Self::Asked, true) => Self::Answered,
            (Self::Answered, false) => Self::Proved,
            (stage, _) => stage,
        }
    }

    /// Which of the lists it stands in.
    fn list(self) -> usize {
        match self {
            Self::Asked | Self::Answered => UNPROVED,
            Self::Proved => PROVED,
        }
    }
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self {
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            networks: HashMap::new(),
            lists: Default::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where the session of a client is.
    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        self.places.get(key).copied()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        Some(&mut self.slots.get_mut(place)?.as_mut()?.session)
    }

    /// Adds a session; the place is given away again once it has ended.
    pub(super) fn insert(
        &mut self,
        (key, network): (Key, Network),
        now: Instant,
        session: T,
    ) -> usize {
        let place = self.free.pop().unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[place] = Some(Slot {
            session,
            key,
            network,
            used: now,
            linked: now,
            stage: Stage::Asked,
            proved: None,
            links: Default::default(),
        });
        self.places.insert(key, place);
        *self.networks.entry(network).or_default() += 1;
        self.link(place);
        place
    }

    /// Something was sent by its client, or by the endpoint, which answers it.
    pub(super) fn used(&mut self, place: usize, by_endpoint: bool, now: Instant) {
        let Some(Some(slot)) = self.slots.get_mut(place) else {
            return;
        };
        slot.used = now;
        let stage = slot.stage.after(by_endpoint);
        if stage.list() == slot.stage.list() {
            slot.stage = stage;
            if now.saturating_duration_since(slot.linked) < TICK {
                return;
            }
        } else {
            slot.proved = Some(now);
            self.append(LATELY, place);
        }
        self.unlink(place);
        if let Some(slot) = &mut self.slots[place] {
            (slot.stage, slot.linked) = (stage, now);
        }
        self.link(place);
    }

    /// Has a session stay as if it had just been used, and nobody proved by it.
    pub(super) fn keep(&mut self, place: usize, now: Instant) {
        let Some(Some(slot)) = self.slots.get_mut(place) else {
            return;
        };
        (slot.used, slot.linked) = (now, now);
        self.unlink(place);
        self.link(place);
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        self.slots.get(place)?.as_ref()?;
        self.unlink(place);
        self.forget_news(place);
        let slot = self.slots[place].take()?;
        self.places.remove(&slot.key);
        if let Entry::Occupied(mut count) = self.networks.entry(slot.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.free.push(place);
        Some(slot.session)
    }

    /// The place of a session that has been idle for so long, and at most a [`TICK`] longer.
    pub(super) fn overdue(&self, limit: Duration, now: Instant) -> Option<usize> {
        let lists = &self.lists[..LATELY];
        let firsts = lists.iter().filter_map(|list| list.first);
        let mut firsts = firsts.filter(|place| {
            let slot = self.slots[*place].as_ref();
            slot.is_some_and(|slot| now.saturating_duration_since(slot.used) >= limit)
        });
        firsts.next()
    }

    /// Who makes room for a session of this network. `None` if nobody has to.
    pub(super) fn victim(
        &mut self,
        newcomer: Network,
        limit: Duration,
        now: Instant,
    ) -> Option<usize> {
        self.age_news(now);
        let share = (self.len() / SHARES).max(1);
        let count = |network: &Network| self.networks.get(network).copied().unwrap_or(0);
        // A network that has its share makes room for itself.
        let is_greedy = count(&newcomer) >= share;
        let is_eligible = |slot: &Slot<T>| !is_greedy || slot.network == newcomer;
        let silence = |slot: &Slot<T>| now.saturating_duration_since(slot.used);
        let [unproved, proved, lately] = [UNPROVED, PROVED, LATELY].map(|list| {
            let mut found = self.walk(list);
            found.retain(|(_, slot)| is_eligible(slot));
            found
        });
        let has_asked = |slot: &Slot<T>| silence(slot) >= GRACE;
        let newcomers = self.lists[UNPROVED].count + self.lists[LATELY].count;
        let are_few = !is_greedy && newcomers < self.len() / SHARES;
        let has_rested =
            |slot: &Slot<T>| silence(slot) >= limit / RESTED || are_few && has_asked(slot);
        let takes_more = |slot: &Slot<T>| !is_greedy && count(&slot.network) > share;
        first(&unproved, has_asked)
            .or_else(|| first(&lately, has_asked))
            .or_else(|| first(&proved, has_rested))
            .or_else(|| first(&unproved, |_| true))
            .or_else(|| first(&proved, takes_more))
    }

    /// Lets those that were proved a while ago be like the others.
    fn age_news(&mut self, now: Instant) {
        while let Some(place) = self.lists[LATELY].first {
            let proved = self.slots[place].as_ref().and_then(|slot| slot.proved);
            if proved.is_some_and(|proved| now.saturating_duration_since(proved) < LATELY_FOR) {
                return;
            }
            self.forget_news(place);
        }
    }

    /// It is not lately any more that this one was proved.
    fn forget_news(&mut self, place: usize) {
        let slot = self.slots[place].as_mut();
        if slot.and_then(|slot| slot.proved.take()).is_some() {
            self.take_out(LATELY, place);
        }
    }

    /// The first few of a list.
    fn walk(&self, list: usize) -> Vec<Placed<'_, T>> {
        let mut found = Vec::new();
        let mut next = self.lists[list].first;
        while let Some(place) = next
            && let Some(slot) = &self.slots[place]
            && found.len() < LOOKS
        {
            found.push((place, slot));
            next = slot.links[chain(list)].after;
        }
        found
    }

    fn link(&mut self, place: usize) {
        if let Some(stage) = self.slots[place].as_ref().map(|slot| slot.stage) {
            self.append(stage.list(), place);
        }
    }

    fn unlink(&mut self, place: usize) {
        if let Some(stage) = self.slots[place].as_ref().map(|slot| slot.stage) {
            self.take_out(stage.list(), place);
        }
    }

    /// Puts one at the end of a list.
    fn append(&mut self, list: usize, place: usize) {
        let ends = &mut self.lists[list];
        ends.count += 1;
        let before = ends.last.replace(place);
        if before.is_none() {
            ends.first = Some(place);
        }
        if let Some(links) = self.links(list, Some(place)) {
            *links = Links {
                before,
                after: None,
            };
        }
        if let Some(links) = self.links(list, before) {
            links.after = Some(place);
        }
    }

    fn take_out(&mut self, list: usize, place: usize) {
        let Some(Links { before, after }) = self.links(list, Some(place)).copied() else {
            return;
        };
        self.lists[list].count -= 1;
        match self.links(list, before) {
            Some(links) => links.after = after,
            None => self.lists[list].first = after,
        }
        match self.links(list, after) {
            Some(links) => links.before = before,
            None => self.lists[list].last = before,
        }
    }

    /// Who stands in a list beside the one at this place, if there is one.
    fn links(&mut self, list: usize, place: Option<usize>) -> Option<&mut Links> {
        let slot = self.slots[place?].as_mut()?;
        Some(&mut slot.links[chain(list)])
    }
}

/// By which links those of a list stand in it: nobody stands in both of the first two.
fn chain(list: usize) -> usize {
    usize::from(list == LATELY)
}

/// The place of the first that is like this.
fn first<T>(list: &[Placed<'_, T>], is_like: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
    let found = list.iter().find(|(_, slot)| is_like(slot));
    found.map(|(place, _)| *place)
}

/// The lists.
const UNPROVED: usize = 0;
const PROVED: usize = 1;
const LATELY: usize = 2;

/// A network's share of a table that is full: a quarter leaves room for others, and is more than
/// the clients behind one address need unless they are all that there are.
const SHARES: usize = 4;
/// The silence after which an unproved client has what it asked for, or will not get it; and what
/// is proved to no purpose shows that.
const GRACE: Duration = Duration::from_secs(3);
/// For how long after that one is proved lately: well above the former, so that what a flood has
/// proved is found, and gives way, before it is like the others.
const LATELY_FOR: Duration = Duration::from_secs(10);
/// The part of the limit after which a proved session may make room.
const RESTED: u32 = 4;
/// Sessions that are looked at to find one that makes room: a bound on the work that one datagram
/// causes.
const LOOKS: usize = 32;

#[cfg(test)]
mod tests;
