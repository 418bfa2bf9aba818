//! A connection: its socket and its session, driven by one task.
//!
//! The driver reads and writes for all streams. Their tasks put what they have to say into the
//! session and wake the driver, whose turn comes behind theirs: what many streams say in one round
//! leaves in one write. While the other end does not take what it makes us say, nothing more is
//! read from it.

mod ends;
mod owner;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::http2::driven::{Driven, Ended, State};
use crate::http2::inbox::Inbox;
use crate::http2::session::{Event, Role, Session};
use crate::http2::settings::Settings;
use crate::http2::stream::Stream;
use crate::net;
use crate::time::{Deadline, Instant};

/// A connection that speaks HTTP/2, shared by the task that drives it and the tasks of its streams.
#[derive(Debug)]
pub struct Connection {
    stream: net::Stream,
    role: Role,
    session: RefCell<Session>,
    inbox: RefCell<Inbox>,
    driver: RefCell<Option<Waker>>,
    /// Whether the driver knows that there is something to do.
    is_woken: Cell<bool>,
    ending: RefCell<Option<Ended>>,
    is_shut: Cell<bool>,
    received: Cell<u64>,
    /// Why nothing can be written any more, while what came before that is still read.
    unwritable: RefCell<Option<io::Error>>,
    /// Reads that are left then.
    last_reads: Cell<usize>,
    is_held_up: Cell<bool>,
    /// Whether whole frames came that have not been looked at.
    has_more: Cell<bool>,
    /// How long a little room is not used: until there is more.
    patience: Deadline,
    is_patient: Cell<bool>,
}

impl Connection {
    /// Our side towards a client. `received` are bytes that came before: the beginning of the
    /// preface.
    pub fn server(
        stream: net::Stream,
        received: &[u8],
        settings: Settings,
        now: Instant,
    ) -> Rc<Self> {
        Self::new(stream, (Role::Server, received), settings, now)
    }

    /// Our side towards an endpoint. The preface leaves with the first write.
    pub fn client(stream: net::Stream, settings: Settings, now: Instant) -> Rc<Self> {
        Self::new(stream, (Role::Client, &[]), settings, now)
    }

    fn new(
        stream: net::Stream,
        (role, received): (Role, &[u8]),
        settings: Settings,
        now: Instant,
    ) -> Rc<Self> {
        Rc::new(Self {
            stream,
            role,
            session: RefCell::new(Session::new(role, settings, now)),
            inbox: RefCell::new(Inbox::new(received)),
            driver: RefCell::default(),
            is_woken: Cell::default(),
            ending: RefCell::default(),
            is_shut: Cell::default(),
            received: Cell::default(),
            unwritable: RefCell::default(),
            last_reads: Cell::new(READS_AT_END),
            is_held_up: Cell::default(),
            has_more: Cell::default(),
            patience: Deadline::default(),
            is_patient: Cell::default(),
        })
    }

    /// The socket.
    pub fn stream(&self) -> &net::Stream {
        &self.stream
    }

    /// Reads and writes for all streams until something is to be acted on. Only the one task that
    /// drives the connection may call this; dropping that task without [`Driven::Ended`] must be
    /// followed by dropping all streams.
    pub fn poll_drive(self: &Rc<Self>, cx: &mut Context<'_>, now: Instant) -> Poll<Driven> {
        self.is_woken.set(false);
        self.register(cx.waker());
        let driven = self.poll_reads_and_writes(cx, now);
        if driven.is_pending() && !self.is_unwritable() {
            self.poll_patience(cx, now);
        }
        if driven.is_pending() && self.session.borrow_mut().pass_turns() {
            // The tasks of those that were called have been woken, and run before this one does.
            self.wake();
        }
        driven
    }

    fn poll_reads_and_writes(self: &Rc<Self>, cx: &mut Context<'_>, now: Instant) -> Poll<Driven> {
        let mut reads = 0;
        if self.received.get() == 0 {
            // What came before the connection was one of HTTP/2.
            self.take_in(now);
        }
        loop {
            if let Some(event) = self.session.borrow_mut().next_event() {
                return Poll::Ready(self.driven(event));
            }
            let flushed = self.poll_flush(cx, now).is_ready();
            if self.is_ending() {
                return self.poll_end(cx, flushed);
            }
            if flushed && self.session.borrow().is_finished() {
                self.close(Ended::Closed);
                continue;
            }
            if self.session.borrow().is_flooded() {
                return Poll::Pending;
            }
            if reads == READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            if self.has_more.get() {
                self.take_in(now);
                continue;
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => self.ended_by_them(),
                Ok(count) => {
                    self.received.set(self.received.get() + count as u64);
                    self.take_in(now);
                }
                Err(error) => return Poll::Ready(self.broke(error)),
            }
        }
    }

    /// Lets streams use what little room there is, once there has been no more for a while.
    fn poll_patience(&self, cx: &mut Context<'_>, now: Instant) {
        let has_slivers = self.session.borrow().has_slivers();
        if !has_slivers {
            return self.is_patient.set(false);
        }
        if !self.is_patient.replace(true) {
            self.patience.set_at(now + PATIENCE);
        }
        if self.patience.poll_passed(cx).is_ready() {
            self.is_patient.set(false);
            self.session.borrow_mut().hurry();
        }
    }

    /// Gives the session what is there.
    fn take_in(&self, now: Instant) {
        let mut inbox = self.inbox.borrow_mut();
        let taken = self.session.borrow_mut().receive(inbox.bytes(), now);
        match taken {
            Ok(count) => {
                inbox.consume(count);
                let rest = inbox.bytes();
                self.has_more.set(count > 0 && Session::is_whole(rest));
            }
            Err(fault) => {
                drop(inbox);
                self.end(fault);
            }
        }
    }

    fn driven(self: &Rc<Self>, event: Event) -> Driven {
        let stream = |id| Stream::new(Rc::clone(self), id);
        match event {
            Event::Request(id, head) => Driven::Request(head, stream(id)),
            Event::Refused(error, id) => Driven::Refused(error, id.map(stream)),
        }
    }

    /// Reads once. What came before nothing could be written any more is read to its end: whole
    /// responses may be in it, and a GOAWAY that tells what is to be sent again.
    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let filled = self.inbox.borrow_mut().poll_fill(cx, &self.stream);
        if !self.is_unwritable() {
            return filled;
        }
        let is_over = match &filled {
            Poll::Ready(Ok(count)) => {
                let left = self.last_reads.get();
                self.last_reads.set(left.saturating_sub(1));
                *count == 0 || left == 0
            }
            Poll::Ready(Err(_)) => false,
            // A write may know of the end before the socket is told to be readable.
            Poll::Pending => self.patience.poll_passed(cx).is_ready(),
        };
        if is_over {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        } else {
            filled
        }
    }

    fn is_unwritable(&self) -> bool {
        self.unwritable.borrow().is_some()
    }

    /// Writes what is there, as long as that can be. Ready when nothing is left.
    fn poll_flush(&self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if !self.is_unwritable() {
            match ready!(self.poll_write(cx)) {
                Ok(()) => return Poll::Ready(()),
                Err(error) => {
                    *self.unwritable.borrow_mut() = Some(error);
                    self.patience.set_at(now + PATIENCE);
                    self.is_held_up.set(false);
                }
            }
        }
        self.session.borrow_mut().lose_output();
        Poll::Ready(())
    }

    /// Writes what is there. Ready when all of it has left.
    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut session = self.session.borrow_mut();
            let output = session.output();
            if output.is_empty() {
                drop(session);
                let flushed = self.stream.poll_flushed(cx);
                self.is_held_up.set(flushed.is_pending());
                return flushed;
            }
            let Poll::Ready(written) = self.stream.poll_write_slice(cx, output) else {
                self.is_held_up.set(true);
                return Poll::Pending;
            };
            let count = written?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            session.sent(count);
        }
    }

    fn register(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        match &mut *driver {
            Some(known) => known.clone_from(waker),
            None => *driver = Some(waker.clone()),
        }
    }

    /// Has the driver look: there is something to be written, or to end.
    fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// Runs something on the session, and has the driver write what it led to.
    pub(super) fn with<T>(&self, run: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        let before = session.output().len();
        let result = run(&mut session);
        let begins_to_wait = !self.is_patient.get() && session.has_slivers();
        let is_news = session.output().len() > before
            || session.is_finished()
            || session.has_called()
            || begins_to_wait;
        drop(session);
        if is_news {
            self.wake();
        }
        result
    }

    /// What the connection waits for.
    pub fn state(&self) -> State {
        let session = self.session.borrow();
        if self.is_ending() {
            State::Ending
        } else if session.is_beginning() {
            State::Beginning
        } else if session.has_half_a_head() || Session::is_head(self.inbox.borrow().bytes()) {
            State::Head
        } else if session.stream_count() > 0 {
            State::Busy
        } else {
            State::Idle
        }
    }
}

/// How long a little room is not used: some round trips on the way (RFC 9293 §3.8.6.2.1 has a tenth
/// of a second to a whole one). And how long a socket that cannot be written has to say that there
/// is something to be read.
const PATIENCE: Duration = Duration::from_millis(100);

/// Reads in one turn of the driver, before others on the worker have theirs.
const READS: usize = 4;

/// As [`READS`], once what comes is thrown away, or nothing can be written any more.
const READS_AT_END: usize = 64;
