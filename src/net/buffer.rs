//! Buffers of a worker, recycled.
//!
//! Problem: a connection needs a buffer only while bytes are there, so buffers are taken and given
//! back for every message; an allocator does that well on average, but returns pages to the kernel
//! and faults them in again under load. Each thread therefore keeps a bounded stack of both sizes,
//! the most recently used (so the warm one) on top.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut, Range};

use bytes::Bytes;

/// A buffer that goes back to its thread when dropped, unless it has grown.
pub struct Buffer {
    bytes: Vec<u8>,
}

/// A part of a buffer, which it keeps alive.
struct Piece {
    buffer: Buffer,
    range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Ordinary,
    Large,
}

/// The buffers that a thread keeps.
struct Free {
    ordinary: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl Buffer {
    /// An empty buffer with room for [`BUFFER`] bytes.
    #[inline]
    pub fn take() -> Self {
        Self::of(Class::Ordinary)
    }

    /// An empty buffer with room for [`LARGE_BUFFER`] bytes.
    #[inline]
    pub fn take_large() -> Self {
        Self::of(Class::Large)
    }

    /// A range of the buffer as bytes that can be shared, without copying. The buffer goes back
    /// when the last of them is dropped, to the thread that drops it.
    ///
    /// # Panics
    ///
    /// If the range is not within the buffer.
    pub fn into_bytes(self, range: Range<usize>) -> Bytes {
        assert!(
            range.start <= range.end && range.end <= self.bytes.len(),
            "a range within the buffer"
        );
        Bytes::from_owner(Piece {
            buffer: self,
            range,
        })
    }

    #[inline]
    fn of(class: Class) -> Self {
        // While its thread ends there is no free list any more, and a new buffer does as well.
        let free = FREE.try_with(|free| free.borrow_mut().class(class).pop());
        match free {
            Ok(Some(bytes)) => Self { bytes },
            Ok(None) | Err(_) => Self::new(class),
        }
    }

    #[cold]
    fn new(class: Class) -> Self {
        Self {
            bytes: Vec::with_capacity(class.capacity()),
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(class) = Class::of_capacity(self.bytes.capacity()) else {
            return;
        };
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        // An error is a thread that ends: the closure is dropped, and the buffer with it.
        let _ = FREE.try_with(move |free| {
            let mut free = free.borrow_mut();
            let kept = free.class(class);
            if kept.len() < class.kept() {
                kept.push(bytes);
            }
        });
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {})", self.len(), self.capacity())
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl Class {
    /// `None` of a buffer that has grown.
    fn of_capacity(capacity: usize) -> Option<Self> {
        match capacity {
            BUFFER => Some(Self::Ordinary),
            LARGE_BUFFER => Some(Self::Large),
            _ => None,
        }
    }

    fn capacity(self) -> usize {
        match self {
            Self::Ordinary => BUFFER,
            Self::Large => LARGE_BUFFER,
        }
    }

    fn kept(self) -> usize {
        match self {
            Self::Ordinary => KEPT,
            Self::Large => KEPT_LARGE,
        }
    }
}

impl Free {
    #[inline]
    fn class(&mut self, class: Class) -> &mut Vec<Vec<u8>> {
        match class {
            Class::Ordinary => &mut self.ordinary,
            Class::Large => &mut self.large,
        }
    }
}

thread_local! {
    static FREE: RefCell<Free> = const {
        RefCell::new(Free {
            ordinary: Vec::new(),
            large: Vec::new(),
        })
    };
}

/// Room of an ordinary buffer: a head at its default limit, and what most messages are in all.
pub const BUFFER: usize = 16 * 1024;

/// Room of a large buffer: one read of a body that streams; more brings no fewer cycles a byte.
pub const LARGE_BUFFER: usize = 64 * 1024;

/// Ordinary buffers that a thread keeps: 4 MiB.
const KEPT: usize = 256;

/// Large buffers that a thread keeps: 2 MiB.
const KEPT_LARGE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(buffer: &Buffer) -> usize {
        buffer.as_ptr().addr()
    }

    #[test]
    fn a_dropped_buffer_comes_back_empty_to_the_next_that_asks() {
        let mut first = Buffer::take();
        first.extend_from_slice(b"secret");
        let place = address(&first);
        drop(first);
        let second = Buffer::take();
        assert_eq!(address(&second), place);
        assert_eq!((second.len(), second.capacity()), (0, BUFFER));
    }

    #[test]
    fn classes_are_kept_apart() {
        drop(Buffer::take());
        assert_eq!(Buffer::take_large().capacity(), LARGE_BUFFER);
        assert_eq!(Buffer::take().capacity(), BUFFER);
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let mut grown = Buffer::take();
        grown.resize(BUFFER + 1, 0);
        drop(grown);
        assert_eq!(Buffer::take().capacity(), BUFFER);
    }

    #[test]
    fn the_free_list_is_bounded() {
        let many: Vec<Buffer> = (0..KEPT + 10).map(|_| Buffer::take()).collect();
        drop(many);
        let kept = FREE.with(|free| free.borrow().ordinary.len());
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn bytes_of_a_buffer_share_it_and_give_it_back() {
        let mut buffer = Buffer::take();
        buffer.extend_from_slice(b"head body tail");
        let place = address(&buffer);
        let bytes = buffer.into_bytes(5..9);
        assert_eq!(bytes.as_ref(), b"body");
        assert_eq!(bytes.as_ptr().addr(), place + 5);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_ne!(address(&Buffer::take_large()), place);
        assert_eq!(part.as_ref(), b"ody");
        drop(part);
        assert_eq!(address(&Buffer::take()), place);
    }

    #[test]
    #[should_panic(expected = "a range within the buffer")]
    fn a_range_outside_is_the_caller_s_mistake() {
        drop(Buffer::take().into_bytes(0..1));
    }
}
