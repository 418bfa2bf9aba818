//! Datagrams that nobody reads: from a listener to an upstream, and back.
//!
//! UDP knows no connections, so what belongs together is known by where it comes from: a
//! session is a client's address and the address of ours that it talks to, and lasts until
//! nothing has moved for a while. What a session costs is bounded by the listener's limit; who
//! makes room when it is reached is decided in `table`.
//!
//! A worker has one loop per listener, around its own socket (`SO_REUSEPORT`: the kernel's hash
//! keeps a client at one worker). It takes what came together, from clients and from endpoints, in
//! one turn each, by the worker's one [`Batch`]. The sockets of sessions stand in an epoll of their
//! own, which the runtime watches: a session is then no task and no entry of the runtime's, and
//! what several endpoints sent leaves in one system call (`answers`).

mod answers;
mod current;
mod forward;
mod held;
mod introduced;
mod link;
mod ready;
mod session;
mod table;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

pub use self::current::Current;

use self::answers::Answers;
use self::current::Form;
use self::forward::forward;
use self::held::Held;
use self::ready::{Ready, readable};
use self::session::{Ending, Session};
use self::table::{Key, Network, Table};
use super::local::Local;
use crate::net::{Batch, Datagram};
use crate::snapshot::Dropped;

/// The loop of one listener on one worker.
#[derive(Debug)]
struct Relay {
    current: Rc<Current>,
    form: Form,
    /// Where clients send to.
    socket: AsyncFd<OwnedFd>,
    /// Which sessions have something of their endpoints.
    ready: Ready,
    table: Table<Session>,
    answers: Answers,
    /// What the kernel had no room for.
    held: Option<Held>,
    /// Datagrams of clients that are asked for next: as many as may have come.
    expected: usize,
    /// Whether more sessions have been idle for too long than could be ended.
    is_behind: bool,
    local: Rc<Local>,
}

/// What there is to do in one turn.
#[derive(Debug, Default, Clone, Copy)]
struct Turn {
    clients: bool,
    /// There is something of theirs, or room for what is held of that.
    endpoints: bool,
    /// Another form of the listener, or time to look who is idle.
    other: bool,
}

/// Says that the loop has ended, however it did.
#[derive(Debug)]
struct Over(Rc<Current>);

/// Starts the loop of a listener on this thread. It ends once `current` is closed and its last
/// session has ended.
pub fn start(
    socket: UdpSocket,
    current: &Rc<Current>,
    batch: Rc<RefCell<Batch>>,
    local: Rc<Local>,
) -> io::Result<()> {
    let mut relay = Relay {
        form: current.form(),
        current: Rc::clone(current),
        socket: readable(socket.into())?,
        ready: Ready::new()?,
        table: Table::new(),
        answers: Answers::default(),
        held: None,
        expected: Batch::FEW,
        is_behind: false,
        local,
    };
    let over = Over(Rc::clone(current));
    // The task belongs to the worker's runtime, which ends it.
    tokio::task::spawn_local(async move {
        relay.run(&batch).await;
        drop(over);
    });
    Ok(())
}

impl Relay {
    async fn run(&mut self, batch: &RefCell<Batch>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(self.current.is_closed() && self.table.is_empty()) {
            let turn = poll_fn(|cx| self.poll(&mut tick, cx)).await;
            if self.take(turn, &mut batch.borrow_mut()) {
                // There is more at once, and others are waiting for this thread.
                yield_now().await;
            }
        }
    }

    /// Does what there is to do. Whether there is more, as far as is known.
    fn take(&mut self, turn: Turn, batch: &mut Batch) -> bool {
        let now = Instant::now();
        let mut is_full = turn.clients && self.take_from_clients(batch, now);
        if turn.endpoints && self.held.is_some() {
            self.send_held(now);
        } else if turn.endpoints {
            is_full |= self.take_from_endpoints(batch, now);
        }
        if turn.other {
            self.form = self.current.form();
            self.end_idle(now);
        }
        is_full || self.is_behind
    }

    fn poll(&mut self, tick: &mut Interval, cx: &mut Context<'_>) -> Poll<Turn> {
        let is_changed = self.current.poll_changed(cx).is_ready();
        // Without sessions no time is waited for.
        let is_time = !self.table.is_empty() && tick.poll_tick(cx).is_ready();
        let turn = Turn {
            clients: !self.current.is_left() && self.socket.poll_read_ready(cx).is_ready(),
            endpoints: match &mut self.held {
                None => self.ready.poll(cx).is_ready(),
                // What they send waits with the kernel while nothing can be sent on.
                Some(held) => held.poll(cx).is_ready(),
            },
            other: is_changed || is_time || self.is_behind,
        };
        if turn.clients || turn.endpoints || turn.other {
            Poll::Ready(turn)
        } else {
            Poll::Pending
        }
    }

    /// Sends on what clients sent. Whether it was as much as can be taken at once.
    fn take_from_clients(&mut self, batch: &mut Batch, now: Instant) -> bool {
        batch.clear();
        let asked = self.expected;
        let taken = self.socket.try_io(Interest::READABLE, |socket| {
            match batch.receive(socket.as_fd(), asked) {
                Ok(count) if count == asked => Ok(()),
                // Less than there was room for is all there was.
                Ok(_) | Err(_) => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        drop(taken);
        let count = batch.datagrams().len();
        // Each that is asked for costs a little, also if it does not come.
        self.expected = (2 * count).clamp(Batch::FEW, Batch::SLOTS);
        let mut at = 0;
        while let Some(first) = batch.datagrams().get(at) {
            let rest = batch.datagrams()[at..].iter();
            let run = rest.take_while(|one| one.is_like(first)).count();
            let run = at..at + run.max(1);
            at = run.end;
            self.relay(batch, &batch.datagrams()[run], now);
        }
        count == Batch::SLOTS
    }

    /// Sends on what one client sent.
    fn relay(&mut self, batch: &Batch, run: &[Datagram], now: Instant) {
        let place = match self.session(&run[0], now) {
            Ok(place) => place,
            Err(why) => return self.count_drop(why, run),
        };
        self.table.used(place, false, now);
        let mut rest = run;
        for _ in 0..TRIES {
            let Some(session) = self.table.get_mut(place) else {
                break;
            };
            let looked = session.look(&self.form, now);
            if session.watch(&self.ready, place).is_err() {
                // What comes by it would not be seen; the next datagram begins another.
                self.end(place, Ending::Cut);
                return self.count_drop(Dropped::Error, rest);
            }
            if let Err(why) = looked {
                return self.count_drop(why, rest);
            }
            let Some(udp) = self.form.listener.udp() else {
                break;
            };
            rest = forward(session, batch, rest, &udp.metrics, now);
            if rest.is_empty() {
                return;
            }
        }
        self.count_drop(Dropped::NoEndpoint, rest);
    }

    /// The session of a client, a new one if there is none.
    fn session(&mut self, first: &Datagram, now: Instant) -> Result<usize, Dropped> {
        let peer = first.peer.ok_or(Dropped::Source)?;
        if first.is_truncated {
            return Err(Dropped::Truncated);
        }
        let key = Key::new(peer, first.source);
        if let Some(place) = self.table.find(&key) {
            return Ok(place);
        }
        let arrived = first.source.map(|source| source.address);
        if peer.port() == 0 {
            return Err(Dropped::Source);
        }
        if self.form.is_own(peer, arrived) {
            return Err(Dropped::Loop);
        }
        if self.form.is_closed_to(peer) {
            return Err(Dropped::Draining);
        }
        let network = Network::of(peer.ip());
        let seat = self.form.ledger.enter().or_else(|| {
            let limit = self.idle_limit();
            let victim = self.table.victim(network, limit, now)?;
            self.end(victim, Ending::Evicted);
            self.form.ledger.enter()
        });
        let Some(seat) = seat else {
            self.form.ledger.refuse();
            return Err(Dropped::Limit);
        };
        let session = Session::begin((peer, first.source), &self.form, &self.local, seat, now)?;
        let place = self.table.insert((key, network), now, session);
        let session = self.table.get_mut(place);
        if session.is_some_and(|session| session.watch(&self.ready, place).is_err()) {
            self.end(place, Ending::Cut);
            return Err(Dropped::Error);
        }
        self.form.ledger.accepted();
        Ok(place)
    }

    fn end_idle(&mut self, now: Instant) {
        let limit = self.idle_limit();
        let is_closed = self.current.is_closed();
        for _ in 0..ENDED {
            let Some(place) = self.table.overdue(limit, now) else {
                self.is_behind = false;
                return;
            };
            let session = self.table.get_mut(place);
            if !is_closed && session.is_some_and(|session| session.is_trying(now)) {
                // What may yet be said of its endpoint would be heard by nobody.
                self.table.keep(place, now);
                continue;
            }
            self.end(place, Ending::Idle);
        }
        self.is_behind = true;
    }

    fn end(&mut self, place: usize, ending: Ending) {
        if let Some(mut session) = self.table.remove(place) {
            session.ending = ending;
        }
    }

    fn idle_limit(&self) -> Duration {
        let udp = self.form.listener.udp();
        udp.map_or(Duration::MAX, |udp| udp.session_idle)
    }

    fn count_drop(&self, why: Dropped, datagrams: &[Datagram]) {
        if let Some(udp) = self.form.listener.udp() {
            let count = datagrams.iter().map(Datagram::count).sum();
            udp.metrics.drop(why, count);
        }
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How often it is looked for sessions that were idle for too long: theirs is a limit of seconds,
/// and of less in tests alone.
const TICK: Duration = Duration::from_millis(250);

/// Sessions that are ended in one turn: to close its socket makes each of them dear.
const ENDED: usize = 256;

/// Endpoints that the datagrams of one client are sent to before they are lost: each has shown
/// itself dead by the one before.
const TRIES: usize = 3;
