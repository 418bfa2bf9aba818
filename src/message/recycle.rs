//! The memory of fields, recycled.
//!
//! Every message has fields, so what holds them goes back to its thread and is taken again: the
//! most recently used first, which is warm.

use std::cell::RefCell;
use std::mem;

use super::line::Line;

/// What fields are kept in.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) text: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

impl Store {
    /// An empty store with room for an ordinary head.
    pub(super) fn take() -> Self {
        // While its thread ends there is no free list any more, and a new store does as well.
        let free = FREE.try_with(|free| free.borrow_mut().pop());
        let (text, lines) = free
            .ok()
            .flatten()
            .unwrap_or_else(|| (Vec::with_capacity(TEXT), Vec::with_capacity(LINES)));
        Self { text, lines }
    }
}

/// What a store is made of.
type Memory = (Vec<u8>, Vec<Line>);

impl Clone for Store {
    fn clone(&self) -> Self {
        let mut copy = Self::take();
        copy.text.extend_from_slice(&self.text);
        copy.lines.extend_from_slice(&self.lines);
        copy
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.text.capacity() > KEPT_TEXT || self.lines.capacity() > KEPT_LINES {
            return;
        }
        let (mut text, mut lines) = (mem::take(&mut self.text), mem::take(&mut self.lines));
        text.clear();
        lines.clear();
        // An error is a thread that ends: the closure is dropped, and the memory with it.
        let _ = FREE.try_with(move |free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push((text, lines));
            }
        });
    }
}

thread_local! {
    static FREE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that a new store has room for: the fields of a browser with a session, and ours.
const TEXT: usize = 1536;

/// Lines that a new store has room for.
const LINES: usize = 24;

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
