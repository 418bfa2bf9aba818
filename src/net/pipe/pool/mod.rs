//! The pipes of a thread: those that are lent, and some for the next use.
//!
//! Problem: a pipe is lent for as long as something is in it, so readers that stall would soon have
//! all of them, and keep them for as long as a session may be silent: hours. So once all are lent,
//! one through which nothing has moved for a while is emptied into memory and lent to whoever wants
//! it; what was in it waits there as if it had been copied. That is never more than a copy holds:
//! pipes with more in them are left alone, and so that those are not all, the second half of the
//! pipes is not filled beyond that.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use tokio::time::Instant;

use super::moving;
use crate::net::LARGE_BUFFER;

/// Both ends of a pipe.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) source: OwnedFd,
    pub(super) sink: OwnedFd,
}

/// What somebody has who took a pipe, and who may lose it again.
#[derive(Debug)]
pub(super) struct Lent {
    content: RefCell<Content>,
    held: Cell<usize>,
    /// What it is filled with at most.
    most: usize,
    /// Whether something has moved since that was asked last.
    has_moved: Cell<bool>,
    /// Where it stands among those that are lent.
    place: Cell<usize>,
}

/// Where the bytes are.
#[derive(Debug)]
enum Content {
    Piped(Ends),
    /// Others needed the pipe.
    Copied(Bytes),
}

/// All of a thread.
#[derive(Debug, Default)]
struct Pool {
    free: Vec<Ends>,
    lent: Vec<Rc<Lent>>,
    /// Those through which nothing had moved when that was last looked at.
    resting: Vec<Weak<Lent>>,
    /// When it may be looked at again.
    next_look: Option<Instant>,
}

impl Ends {
    pub(super) fn open() -> io::Result<Self> {
        let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many pipes already.
        let _ = fcntl_setpipe_size(&sink, SIZE);
        if fcntl_getpipe_size(&sink)? < WORTH_FILLING {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { source, sink })
    }

    /// Takes all that is in it, which is so much.
    fn read_all(&self, held: usize) -> Result<Bytes, Errno> {
        let mut bytes = Vec::with_capacity(held);
        while bytes.len() < held {
            let count = retry_on_intr(|| read(&self.source, spare_capacity(&mut bytes)))?;
            if count == 0 {
                return Err(Errno::PIPE);
            }
        }
        Ok(bytes.into())
    }
}

impl Lent {
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether there is still a pipe.
    pub(super) fn is_whole(&self) -> bool {
        matches!(*self.content.borrow(), Content::Piped(_))
    }

    pub(super) fn fill(&self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        match &*self.content.borrow() {
            Content::Piped(ends) if self.held() == 0 => {
                let count = moving(socket, &ends.sink, most.min(self.most))?;
                self.held.set(count);
                Ok(count)
            }
            Content::Piped(_) | Content::Copied(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn empty(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = match &mut *self.content.borrow_mut() {
            Content::Piped(ends) => moving(&ends.source, socket, self.held())?,
            Content::Copied(bytes) if bytes.is_empty() => {
                // It could not be read.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Content::Copied(bytes) => {
                let count = retry_on_intr(|| send(socket, bytes, SendFlags::NOSIGNAL))?;
                bytes.advance(count);
                count
            }
        };
        self.held.set(self.held() - count);
        self.has_moved.set(true);
        Ok(count)
    }

    /// Whether nothing has moved since this was asked last.
    fn rests(&self) -> bool {
        !self.has_moved.replace(false)
    }

    /// Whether the pipe can be had: what is in it is no more than who copies would hold.
    fn can_be_emptied(&self) -> bool {
        !self.has_moved.get() && (1..=LARGE_BUFFER).contains(&self.held()) && self.is_whole()
    }

    /// The pipe, with nothing in it. What cannot be read is lost, and whoever wants it is told.
    fn give_up(&self) -> Option<Ends> {
        let content = self.content.replace(Content::Copied(Bytes::new()));
        let Content::Piped(ends) = content else {
            return None;
        };
        let bytes = ends.read_all(self.held()).ok()?;
        self.content.replace(Content::Copied(bytes));
        Some(ends)
    }
}

impl Pool {
    fn lend(&mut self) -> Option<Rc<Lent>> {
        let ends = if self.lent.len() >= AT_MOST {
            self.empty_one()?
        } else {
            match self.free.pop() {
                Some(ends) => ends,
                None if has_pause() => return None,
                None => Ends::open().inspect_err(|_| begin_pause()).ok()?,
            }
        };
        let place = self.lent.len();
        let lent = Rc::new(Lent {
            content: RefCell::new(Content::Piped(ends)),
            held: Cell::new(0),
            most: if place < DEEP { SIZE } else { LARGE_BUFFER },
            has_moved: Cell::new(true),
            place: Cell::new(place),
        });
        self.lent.push(Rc::clone(&lent));
        Some(lent)
    }

    fn take_back(&mut self, lent: &Lent) {
        let content = lent.content.replace(Content::Copied(Bytes::new()));
        let Content::Piped(ends) = content else {
            return; // others have it
        };
        self.forget(lent);
        // What is in it belongs to nobody any more, and goes with it.
        if lent.held() == 0 && self.free.len() < KEPT {
            self.free.push(ends);
        }
    }

    /// A pipe through which nothing moves, if there is one.
    fn empty_one(&mut self) -> Option<Ends> {
        if self.resting.is_empty() {
            self.look();
        }
        while let Some(lent) = self.resting.pop() {
            if let Some(lent) = lent.upgrade().filter(|lent| lent.can_be_emptied()) {
                self.forget(&lent);
                return lent.give_up();
            }
        }
        None
    }

    /// Finds out through which nothing has moved since the last look. Who wants a pipe asks with
    /// every piece that it copies.
    fn look(&mut self) {
        let now = Instant::now();
        if self.next_look.is_some_and(|next| now < next) {
            return;
        }
        self.next_look = Some(now + RESTED);
        let resting = self.lent.iter().filter(|lent| lent.rests());
        self.resting = resting.map(Rc::downgrade).collect();
    }

    fn forget(&mut self, lent: &Lent) {
        let place = lent.place.get();
        self.lent.swap_remove(place);
        if let Some(moved) = self.lent.get(place) {
            moved.place.set(place);
        }
    }
}

/// An empty pipe, if there is one.
pub(super) fn lend() -> Option<Rc<Lent>> {
    // While its thread ends there is no pool any more: then nothing needs a pipe either.
    POOL.try_with(|pool| pool.borrow_mut().lend()).ok()?
}

/// Whoever had it needs it no more.
pub(super) fn take_back(lent: &Lent) {
    // An error is a thread that ends.
    let _ = POOL.try_with(|pool| pool.borrow_mut().take_back(lent));
}

/// Whether the kernel has refused a pipe a moment ago.
pub(super) fn has_pause() -> bool {
    let is_over = |until: Instant| until <= Instant::now();
    PAUSE.get().is_some_and(|until| !is_over(until))
}

pub(super) fn begin_pause() {
    PAUSE.set(Some(Instant::now() + REST));
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
    /// Until when no pipe is asked for.
    pub(super) static PAUSE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a pipe holds: as much as a socket usually has to give at once.
const SIZE: usize = 256 * 1024;

/// What a pipe has to hold to be worth filling: one buffer's worth.
const WORTH_FILLING: usize = 64 * 1024;

/// How long a pipe that was refused is not asked for again: descriptors come back, and pages too,
/// but not between two pieces.
const REST: Duration = Duration::from_secs(1);

/// Pipes that a thread lends at most: 128 descriptors, and some 10 MiB of the kernel's memory.
const AT_MOST: usize = 64;

/// Those that are filled as far as they go.
const DEEP: usize = AT_MOST / 2;

/// Empty pipes that a thread keeps.
const KEPT: usize = 16;

/// How long nothing has moved at least through a pipe that is emptied. Who reads so slowly gains
/// nothing by it; and who reads at all is not robbed in turn by everybody else.
const RESTED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
