//! The memory of fields, recycled.
//!
//! Every message has fields, so what holds them goes back to its thread and is taken again: the
//! most recently used first, which is warm.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::line::Line;

/// What fields are kept in: one word, since heads are moved about.
#[derive(Debug)]
pub(super) struct Store {
    /// There until it is given back.
    memory: Option<Box<Memory>>,
}

/// What a store is made of.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) text: Vec<u8>,
    pub(super) lines: Vec<Line>,
    /// A bit for each name that is or was there: most that are asked for never were.
    pub(super) seen: u64,
}

impl Store {
    /// An empty store with room for an ordinary head.
    #[inline]
    pub(super) fn take() -> Self {
        // While its thread ends there is no free list any more, and a new store does as well.
        let free = FREE.try_with(|free| free.borrow_mut().pop());
        let memory = match free {
            Ok(Some(memory)) => memory,
            Ok(None) | Err(_) => Box::new(Memory::new()),
        };
        Self {
            memory: Some(memory),
        }
    }
}

impl Memory {
    #[cold]
    fn new() -> Self {
        Self {
            text: Vec::with_capacity(TEXT),
            lines: Vec::with_capacity(LINES),
            seen: 0,
        }
    }
}

impl Deref for Store {
    type Target = Memory;

    #[inline]
    fn deref(&self) -> &Memory {
        self.memory.as_ref().expect(KEPT_UNTIL_DROPPED)
    }
}

impl DerefMut for Store {
    #[inline]
    fn deref_mut(&mut self) -> &mut Memory {
        self.memory.as_mut().expect(KEPT_UNTIL_DROPPED)
    }
}

impl Clone for Store {
    fn clone(&self) -> Self {
        let mut copy = Self::take();
        copy.text.extend_from_slice(&self.text);
        copy.lines.extend_from_slice(&self.lines);
        copy.seen = self.seen;
        copy
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Some(mut memory) = self.memory.take() else {
            return;
        };
        if memory.text.capacity() > KEPT_TEXT || memory.lines.capacity() > KEPT_LINES {
            return;
        }
        memory.text.clear();
        memory.lines.clear();
        memory.seen = 0;
        // An error is a thread that ends: the closure is dropped, and the memory with it.
        let _ = FREE.try_with(move |free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(memory);
            }
        });
    }
}

/// In boxes, since what is kept goes from hand to hand as one word, and back again.
type Kept = Vec<Box<Memory>>;

thread_local! {
    static FREE: RefCell<Kept> = const { RefCell::new(Vec::new()) };
}

const KEPT_UNTIL_DROPPED: &str = "only a drop takes the memory away";

/// Bytes that a new store has room for: the fields of a browser, and ours. A request that waits for
/// its endpoint holds them, and there may be thousands; one with more fields grows.
const TEXT: usize = 768;

/// Lines that a new store has room for.
const LINES: usize = 20;

/// A store that has grown beyond this is not kept.
const KEPT_TEXT: usize = 8 * 1024;

/// As [`KEPT_TEXT`], for lines.
const KEPT_LINES: usize = 128;

/// Stores that a thread keeps: two for each of 128 requests under way, 2.5 MiB at most.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        FREE.with(|free| free.borrow().len())
    }

    #[test]
    fn what_is_dropped_comes_back_empty() {
        let mut first = Store::take();
        first.text.extend_from_slice(b"secret");
        let place = first.text.as_ptr();
        drop(first);
        let second = Store::take();
        assert_eq!(second.text.as_ptr(), place);
        assert!(second.text.is_empty() && second.lines.is_empty());
    }

    #[test]
    fn what_has_grown_is_not_kept_and_the_list_is_bounded() {
        let before = kept();
        let mut grown = Store::take();
        grown.text.reserve(KEPT_TEXT + 1);
        drop(grown);
        assert_eq!(kept(), before);
        let many: Vec<Store> = (0..KEPT + 10).map(|_| Store::take()).collect();
        drop(many);
        assert_eq!(kept(), KEPT);
    }
}
