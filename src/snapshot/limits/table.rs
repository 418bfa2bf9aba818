//! What is known of each client, or of each network.
//!
//! It is bounded: an entry is kept while it says something, which is as long as there are
//! connections or a rate is being used up. When there is no room for another one, those are
//! forgotten that have no connections and have used up least of their rate: a flood of addresses
//! does not hide whoever comes often. When all have connections, a newcomer is let in without being
//! remembered: to refuse it would let such a flood close the listener to everybody.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pace::{Next, Pace};

/// What is known, in parts with a lock each: workers hardly ever meet.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

/// What a newcomer is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: u32,
    /// How fast they may come.
    pub(super) pace: Option<Pace>,
    /// How many may be remembered, over all parts.
    pub(super) room: usize,
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is let in and counted; to be told when it leaves.
    Counted,
    /// The same, and so many others were forgotten for it.
    Instead(usize),
    /// It is let in, and there is no room to remember it.
    Unknown,
    /// It has as many connections as it may.
    TooMany,
    /// It comes too fast.
    TooFast,
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<u128, Entry>,
    /// When it was last looked in vain for what can be forgotten.
    in_vain: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    connections: u32,
    /// See [`Pace`].
    due: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Table {
    pub(super) fn enter(&self, key: u128, bounds: Bounds, now: u64) -> Entered {
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        let room = bounds.room / SHARDS;
        let mut forgotten = 0;
        if !shard.known.contains_key(&key) {
            let Some(others) = shard.make_room(room, now) else {
                return Entered::Unknown;
            };
            forgotten = others;
        }
        let entry = shard.known.entry(key).or_default();
        if entry.connections >= bounds.connections {
            return Entered::TooMany;
        }
        if let Some(pace) = bounds.pace {
            match pace.next(entry.due, now) {
                Next::Passes(due) => entry.due = due,
                Next::TooEarly(due) => {
                    entry.due = due;
                    return Entered::TooFast;
                }
            }
        }
        entry.connections += 1;
        match forgotten {
            0 => Entered::Counted,
            _ => Entered::Instead(forgotten),
        }
    }

    pub(super) fn leave(&self, key: u128, now: u64) {
        if let Slot::Occupied(mut slot) = self.shard(key).known.entry(key) {
            let entry = slot.get_mut();
            entry.connections = entry.connections.saturating_sub(1);
            if entry.says_nothing(now) {
                slot.remove();
            }
        }
    }

    /// The one with the most connections, and their number, which is 0 without any; and how many
    /// have as many as the limit. One part after the other: each is held up for no longer than a
    /// newcomer holds it who finds no room.
    pub(super) fn fullest(&self, limit: u32) -> (u128, u32, usize) {
        let (mut most, mut full) = ((0, 0), 0);
        for shard in &self.shards {
            let shard = lock(shard);
            full += shard.having(limit).count();
            let more = shard.having(most.1 + 1);
            most = more.max_by_key(|(_, number)| *number).unwrap_or(most);
        }
        (most.0, most.1, full)
    }

    /// Those that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let lengths = self.shards.iter().map(|shard| lock(shard).known.len());
        lengths.sum()
    }

    fn shard(&self, key: u128) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[at])
    }
}

impl Shard {
    /// Those that have so many connections at least, and how many.
    fn having(&self, least: u32) -> impl Iterator<Item = (u128, u32)> {
        let all = self.known.iter();
        let all = all.map(|(key, entry)| (*key, entry.connections));
        all.filter(move |(_, connections)| *connections >= least)
    }

    /// Sees that another one can be remembered, and tells how many were forgotten for it that still
    /// said something; none if there is no room.
    fn make_room(&mut self, room: usize, now: u64) -> Option<usize> {
        if self.known.len() < room {
            return Some(0);
        }
        // Where there was nothing to forget, not more often than is worth it.
        let in_vain = self.in_vain;
        if in_vain.is_some_and(|looked| now.saturating_sub(looked) < LOOK_EVERY) {
            return None;
        }
        self.known.retain(|_, entry| !entry.says_nothing(now));
        let before = self.known.len();
        self.forget_soonest(before.saturating_sub(room - room / FORGOTTEN));
        let has_room = self.known.len() < room;
        self.in_vain = (!has_room).then_some(now);
        has_room.then(|| before - self.known.len())
    }

    /// Forgets so many of those without connections, at least: those that are due soonest. Many at
    /// once, since all have to be looked through for one.
    fn forget_soonest(&mut self, number: usize) {
        if number == 0 {
            return;
        }
        let idle = self.known.values().filter(|entry| entry.connections == 0);
        let mut due: Vec<_> = idle.map(|entry| entry.due).collect();
        let last = number.min(due.len());
        let Some(last) = last.checked_sub(1) else {
            return;
        };
        let (_, soonest, _) = due.select_nth_unstable(last);
        let soonest = *soonest;
        let mut left = number;
        self.known.retain(|_, entry| {
            let is_forgotten = left > 0 && entry.connections == 0 && entry.due <= soonest;
            left -= usize::from(is_forgotten);
            !is_forgotten
        });
    }
}

impl Entry {
    fn says_nothing(&self, now: u64) -> bool {
        self.connections == 0 && self.due <= now
    }
}

/// A panic elsewhere cannot leave a table half-changed.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More than there are workers on most machines.
const SHARDS: usize = 16;

/// To look through one part takes some 50 µs: a two-thousandth of this.
const LOOK_EVERY: u64 = 100_000_000;

/// The part of what is known that is forgotten at once, for lack of room: each newcomer of a flood
/// then costs some sixteen entries that are looked at.
const FORGOTTEN: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::pace::nanoseconds;
    use super::*;
    use crate::config::RateEntry;

    fn bounds(connections: u32, rate: Option<&str>) -> Bounds {
        let pace = rate.map(|rate| Pace::new(RateEntry::Rate(rate.parse().expect("a rate"))));
        Bounds {
            connections,
            pace,
            room: 16 * 64,
        }
    }

    #[test]
    fn each_has_its_own_limit_and_leaves_nothing_behind() {
        let (table, bounds) = (Table::default(), bounds(2, None));
        for key in 0..100 {
            assert_eq!(table.enter(key, bounds, 0), Entered::Counted);
            assert_eq!(table.enter(key, bounds, 0), Entered::Counted);
            assert_eq!(table.enter(key, bounds, 0), Entered::TooMany);
            table.leave(key, 0);
            assert_eq!(table.enter(key, bounds, 0), Entered::Counted);
        }
        for key in 0..100 {
            table.leave(key, 0);
            table.leave(key, 0);
            table.leave(key, 0);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_rate_is_remembered_without_connections_and_then_forgotten() {
        let (table, bounds) = (Table::default(), bounds(u32::MAX, Some("2/s")));
        let second = nanoseconds(Duration::from_secs(1));
        for entered in [Entered::Counted, Entered::Counted, Entered::TooFast] {
            assert_eq!(table.enter(7, bounds, 0), entered);
        }
        table.leave(7, 0);
        table.leave(7, 0);
        assert_eq!(table.enter(7, bounds, 0), Entered::TooFast);
        assert_eq!(table.enter(7, bounds, second), Entered::Counted);
        table.leave(7, 3 * second);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_flood_of_addresses_costs_no_more_than_the_room_and_closes_nothing() {
        let (table, bounds) = (Table::default(), bounds(1, None));
        let second = nanoseconds(Duration::from_secs(1));
        let mut unknown = 0;
        for key in 0..10_000 {
            match table.enter(key, bounds, second) {
                Entered::Counted => {}
                Entered::Unknown => unknown += 1,
                Entered::Instead(_) => panic!("all have connections"),
                Entered::TooMany | Entered::TooFast => panic!("{key} is new"),
            }
        }
        assert!(table.len() <= bounds.room && unknown > 0, "{}", table.len());
        for key in 0..10_000 {
            table.leave(key, second);
        }
        // Once they say nothing any more, there is room again.
        for key in 20_000..20_500 {
            assert_eq!(table.enter(key, bounds, 10 * second), Entered::Counted);
        }
        assert!(table.len() <= bounds.room, "{}", table.len());
    }

    #[test]
    fn a_flood_of_addresses_does_not_hide_who_comes_often() {
        let (table, bounds) = (Table::default(), bounds(u32::MAX, Some("5/h")));
        let connected = 1_000_000;
        assert_eq!(table.enter(connected, bounds, 0), Entered::Counted);
        for _ in 0..5 {
            assert_eq!(table.enter(7, bounds, 0), Entered::Counted);
            table.leave(7, 0);
        }
        let mut forgotten = 0;
        for key in 1000..50_000 {
            match table.enter(key, bounds, 1) {
                Entered::Counted => {}
                Entered::Instead(others) => forgotten += others,
                Entered::Unknown => panic!("there are some to be forgotten"),
                Entered::TooMany | Entered::TooFast => panic!("{key} is new"),
            }
            table.leave(key, 1);
        }
        assert_eq!(forgotten + table.len(), 49_000 + 2, "each is counted");
        assert!(table.len() <= bounds.room, "{}", table.len());
        assert_eq!(table.enter(7, bounds, 2), Entered::TooFast);
        for _ in 1..5 {
            assert_eq!(table.enter(connected, bounds, 2), Entered::Counted);
        }
        assert_eq!(table.enter(connected, bounds, 2), Entered::TooFast);
    }
}
