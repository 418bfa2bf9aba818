//! A connection: its socket and its session, driven by one task.
//!
//! The driver reads and writes for all streams. Their tasks put what they have to say into the
//! session and wake the driver, whose turn comes behind theirs: what many streams say in one round
//! leaves in one write. While the other end does not take what it makes us say, nothing more is
//! read from it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::driven::{Driven, Ended, OpenError, Opening, State};
use super::error::{Abuse, ErrorCode};
use super::inbox::Inbox;
use super::session::{Event, Fault, Role, Session};
use super::settings::Settings;
use super::stream::Stream;
use crate::message::RequestParts;
use crate::net;
use crate::time::Instant;

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
    sent: Cell<u64>,
    is_held_up: Cell<bool>,
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
            driver: RefCell::new(None),
            is_woken: Cell::new(false),
            ending: RefCell::new(None),
            is_shut: Cell::new(false),
            received: Cell::new(0),
            sent: Cell::new(0),
            is_held_up: Cell::new(false),
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
        let mut reads = 0;
        if self.received.get() == 0 {
            // What came before the connection was one of HTTP/2.
            self.take_in(now);
        }
        loop {
            if let Some(event) = self.session.borrow_mut().next_event() {
                return Poll::Ready(self.driven(event));
            }
            let flushed = match self.poll_flush(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(self.broke(error)),
                flushed => flushed.is_ready(),
            };
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
            let filled = self.inbox.borrow_mut().poll_fill(cx, &self.stream);
            match ready!(filled) {
                Ok(0) => self.ended_by_them(),
                Ok(count) => {
                    self.received.set(self.received.get() + count as u64);
                    self.take_in(now);
                }
                Err(error) => return Poll::Ready(self.broke(error)),
            }
        }
    }

    /// Gives the session what is there.
    fn take_in(&self, now: Instant) {
        let mut inbox = self.inbox.borrow_mut();
        let taken = self.session.borrow_mut().receive(inbox.bytes(), now);
        match taken {
            Ok(count) => inbox.consume(count),
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

    /// Writes what is there. Ready when all of it has left.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            self.sent.set(self.sent.get() + count as u64);
            session.sent(count);
        }
    }

    /// The other end has closed its side.
    fn ended_by_them(&self) {
        let is_idle = self.session.borrow().stream_count() == 0;
        self.close(if is_idle {
            Ended::Closed
        } else {
            Ended::Broken(io::ErrorKind::UnexpectedEof.into())
        });
        // There is nobody to listen.
        self.is_shut.set(true);
    }

    fn broke(&self, error: io::Error) -> Driven {
        self.close(Ended::Broken(error));
        let ended = self.ending.borrow_mut().take();
        Driven::Ended(ended.unwrap_or(Ended::Closed))
    }

    /// Our last words have been said: waits until the other end has taken them, since closing while
    /// something of its is unread would destroy them on their way.
    fn poll_end(&self, cx: &mut Context<'_>, flushed: bool) -> Poll<Driven> {
        if !flushed {
            return Poll::Pending;
        }
        if !self.is_shut.get() {
            match ready!(self.stream.poll_shutdown_write(cx)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(self.broke(error)),
            }
            self.is_shut.set(true);
            let mut inbox = self.inbox.borrow_mut();
            for _ in 0..READS_AT_END {
                let there = inbox.bytes().len();
                inbox.consume(there);
                match inbox.poll_fill(cx, &self.stream) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => break,
                    Poll::Pending => {
                        self.is_shut.set(false);
                        return Poll::Pending;
                    }
                }
            }
        }
        let ended = self.ending.borrow_mut().take();
        Poll::Ready(Driven::Ended(ended.unwrap_or(Ended::Closed)))
    }

    /// Nothing more is said but what is there.
    fn close(&self, ended: Ended) {
        self.session.borrow_mut().abandon();
        self.ending.borrow_mut().get_or_insert(ended);
        self.wake();
    }

    fn end(&self, fault: Fault) {
        self.session.borrow_mut().end(fault);
        self.close(match fault.abuse {
            Some(abuse) => Ended::Abused(abuse),
            None => Ended::Refused(fault.code, fault.why),
        });
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

    fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Runs something on the session, and has the driver write what it led to.
    pub(super) fn with<T>(&self, run: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        let before = session.output().len();
        let result = run(&mut session);
        let is_news = session.output().len() > before || session.is_finished();
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

    /// Streams that are open or held.
    pub fn streams(&self) -> usize {
        self.session.borrow().stream_count()
    }

    /// A number that grows with every byte that comes.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// A number that grows with every byte that leaves.
    pub fn sent(&self) -> u64 {
        self.sent.get() + self.stream.sent_behind()
    }

    /// Whether there are bytes that the socket does not take.
    pub fn is_held_up(&self) -> bool {
        self.is_held_up.get()
    }

    /// Streams that were reset since this was last asked: by the other end, and by us.
    pub fn take_resets(&self) -> (u32, u32) {
        let resets = self.session.borrow_mut().take_resets();
        (resets.by_them, resets.by_us)
    }

    /// Of a client: streams that can be opened now; 0 once the connection is to end.
    pub fn room(&self) -> usize {
        if self.is_ending() {
            return 0;
        }
        self.session.borrow().openable()
    }

    /// Whether its end has been announced, by either side, or has come.
    pub fn is_leaving(&self) -> bool {
        self.is_ending() || self.session.borrow().is_leaving()
    }

    /// Of a client: whether the other end's SETTINGS have come.
    pub fn is_settled(&self) -> bool {
        self.session.borrow().is_settled()
    }

    /// Of a client: streams that the other end allows at once, once it has said so.
    pub fn max_streams(&self) -> Option<u32> {
        let session = self.session.borrow();
        session.is_settled().then(|| session.max_streams())
    }

    /// Of a client: whether the other end takes extended CONNECT.
    pub fn takes_connect_protocol(&self) -> bool {
        self.session.borrow().takes_connect_protocol()
    }

    /// Of a client: opens a stream and hands its head to the connection. Fields of a connection are
    /// left out, names are written small, `Host` becomes `:authority`, `Cookie` stays as it is.
    pub fn open(
        self: &Rc<Self>,
        parts: &RequestParts,
        opening: Opening<'_>,
    ) -> Result<Stream, OpenError> {
        debug_assert!(self.role == Role::Client, "a server opens no streams");
        let id = self.with(|session| session.open(parts, &opening))?;
        Ok(Stream::new(Rc::clone(self), id))
    }

    /// Sends a PING, unless one is under way.
    pub fn ping(&self) {
        self.with(Session::ping);
    }

    /// Whether a PING is under way.
    pub fn awaits_pong(&self) -> bool {
        self.session.borrow().awaits_pong()
    }

    /// Whether our SETTINGS are not acknowledged yet.
    pub fn awaits_settings(&self) -> bool {
        self.session.borrow().awaits_settings()
    }

    /// Of a server: says that the connection will end, while new streams are still taken: GOAWAY
    /// with the highest number (RFC 9113 §6.8).
    pub fn announce_end(&self) {
        self.with(Session::announce_end);
    }

    /// Takes no more streams and says which was the last. Those that there are go on; when there
    /// are none left, the connection ends.
    pub fn end_gently(&self) {
        self.with(Session::end_gently);
    }

    /// Ends the connection with this code and text; all streams break.
    pub fn end_now(&self, code: ErrorCode, why: &'static str) {
        self.end(Fault::of(code, why));
    }

    /// As [`Connection::end_now`], for what a client does too much of.
    pub fn end_abused(&self, abuse: Abuse) {
        self.end(abuse.into());
    }
}

/// Reads in one turn of the driver, before others on the worker have theirs.
const READS: usize = 4;

/// As [`READS`], once what comes is thrown away.
const READS_AT_END: usize = 64;
