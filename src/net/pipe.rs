//! Pipes: bulk moves from socket to socket without passing through our memory.
//!
//! `splice(2)` hands pages from a socket to a pipe and from there to another socket. That costs two
//! system calls for a piece, as copying does, and saves both copies; for small pieces it costs more
//! than it saves, so whoever asks has seen that there is much to come.
//!
//! What a pipe holds is memory of the kernel, and it takes two descriptors: a thread has a bounded
//! number of them at a time, empties each before it fills it again, and keeps some for the next
//! use. Where none can be had, or the kernel lets nobody splice (a sandbox may not), bytes are
//! copied as before. Who has many pipes already gets small ones (`pipe-user-pages-soft` in
//! pipe(7)), through which a splice moves less than a copy would: those are not used either.
//!
//! `splice` knows no flag against SIGPIPE: a program that uses this must ignore the signal, as
//! those of Rust do by default.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::time::Instant;

use super::Stream;

/// A pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    /// There until it is given back.
    ends: Option<Ends>,
    held: usize,
}

#[derive(Debug)]
struct Ends {
    source: OwnedFd,
    sink: OwnedFd,
}

impl Pipe {
    /// An empty pipe; `None` if this thread has as many as it may have, or there are no descriptors
    /// left, or only small pipes. Whoever was refused by the kernel is refused for a second.
    pub fn take() -> Option<Self> {
        if IN_USE.get() == AT_MOST || !works(try_out) {
            return None;
        }
        // While its thread ends there is no free list any more: then nothing needs a pipe either.
        let free = FREE.try_with(|free| free.borrow_mut().pop()).ok()?;
        let ends = match free {
            Some(ends) => ends,
            None if has_pause() => return None,
            None => Ends::open().inspect_err(|_| begin_pause()).ok()?,
        };
        IN_USE.set(IN_USE.get() + 1);
        Some(Self {
            ends: Some(ends),
            held: 0,
        })
    }

    /// Bytes that are in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what the stream takes. Ready with the number of bytes; only while some are held.
    ///
    /// # Panics
    ///
    /// Never: the ends are there until the pipe is dropped.
    pub fn poll_empty(&mut self, cx: &mut Context<'_>, sink: &Stream) -> Poll<io::Result<usize>> {
        let ends = self.ends.as_ref().expect(KEPT_UNTIL_DROPPED);
        let held = self.held;
        let moved = sink.poll_write_with(cx, |socket| moving(&ends.source, socket, held));
        if let Poll::Ready(Ok(count)) = &moved {
            self.held -= count;
        }
        moved
    }

    /// Takes up to `most` bytes that have come on the socket; 0 is its end. Only while the pipe is
    /// empty: a full one would look like a silent socket.
    ///
    /// # Panics
    ///
    /// Never: the ends are there until the pipe is dropped.
    pub fn draw(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        if self.held > 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ends = self.ends.as_ref().expect(KEPT_UNTIL_DROPPED);
        self.held = moving(socket, &ends.sink, most.min(SIZE))?;
        Ok(self.held)
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many pipes already.
        let _ = fcntl_setpipe_size(&sink, SIZE);
        if fcntl_getpipe_size(&sink)? < WORTH_FILLING {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { source, sink })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take();
        // An error is a thread that ends.
        let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get() - 1));
        if self.held > 0 {
            return; // what is in it belongs to nobody any more, and goes with it
        }
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.extend(ends);
            }
        });
    }
}

/// Whether bytes can be spliced from and to a socket here; tried once a thread, since what forbids
/// it would otherwise show in the middle of somebody's bytes. That there is no descriptor or no
/// memory now says nothing of later.
fn works(try_out: impl FnOnce() -> io::Result<()>) -> bool {
    if let Some(works) = WORKS.get() {
        return works;
    }
    if has_pause() {
        return false;
    }
    match try_out() {
        Ok(()) => WORKS.set(Some(true)),
        Err(error) if is_for_good(&error) => WORKS.set(Some(false)),
        Err(_) => begin_pause(),
    }
    WORKS.get() == Some(true)
}

/// Whether the kernel, or who confines us, will say the same next time.
fn is_for_good(error: &io::Error) -> bool {
    let forbids = [Errno::PERM, Errno::NOSYS, Errno::INVAL, Errno::ACCESS];
    let says = error.raw_os_error();
    error.kind() == io::ErrorKind::Unsupported
        || forbids
            .iter()
            .any(|errno| says == Some(errno.raw_os_error()))
}

/// Whether the kernel has refused a pipe a moment ago.
fn has_pause() -> bool {
    let is_over = |until: Instant| until <= Instant::now();
    PAUSE.get().is_some_and(|until| !is_over(until))
}

fn begin_pause() {
    PAUSE.set(Some(Instant::now() + REST));
}

fn try_out() -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    near.write_all(b"?")?;
    let Ends { source, sink } = Ends::open()?;
    if moving(&far, &sink, 1)? == 1 && moving(&source, &far, 1)? == 1 {
        Ok(())
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Moves up to `most` bytes without copying.
fn moving(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match splice(&from, None, &to, None, most, flags) {
            Err(Errno::INTR) => {}
            moved => return moved.map_err(io::Error::from),
        }
    }
}

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    static WORKS: Cell<Option<bool>> = const { Cell::new(None) };
    /// Until when no pipe is asked for.
    static PAUSE: Cell<Option<Instant>> = const { Cell::new(None) };
}

const KEPT_UNTIL_DROPPED: &str = "only a drop takes the ends away";

/// What a pipe holds: as much as a socket usually has to give at once.
const SIZE: usize = 256 * 1024;

/// What a pipe has to hold to be worth filling: one buffer's worth.
const WORTH_FILLING: usize = 64 * 1024;

/// How long a pipe that was refused is not asked for again: descriptors come back, and pages too,
/// but not between two pieces.
const REST: Duration = Duration::from_secs(1);

/// Pipes that a thread has in use at most: 16 MiB of the kernel's memory, 128 descriptors.
const AT_MOST: usize = 64;

/// Empty pipes that a thread keeps.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use() -> usize {
        IN_USE.get()
    }

    fn kept() -> usize {
        FREE.with(|free| free.borrow().len())
    }

    #[test]
    fn a_pipe_that_holds_bytes_takes_no_more() {
        let (mut writer, source) = UnixStream::pair().expect("a pair");
        writer.write_all(b"12").expect("open");
        let mut pipe = Pipe::take().expect("a pipe");
        assert_eq!(pipe.draw(source.as_fd(), 1).expect("bytes are there"), 1);
        assert!(pipe.draw(source.as_fd(), 1).is_err());
        assert_eq!(pipe.held(), 1);
    }

    #[test]
    fn a_silent_socket_would_block() {
        let (_writer, source) = UnixStream::pair().expect("a pair");
        let mut pipe = Pipe::take().expect("a pipe");
        let error = pipe.draw(source.as_fd(), SIZE).expect_err("nothing came");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_lacking_now_is_tried_again_and_what_is_forbidden_is_not() {
        let lacks = || Err(Errno::MFILE.into());
        assert!(!works(lacks));
        assert!(!works(|| Ok(())), "it was lacking a moment ago");
        PAUSE.set(Some(Instant::now()));
        assert!(works(|| Ok(())), "the second is over");
        assert!(works(lacks), "known");
        WORKS.set(None);
        assert!(!works(|| Err(Errno::PERM.into())));
        assert!(!works(|| Ok(())), "forbidden for good");
        assert_eq!(PAUSE.get().map(|until| until <= Instant::now()), Some(true));
    }

    #[test]
    fn a_pipe_that_was_refused_is_not_asked_for_at_once() {
        drop(Pipe::take().expect("a pipe"));
        begin_pause();
        let kept = Pipe::take();
        assert!(kept.is_some(), "one that is there already needs no asking");
        assert!(Pipe::take().is_none());
        PAUSE.set(None);
        assert!(Pipe::take().is_some());
    }

    #[test]
    fn empty_pipes_are_kept_and_others_are_not() {
        drop(Pipe::take().expect("a pipe"));
        assert_eq!((in_use(), kept()), (0, 1));
        let (mut writer, source) = UnixStream::pair().expect("a pair");
        writer.write_all(b"secret").expect("open");
        let mut pipe = Pipe::take().expect("a pipe");
        pipe.draw(source.as_fd(), SIZE).expect("bytes are there");
        drop(pipe);
        assert_eq!((in_use(), kept()), (0, 0));
    }

    #[test]
    fn their_number_is_bounded() {
        let many: Vec<Pipe> = (0..AT_MOST).filter_map(|_| Pipe::take()).collect();
        assert_eq!(many.len(), AT_MOST);
        assert!(Pipe::take().is_none());
        drop(many);
        assert_eq!((in_use(), kept()), (0, KEPT));
    }
}
