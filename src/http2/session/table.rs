//! The streams of a session by number, and what is remembered of those that have ended.
//!
//! On a stream that we ended, the other end may still be speaking: it has not heard. All of those
//! that it may not have heard of were open to its knowledge at the same time, so there are no more
//! of them than it may have open; unless it cancels some and has others refused, which costs it
//! their memory and not the connection. Nor may more be under way on each than its window had room
//! for: what comes beyond was said by somebody who has heard.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::entry::Entry;

/// Streams by number. In boxes: a table that was full once costs an idle connection little.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<u32, Box<Entry>, BuildHasherDefault<IdHasher>>,
    /// Streams that we ended: apart from the others, however many of which end meanwhile.
    late: VecDeque<Late>,
    /// Streams on which nothing more can be under way.
    closed: VecDeque<(u32, EndedBy)>,
    /// The highest number of those that we ended and do not remember.
    forgotten: u32,
    /// What may be under way on those, and on streams that came when no more were taken.
    unknown: Unknown,
    /// Streams of each kind whose end is remembered.
    remembers: usize,
}

/// A stream that we ended.
#[derive(Debug, Clone, Copy)]
struct Late {
    id: u32,
    /// Bytes that may be under way on it.
    room: u32,
}

/// What may be under way on streams of which nothing is kept, on all of them together.
#[derive(Debug, Default)]
struct Unknown {
    bytes: u64,
    ends: u64,
}

/// How a stream ended, for frames that come all the same (RFC 9113 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Both sides were whole.
    Both,
    /// We reset it: what the other end had sent by then is under way.
    Us,
    /// It may have been us: that is too many ends ago to be known.
    Unknown,
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
            late: VecDeque::new(),
            closed: VecDeque::new(),
            forgotten: 0,
            unknown: Unknown::default(),
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
        match by {
            EndedBy::Us | EndedBy::Unknown => self.remember_late(id, entry.receive.room()),
            EndedBy::Both | EndedBy::Them => self.remember_closed(id, by),
        }
        Some(entry)
    }

    /// Ends that are remembered: those of ours, and the others.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.late.len(), self.closed.len())
    }

    /// All that there are, in no order.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        self.entries
            .iter_mut()
            .map(|(&id, entry)| (id, &mut **entry))
    }

    /// We have ended a stream that is not in the table, or not any more. So many bytes may be under
    /// way on it.
    pub(super) fn remember_late(&mut self, id: u32, room: u32) {
        if self.late.len() >= self.remembers
            && let Some(oldest) = self.late.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.id);
            self.unknown.add(oldest.room);
        }
        self.late.push_back(Late { id, room });
    }

    /// A stream came when no more were taken. Its end is to come, and so many bytes before it.
    pub(super) fn ignore(&mut self, room: u32) {
        self.unknown.add(room);
        self.unknown.ends = self.unknown.ends.saturating_add(1);
    }

    /// Whether so many bytes, or an end, may have been under way on one of those.
    pub(super) fn ignored_may_say(&mut self, bytes: usize, ends: bool) -> bool {
        if ends && self.unknown.ends == 0 {
            return false;
        }
        self.unknown.ends -= u64::from(ends);
        self.unknown.take(bytes)
    }

    /// Whether so many bytes may have been under way on a stream that we ended.
    pub(super) fn late_may_say(&mut self, id: u32, bytes: usize) -> bool {
        let Some(late) = self.late.iter_mut().rfind(|late| late.id == id) else {
            return self.unknown.take(bytes);
        };
        let left = u32::try_from(bytes).ok();
        let left = left.and_then(|bytes| late.room.checked_sub(bytes));
        late.room = left.unwrap_or(late.room);
        left.is_some()
    }

    /// The other end has said its last word on a stream that is not in the table any more.
    pub(super) fn close(&mut self, id: u32) {
        if let Some(place) = self.late.iter().rposition(|late| late.id == id) {
            self.late.remove(place);
            self.remember_closed(id, EndedBy::Them);
        } else if let Some((_, by)) = self.closed.iter_mut().rfind(|(closed, _)| *closed == id) {
            *by = EndedBy::Them;
        }
    }

    fn remember_closed(&mut self, id: u32, by: EndedBy) {
        if self.closed.len() >= self.remembers {
            self.closed.pop_front();
        }
        self.closed.push_back((id, by));
    }

    /// How a stream ended, if that is remembered.
    pub(super) fn ended_by(&self, id: u32) -> Option<EndedBy> {
        if self.late.iter().rev().any(|late| late.id == id) {
            return Some(EndedBy::Us);
        }
        let mut last = self.closed.iter().rev();
        let closed = last.find(|(closed, _)| *closed == id).map(|(_, by)| *by);
        closed.or((id <= self.forgotten).then_some(EndedBy::Unknown))
    }
}

impl Unknown {
    fn add(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
    }

    /// Whether so many of the bytes were left.
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes as u64);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
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

/// The same where there may be many: 8 KiB for both kinds.
const REMEMBERED_AT_MOST: usize = 512;
