//! A listener's present form, which reloads replace while its loop goes on.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use crate::drain::{Blocker, Direction, Watcher, Watchers};
use crate::net::canonical;
use crate::snapshot::{ConnectionProtocol, Listener, ListenerMetrics, Snapshot};

/// What a loop is told from outside.
#[derive(Debug)]
pub struct Current {
    form: RefCell<Form>,
    is_changed: Cell<bool>,
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One form of a listener.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) listener: Arc<Listener>,
    /// The configuration that it is of.
    pub(super) generation: u64,
    /// The address of the loop's own socket: that of the listener, or one within it.
    pub(super) local: SocketAddr,
    /// Whether the listener is for clients of IPv4; a socket of before may be for more than it is.
    takes_ipv4: bool,
    /// Where this instance takes datagrams.
    pub(super) own: Rc<[SocketAddr]>,
    pub(super) ledger: Rc<Ledger>,
    /// Whether there are no further sessions.
    is_closed: bool,
    /// Whether what clients send is another process's.
    is_left: bool,
}

/// What the sessions of a listener are entered into.
#[derive(Debug)]
pub(super) struct Ledger {
    sessions: Arc<AtomicU32>,
    most: u32,
    metrics: ListenerMetrics,
    drain: Watcher,
}

/// One session of its listener, and one that a drain waits for.
#[derive(Debug)]
pub(super) struct Seat {
    ledger: Rc<Ledger>,
    _blocker: Blocker,
}

impl Current {
    /// The form of a listener in a snapshot, for a loop at a socket that is bound to `local`.
    pub fn new(
        local: SocketAddr,
        listener: &Arc<Listener>,
        snapshot: &Snapshot,
        drain: &Watchers,
    ) -> Rc<Self> {
        Rc::new(Self {
            form: RefCell::new(Form::new(local, listener, snapshot, drain)),
            is_changed: Cell::new(false),
            is_over: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Puts a listener's new form in force: sessions see it with their next datagram.
    pub fn replace(&self, listener: &Arc<Listener>, snapshot: &Snapshot, drain: &Watchers) {
        let local = self.form.borrow().local;
        *self.form.borrow_mut() = Form::new(local, listener, snapshot, drain);
        self.change();
    }

    /// Takes no further sessions. The loop ends when the last one has ended.
    pub fn close(&self) {
        self.form.borrow_mut().is_closed = true;
        self.change();
    }

    /// Leaves what clients send to another process that has the socket. What endpoints still answer
    /// goes out, until the last session has ended.
    pub fn leave(&self) {
        self.form.borrow_mut().is_left = true;
        self.close();
    }

    /// Whether what clients send is another process's.
    pub(super) fn is_left(&self) -> bool {
        self.form.borrow().is_left
    }

    /// Whose datagrams come.
    pub fn direction(&self) -> Direction {
        self.form.borrow().listener.direction
    }

    /// Whether no further sessions are taken.
    pub(super) fn is_closed(&self) -> bool {
        self.form.borrow().is_closed
    }

    /// Whether the loop has ended.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Says that the loop has ended, or broke.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        if std::thread::panicking() {
            self.form.borrow().listener.metrics.panicked.inc();
        }
    }

    pub(super) fn form(&self) -> Form {
        self.form.borrow().clone()
    }

    /// Ready once it is another form than was seen last.
    pub(super) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_changed.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if waker
            .as_ref()
            .is_none_or(|known| !known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn change(&self) {
        self.is_changed.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl Form {
    fn new(
        local: SocketAddr,
        listener: &Arc<Listener>,
        snapshot: &Snapshot,
        drain: &Watchers,
    ) -> Self {
        let listeners = snapshot.listeners.iter();
        let own = listeners.filter(|listener| listener.udp().is_some());
        Self {
            listener: Arc::clone(listener),
            generation: snapshot.generation,
            local,
            takes_ipv4: listener.sockets.takes_ipv4(),
            own: own.map(|listener| listener.sockets.local).collect(),
            ledger: Rc::new(Ledger {
                sessions: Arc::clone(&listener.connections),
                most: listener.max_connections,
                metrics: listener.metrics.clone(),
                drain: drain.of(listener.direction).clone(),
            }),
            is_closed: false,
            is_left: false,
        }
    }

    /// Whether this client gets no session any more.
    pub(super) fn is_closed_to(&self, peer: SocketAddr) -> bool {
        self.is_closed || !self.takes_ipv4 && canonical(peer).is_ipv4()
    }

    /// Whether datagrams to this address arrive here again. `arrived` is where one of them did.
    pub(super) fn is_own(&self, address: SocketAddr, arrived: Option<std::net::IpAddr>) -> bool {
        let ip = address.ip().to_canonical();
        let mut own = self.own.iter().filter(|own| own.port() == address.port());
        own.any(|own| {
            let bound = own.ip().to_canonical();
            bound == ip || (bound.is_unspecified() && (ip.is_loopback() || arrived == Some(ip)))
        })
    }
}

impl Ledger {
    /// Lets one more session in; `None` above the limit.
    pub(super) fn enter(self: &Rc<Self>) -> Option<Seat> {
        // Added first and taken back, so that workers cannot exceed the limit together.
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.metrics.connections.inc(ConnectionProtocol::Udp);
        Some(Seat {
            ledger: Rc::clone(self),
            _blocker: self.drain.blocker(),
        })
    }

    /// Counts a client that got a session.
    pub(super) fn accepted(&self) {
        self.metrics.accepted.inc();
    }

    /// Counts a client that was turned away.
    pub(super) fn refuse(&self) {
        self.metrics.refused_full.inc();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ledger.sessions.fetch_sub(1, Ordering::Relaxed);
        self.ledger.metrics.connections.dec(ConnectionProtocol::Udp);
    }
}
