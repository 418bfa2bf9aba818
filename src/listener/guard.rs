//! What a connection holds while it lives, and what is counted by that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::balance::{Balance, SPARED, SPARED_OF_LASTING};
use crate::drain::Watcher;
use crate::net::{Stream, named};
use crate::queue::{InLine, Queue};
use crate::snapshot::{
    ConnectionGuard, ConnectionProtocol, Limits, Listener, ListenerMetrics, Place, Refusal,
};

/// What the connections of one listener are entered into. It does not hold the listener itself: a
/// connection that lives for days must not keep the routes of its first day.
#[derive(Debug)]
pub struct Ledger {
    connections: Arc<AtomicU32>,
    max_connections: u32,
    queue: Arc<Queue>,
    limits: Option<Arc<Limits>>,
    metrics: ListenerMetrics,
    balance: Arc<Balance>,
    /// The difference between workers that is left alone.
    spared: usize,
    drain: Watcher,
}

/// One connection that was let in: one of its listener's, one of its worker's, and one that a drain
/// waits for. Dropped amid a panic, it counts that as well.
#[derive(Debug)]
pub struct Guard {
    ledger: Arc<Ledger>,
    /// Small: every idle connection has it.
    worker: u32,
    /// What it is counted as.
    protocol: ConnectionProtocol,
    /// What it is counted as by its address, where that is limited.
    place: Held,
}

/// What a connection is counted as by its address. In a box: few listeners have such limits.
pub(super) type Held = Option<Box<Place>>;

/// A connection that waits for a place, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    in_line: InLine,
    longest: Duration,
    limits: Arc<Limits>,
    drain: Watcher,
}

/// A connection that is not let in; that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Ledger {
    /// For the connections that come under this form of a listener.
    pub fn new(listener: &Listener, balance: &Arc<Balance>, drain: &Watcher) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::clone(&listener.connections),
            max_connections: listener.max_connections,
            queue: Arc::clone(&listener.queue),
            limits: listener.limits.clone(),
            metrics: listener.metrics.clone(),
            balance: Arc::clone(balance),
            spared: if listener.lasts() {
                SPARED_OF_LASTING
            } else {
                SPARED
            },
            drain: drain.clone(),
        })
    }

    /// Counts a connection in by its address, if that is its client's and not that of a proxy that
    /// is still to say who the client is; says nothing yet of whether there is a place for it.
    pub(super) fn admit(&self, client: Option<SocketAddr>) -> Result<Held, Refused> {
        let Some(limits) = &self.limits else {
            return Ok(None);
        };
        let entered = limits.enter(client.and_then(named), Instant::now());
        held(limits, entered)
    }

    /// Lets one more connection in, for the worker that should serve it; gives it back above the
    /// limit, and where others wait for a place already.
    pub(super) fn enter(self: &Arc<Self>, accepting: usize, place: Held) -> Result<Guard, Held> {
        // Who may not wait has nothing to stand behind them for.
        if self.longest_wait().is_none() || self.queue.is_empty(()) {
            return self.take(accepting, place);
        }
        Err(place)
    }

    /// Joins those who wait for a place, at the end, if one that finds none may wait and there are
    /// not too many who do.
    pub(super) fn join(&self) -> Result<Waiting, Refused> {
        let joined = self.longest_wait().and_then(|(limits, longest)| {
            let in_line = self.queue.join((), self.queue.arrive(), MOST_WAITING)?;
            limits.waiting().inc();
            Some(Waiting {
                in_line,
                longest,
                limits: Arc::clone(limits),
                drain: self.drain.clone(),
            })
        });
        joined.ok_or_else(|| {
            self.metrics.refused_full.inc();
            Refused
        })
    }

    fn longest_wait(&self) -> Option<(&Arc<Limits>, Duration)> {
        let limits = self.limits.as_ref()?;
        Some((limits, limits.wait?))
    }

    fn take(self: &Arc<Self>, accepting: usize, place: Held) -> Result<Guard, Held> {
        // Never more than may, not even for a moment: who waits would look just then, and sleep
        // beside a place that is free. In one order with the queue: who begins to wait sees a place
        // that is free, or whoever leaves sees that somebody waits.
        let order = Ordering::SeqCst;
        let one_more = |count| (count < self.max_connections).then_some(count + 1);
        if self
            .connections
            .fetch_update(order, order, one_more)
            .is_err()
        {
            return Err(place);
        }
        let worker = self.balance.server(accepting, self.spared);
        self.balance.add(worker);
        self.metrics.accepted.inc();
        let protocol = self.metrics.connections.usual();
        self.metrics.connections.inc(protocol);
        self.drain.block();
        Ok(Guard {
            ledger: Arc::clone(self),
            worker: small(worker),
            protocol,
            place,
        })
    }

    /// Counts a connection that was lost to an error.
    pub(super) fn lost(&self) {
        self.metrics.refused_error.inc();
    }
}

impl Waiting {
    /// Waits for a place as long as that is allowed, and looks for one by the `present` form of the
    /// listener; `None` if there was none, or the client went away.
    pub(super) async fn enter(
        mut self,
        (accepting, mut place): (usize, Held),
        stream: &Stream,
        present: impl Fn() -> Arc<Ledger>,
    ) -> Option<Guard> {
        // All that makes room is told.
        let turn = self.in_line.turn(None, || {
            let entered = present().take(accepting, place.take());
            entered.map_err(|back| place = back).ok()
        });
        tokio::select! {
            biased;
            result = timeout(self.longest, turn) => {
                if result.is_err() {
                    self.limits.refused(Refusal::QueueTimeout);
                }
                result.ok().flatten()
            }
            () = gone(stream) => None,
            () = self.drain.closed() => None,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.limits.waiting().dec();
    }
}

impl Guard {
    /// The worker that the connection belongs to.
    pub fn worker(&self) -> usize {
        self.worker as usize
    }

    /// Counts the connection by the address of its client, where that was not known when it came.
    pub fn identify(&mut self, client: SocketAddr) -> Result<(), Refused> {
        let is_known = |place: &Place| place.has_address();
        let Some(limits) = &self.ledger.limits else {
            return Ok(());
        };
        if self.place.as_deref().is_some_and(is_known) {
            return Ok(());
        }
        let entered = limits.identify(named(client), Instant::now());
        self.place = held(limits, entered)?;
        Ok(())
    }

    /// Counts the connection as lost to an error, and ends it.
    pub(super) fn lost(self) {
        self.ledger.lost();
    }

    /// Makes it a connection of another worker.
    pub(super) fn move_to(&mut self, worker: usize) {
        self.ledger.balance.remove(self.worker());
        self.ledger.balance.add(worker);
        self.worker = small(worker);
    }
}

impl ConnectionGuard for Guard {
    fn speaks(&mut self, protocol: ConnectionProtocol) {
        let connections = &self.ledger.metrics.connections;
        self.protocol = connections.moved(self.protocol, protocol);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // By its address first: who waits for its place may be the same client.
        drop(self.place.take());
        self.ledger.connections.fetch_sub(1, Ordering::SeqCst);
        self.ledger.queue.call(&[()]);
        self.ledger.balance.remove(self.worker());
        self.ledger.metrics.connections.dec(self.protocol);
        if std::thread::panicking() {
            // The runtime has caught it by the time that anybody could ask. What it
            // was is an event.
            self.ledger.metrics.panicked.inc();
        }
        // Last: who waits for the end of a drain sees all of this.
        self.ledger.drain.unblock();
    }
}

fn held(limits: &Limits, entered: Result<Place, Refusal>) -> Result<Held, Refused> {
    match entered {
        Ok(place) => Ok(Some(Box::new(place))),
        Err(refusal) => {
            limits.refused(refusal);
            Err(Refused)
        }
    }
}

/// Returns once the client of a connection that nobody serves yet has gone: has broken it, or ended
/// its side. Who has done that may still listen, and is given a moment.
async fn gone(stream: &Stream) {
    let ended = async {
        while !stream.has_ended().await {
            sleep(LOOK_AGAIN).await;
        }
        sleep(HALF_CLOSED).await;
    };
    tokio::select! {
        () = stream.broken() => {}
        () = ended => {}
    }
}

fn small(worker: usize) -> u32 {
    u32::try_from(worker).expect("a worker is a thread, and there are fewer")
}

/// Connections of a listener that wait at most, each with a descriptor and some 500 bytes. A
/// listener that is that much behind does better to say so.
const MOST_WAITING: usize = 1_024;

/// What it says may stand before its end, and is not read: so it has to be asked.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// As long as a client of HTTP/1.1 has that ends its side while it is served.
const HALF_CLOSED: Duration = Duration::from_secs(1);
