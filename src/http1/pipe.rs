//! Pipes: large bodies move from socket to socket without passing through our memory.
//!
//! `splice(2)` hands pages from a socket to a pipe and from there to another socket. That costs two
//! system calls for a piece, as copying does, and saves both copies; for small pieces it costs more
//! than it saves, so whoever asks has seen that there is much to come.
//!
//! What a pipe holds is memory of the kernel, and it takes two descriptors: a thread has a bounded
//! number of them at a time, empties each before it fills it again, and keeps some for the next
//! body. Where none can be had, bytes are copied as before.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::body::Conduit;
use crate::net::Stream;

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
    /// left.
    pub fn take() -> Option<Self> {
        if IN_USE.get() == AT_MOST {
            return None;
        }
        // While its thread ends there is no free list any more: then nothing needs a pipe either.
        let free = FREE.try_with(|free| free.borrow_mut().pop()).ok()?;
        let ends = match free {
            Some(ends) => ends,
            None => Ends::open().ok()?,
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
    pub fn poll_empty(&mut self, cx: &mut Context<'_>, sink: &Stream) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        let held = self.held;
        let moved = sink.poll_write_with(cx, |socket| moving(&ends.source, socket, held));
        if let Poll::Ready(Ok(count)) = &moved {
            self.held -= count;
        }
        moved
    }
}

impl Conduit for Pipe {
    /// Only while it is empty: a full pipe would look like a silent socket.
    fn draw(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "filled only when it is empty");
        let Some(ends) = &self.ends else {
            return Ok(0);
        };
        self.held = moving(socket, &ends.sink, most.min(SIZE))?;
        Ok(self.held)
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (source, sink) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many pipes already: then it holds less at a time.
        let _ = fcntl_setpipe_size(&sink, SIZE);
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
}

/// What a pipe holds: as much as a socket usually has to give at once.
const SIZE: usize = 256 * 1024;

/// Pipes that a thread has in use at most: 16 MiB of the kernel's memory, 128 descriptors.
const AT_MOST: usize = 64;

/// Empty pipes that a thread keeps.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn in_use() -> usize {
        IN_USE.get()
    }

    fn kept() -> usize {
        FREE.with(|free| free.borrow().len())
    }

    #[tokio::test]
    async fn bytes_pass_in_their_order() {
        let (mut writer, source) = UnixStream::pair().expect("a pair");
        let (mut reader, sink) = UnixStream::pair().expect("a pair");
        sink.set_nonblocking(true).expect("a socket");
        let sink = Stream::Unix(tokio::net::UnixStream::from_std(sink).expect("a runtime"));
        let mut pipe = Pipe::take().expect("a pipe");
        for text in ["first", "second"] {
            writer.write_all(text.as_bytes()).expect("open");
            let drawn = pipe.draw(source.as_fd(), SIZE).expect("bytes are there");
            assert_eq!((drawn, pipe.held()), (text.len(), text.len()));
            let moved = std::future::poll_fn(|cx| pipe.poll_empty(cx, &sink)).await;
            assert_eq!((moved.expect("open"), pipe.held()), (text.len(), 0));
            let mut bytes = vec![0; text.len()];
            reader.read_exact(&mut bytes).expect("bytes came");
            assert_eq!(bytes, text.as_bytes());
        }
        drop(writer);
        assert_eq!(pipe.draw(source.as_fd(), SIZE).expect("the end"), 0);
    }

    #[test]
    fn a_silent_socket_would_block() {
        let (_writer, source) = UnixStream::pair().expect("a pair");
        let mut pipe = Pipe::take().expect("a pipe");
        let error = pipe.draw(source.as_fd(), SIZE).expect_err("nothing came");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
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
