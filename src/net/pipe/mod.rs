//! Pipes: bulk moves from socket to socket without passing through our memory.
//!
//! `splice(2)` hands pages from a socket to a pipe and from there to another socket. That costs two
//! system calls for a piece, as copying does, and saves both copies; for small pieces it costs more
//! than it saves, so whoever asks has seen that there is much to come.
//!
//! What a pipe holds is memory of the kernel, and it takes two descriptors: a thread has a bounded
//! number of them at a time, empties each before it fills it again, and takes those back through
//! which nothing moves. Where none can be had, or the kernel lets nobody splice (a sandbox may do
//! so), bytes are copied as before. Who has many pipes already gets small ones
//! (`pipe-user-pages-soft` in pipe(7)), through which a splice moves less than a copy would: those
//! are not used either.
//!
//! `splice` knows no flag against SIGPIPE: a program that uses this must ignore the signal, as
//! those of Rust do by default.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use self::pool::{Ends, Lent, begin_pause, has_pause};
use super::Stream;

mod pool;

/// A pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    lent: Rc<Lent>,
}

impl Pipe {
    /// An empty pipe; `None` if this thread has as many as it may have and something moves through
    /// each, or there are no descriptors left, or only small pipes. Whoever was refused by the
    /// kernel is refused for a second.
    pub fn take() -> Option<Self> {
        if !works(try_out) {
            return None;
        }
        pool::lend().map(|lent| Self { lent })
    }

    /// Bytes that are in it.
    pub fn held(&self) -> usize {
        self.lent.held()
    }

    /// Whether it can be filled again, once it is empty: others may have got it meanwhile.
    pub fn is_whole(&self) -> bool {
        self.lent.is_whole()
    }

    /// Moves what the stream takes. Ready with the number of bytes; only while some are held.
    pub fn poll_empty(&mut self, cx: &mut Context<'_>, sink: &Stream) -> Poll<io::Result<usize>> {
        sink.poll_write_with(cx, |socket| self.lent.empty(socket))
    }

    /// Takes up to `most` bytes that have come on the socket; 0 is its end. Only while the pipe is
    /// empty, since a full one would look like a silent socket, and whole.
    pub fn draw(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        self.lent.fill(socket, most)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        pool::take_back(&self.lent);
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
    static WORKS: Cell<Option<bool>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests;
