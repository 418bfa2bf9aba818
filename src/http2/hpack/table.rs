//! The dynamic table (RFC 7541 §2.3.2, §4).
//!
//! Names and values stand one behind the other in one piece of memory, the oldest first. Where a
//! new entry has no room behind the others, they move to the front.

use std::collections::VecDeque;

use super::Field;

/// A dynamic table, in which the newest entry comes first.
#[derive(Debug)]
pub(super) struct Table {
    /// What entries may have together, as RFC 7541 §4.1 counts.
    capacity: usize,
    /// What they have.
    size: usize,
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Their text, and before it that of some which are gone.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where its name begins.
    start: u32,
    /// Where its value begins.
    value: u32,
    /// Where its value ends.
    end: u32,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            size: 0,
            entries: VecDeque::new(),
            text: Vec::new(),
        }
    }

    /// The entry of this index, the newest having 0.
    pub(super) fn field(&self, index: usize) -> Option<Field<'_>> {
        let place = self.entries.len().checked_sub(index.checked_add(1)?)?;
        let entry = self.entries.get(place)?;
        let name = self.text.get(entry.start as usize..entry.value as usize)?;
        let value = self.text.get(entry.value as usize..entry.end as usize)?;
        Some((name, value))
    }

    /// Puts an entry before the others, for which the oldest make room. One that has no room even
    /// alone leaves the table empty (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict_to(self.capacity.saturating_sub(size));
        if size > self.capacity {
            return;
        }
        self.make_room(name.len() + value.len());
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        self.entries.push_back(Entry {
            start: small(start),
            value: small(start + name.len()),
            end: small(self.text.len()),
        });
        self.size += size;
    }

    /// Changes what entries may have together.
    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.evict_to(capacity);
        if capacity == 0 {
            (self.entries, self.text) = (VecDeque::new(), Vec::new());
        }
    }

    /// What entries have together.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Takes out the oldest until the others have no more than this together.
    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.size -= (oldest.end - oldest.start) as usize + OVERHEAD;
        }
        if self.entries.is_empty() {
            self.text.clear();
        }
    }

    /// Room behind the text, in no more memory than the capacity.
    fn make_room(&mut self, length: usize) {
        if self.text.len() + length <= self.text.capacity() {
            return;
        }
        let gone = self.entries.front().map_or(0, |oldest| oldest.start);
        self.text.drain(..gone as usize);
        for entry in &mut self.entries {
            entry.start -= gone;
            entry.value -= gone;
            entry.end -= gone;
        }
        let needed = self.text.len() + length;
        if needed > self.text.capacity() {
            let doubled = (2 * needed).max(SMALLEST).min(self.capacity);
            self.text
                .reserve_exact(doubled.max(needed) - self.text.len());
        }
    }
}

/// A place as it is stored: text has no more bytes than the capacity.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the capacity is what a setting of 32 bits says"
)]
fn small(place: usize) -> u32 {
    debug_assert!(u32::try_from(place).is_ok(), "no table is as large");
    place as u32
}

/// What an entry counts beyond its text (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// The memory that text begins with: two or three fields.
const SMALLEST: usize = 256;
