//! The streams of a session by number, and what is remembered of those that have ended.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::entry::Entry;

/// Streams by number. In boxes: a table that was full once costs an idle connection little.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<u32, Box<Entry>, BuildHasherDefault<IdHasher>>,
    ended: VecDeque<(u32, EndedBy)>,
    /// Streams whose end is remembered.
    remembers: usize,
}

/// How a stream ended, for frames that come all the same (RFC 9113 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Both sides were whole.
    Both,
    /// We reset it: what the other end had sent by then is under way.
    Us,
    /// The other end reset it, and said nothing more on it unless it errs.
    Them,
}

/// Numbers of streams are dense; those of one side are all odd.
#[derive(Debug, Default, Clone, Copy)]
struct IdHasher(u64);

impl Table {
    /// A table of so many streams: as many may be reset by us while bodies are under way on them.
    pub(super) fn new(max_streams: u32) -> Self {
        let most = usize::try_from(max_streams).unwrap_or(usize::MAX);
        Self {
            entries: HashMap::default(),
            ended: VecDeque::new(),
            remembers: most.clamp(REMEMBERED, REMEMBERED_AT_MOST),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(|entry| &mut **entry)
    }

    pub(super) fn insert(&mut self, id: u32, entry: Entry) {
        self.entries.insert(id, Box::new(entry));
    }

    pub(super) fn remove(&mut self, id: u32, by: EndedBy) -> Option<Box<Entry>> {
        let entry = self.entries.remove(&id)?;
        self.remember(id, by);
        Some(entry)
    }

    /// All that there are, in no order.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        self.entries
            .iter_mut()
            .map(|(&id, entry)| (id, &mut **entry))
    }

    /// A stream has ended that is not in the table, or not any more.
    pub(super) fn remember(&mut self, id: u32, by: EndedBy) {
        if self.ended.len() >= self.remembers {
            self.ended.pop_front();
        }
        self.ended.push_back((id, by));
    }

    /// How a stream ended, if that is remembered.
    pub(super) fn ended_by(&self, id: u32) -> Option<EndedBy> {
        let mut last = self.ended.iter().rev();
        last.find(|(ended, _)| *ended == id).map(|(_, by)| *by)
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(SPREAD);
    }
}

/// 2⁶⁴ divided by the golden ratio (Knuth, The Art of Computer Programming, vol. 3, §6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Streams whose end is remembered where there may be few.
const REMEMBERED: usize = 32;

/// The same where there may be many: 4 KiB.
const REMEMBERED_AT_MOST: usize = 512;
