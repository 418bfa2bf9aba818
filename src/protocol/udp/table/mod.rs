//! The sessions of one listener on one worker: who has one, whose turn it is to end, and who makes
//! room for another.
//!
//! Problem: anybody can send a datagram under any address, so whatever makes a session can be made
//! a flood of. That an endpoint answers proves nothing, for it answers what is forged as well. What
//! a flood does not do is go on: nobody who forges an address gets the answer. So a session counts
//! as proved once its client has sent again behind an answer. That can be forged too, blindly and
//! at twice the price, but then falls silent. Those that are proved and those that are not are in
//! two lists, each in the order of use, and room is made by, in this order:
//!
//! 1. an unproved one that has been silent for some seconds: it has asked what it had to;
//! 2. a proved one that has been idle for a good while; and for some seconds only, where those that
//!    are not proved hold little of the table, so that newcomers have the time to become so;
//! 3. any unproved one, whoever was silent the longest;
//! 4. a busy one whose network has more than its share, where the newcomer's has not.
//!
//! Use is put in order by the [`TICK`]: moving a session in its list for each datagram would cost
//! more than the order is worth.
//!
//! Pure: times are arguments, and what a session is does not matter here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::TICK;
use crate::net::Source;

/// Who a session belongs to: an address and port, and the address of ours that it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    peer: u128,
    local: u128,
    /// The port of the peer and, where an address means nothing without, the interface.
    port: u64,
}

/// The network of a client: a /24 of IPv4, a /56 of IPv6, which is what one household or one
/// machine in a data centre gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(u128);

/// Sessions by who they belong to.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: HashMap<Key, usize>,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    /// Sessions of each network.
    networks: HashMap<Network, usize>,
    /// Those whose clients are not proved, and those whose are.
    lists: [List; 2],
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

impl Key {
    pub(super) fn new(peer: std::net::SocketAddr, source: Option<Source>) -> Self {
        let interface = source.map_or(0, |source| source.interface);
        Self {
            peer: bits(peer.ip()),
            local: source.map_or(0, |source| bits(source.address)),
            port: u64::from(interface) << 16 | u64::from(peer.port()),
        }
    }
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => bits(address.into()) >> 8 << 8,
            IpAddr::V6(address) => address.to_bits() >> 72 << 72,
        })
    }
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
            Self::Asked | Self::Answered => 0,
            Self::Proved => 1,
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
            before: None,
            after: None,
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
        }
        self.unlink(place);
        if let Some(slot) = &mut self.slots[place] {
            (slot.stage, slot.linked) = (stage, now);
        }
        self.link(place);
    }

    /// Ends a session.
    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        self.slots.get(place)?.as_ref()?;
        self.unlink(place);
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
        let firsts = self.lists.iter().filter_map(|list| list.first);
        let mut firsts = firsts.filter(|place| {
            let slot = self.slots[*place].as_ref();
            slot.is_some_and(|slot| now.saturating_duration_since(slot.used) >= limit)
        });
        firsts.next()
    }

    /// Who makes room for a session of this network. `None` if nobody has to.
    pub(super) fn victim(&self, newcomer: Network, limit: Duration, now: Instant) -> Option<usize> {
        let share = (self.len() / SHARES).max(1);
        let count = |network: &Network| self.networks.get(network).copied().unwrap_or(0);
        // A network that has its share makes room for itself.
        let is_greedy = count(&newcomer) >= share;
        let is_eligible = |slot: &Slot<T>| !is_greedy || slot.network == newcomer;
        let silence = |slot: &Slot<T>| now.saturating_duration_since(slot.used);
        let [unproved, proved] = self.lists.each_ref().map(|list| {
            let mut found = self.walk(list);
            found.retain(|(_, slot)| is_eligible(slot));
            found
        });
        let has_asked = |slot: &Slot<T>| silence(slot) >= GRACE;
        let are_few = !is_greedy && self.lists[0].count < self.len() / SHARES;
        let has_rested =
            |slot: &Slot<T>| silence(slot) >= limit / RESTED || are_few && has_asked(slot);
        let takes_more = |slot: &Slot<T>| !is_greedy && count(&slot.network) > share;
        first(&unproved, has_asked)
            .or_else(|| first(&proved, has_rested))
            .or_else(|| first(&unproved, |_| true))
            .or_else(|| first(&proved, takes_more))
    }

    /// The first few of a list.
    fn walk(&self, list: &List) -> Vec<Placed<'_, T>> {
        let mut found = Vec::new();
        let mut next = list.first;
        while let Some(place) = next
            && let Some(slot) = &self.slots[place]
            && found.len() < LOOKS
        {
            found.push((place, slot));
            next = slot.after;
        }
        found
    }

    fn link(&mut self, place: usize) {
        let Some(stage) = self.slots[place].as_ref().map(|slot| slot.stage) else {
            return;
        };
        let list = &mut self.lists[stage.list()];
        list.count += 1;
        let before = list.last.replace(place);
        if before.is_none() {
            list.first = Some(place);
        }
        if let Some(slot) = &mut self.slots[place] {
            (slot.before, slot.after) = (before, None);
        }
        if let Some(before) = before.and_then(|before| self.slots[before].as_mut()) {
            before.after = Some(place);
        }
    }

    fn unlink(&mut self, place: usize) {
        let Some(slot) = &self.slots[place] else {
            return;
        };
        let (before, after, stage) = (slot.before, slot.after, slot.stage);
        let list = &mut self.lists[stage.list()];
        list.count -= 1;
        match before.and_then(|before| self.slots[before].as_mut()) {
            Some(before) => before.after = after,
            None => list.first = after,
        }
        match after.and_then(|after| self.slots[after].as_mut()) {
            Some(after) => after.before = before,
            None => list.last = before,
        }
    }
}

/// The place of the first that is like this.
fn first<T>(list: &[Placed<'_, T>], is_like: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
    let found = list.iter().find(|(_, slot)| is_like(slot));
    found.map(|(place, _)| *place)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A network's share of a table that is full: a quarter leaves room for others, and is more than
/// the clients behind one address need unless they are all that there are.
const SHARES: usize = 4;
/// The silence after which an unproved client has what it asked for, or will not get it; and what
/// is proved to no purpose shows that.
const GRACE: Duration = Duration::from_secs(3);
/// The part of the limit after which a proved session may make room.
const RESTED: u32 = 4;
/// Sessions that are looked at to find one that makes room: a bound on the work that one datagram
/// causes.
const LOOKS: usize = 32;

#[cfg(test)]
mod tests;
