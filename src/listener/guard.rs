//! What a connection holds while it lives, and what is counted by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::balance::Balance;
use crate::drain::{Blocker, Watcher};
use crate::snapshot::{ConnectionGuard, ConnectionProtocol, Listener, ListenerMetrics};

/// What the connections of one listener are entered into. It does not hold the listener itself: a
/// connection that lives for days must not keep the routes of its first day.
#[derive(Debug)]
pub struct Ledger {
    connections: Arc<AtomicU32>,
    max_connections: u32,
    metrics: ListenerMetrics,
    balance: Arc<Balance>,
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
    _blocker: Blocker,
}

impl Ledger {
    /// For the connections that come under this form of a listener.
    pub fn new(listener: &Listener, balance: &Arc<Balance>, drain: &Watcher) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::clone(&listener.connections),
            max_connections: listener.max_connections,
            metrics: listener.metrics.clone(),
            balance: Arc::clone(balance),
            drain: drain.clone(),
        })
    }

    /// Lets one more connection in, for the worker that should serve it; `None` above the limit.
    pub(super) fn enter(self: &Arc<Self>, accepting: usize) -> Option<Guard> {
        // Added first and taken back, so that workers that accept at once cannot exceed the limit.
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.max_connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.metrics.refused_full.inc();
            return None;
        }
        let worker = self.balance.server(accepting);
        self.balance.add(worker);
        self.metrics.accepted.inc();
        let protocol = self.metrics.connections.usual();
        self.metrics.connections.inc(protocol);
        Some(Guard {
            ledger: Arc::clone(self),
            worker: small(worker),
            protocol,
            _blocker: self.drain.blocker(),
        })
    }

    /// Counts a connection that was lost to an error.
    pub(super) fn lost(&self) {
        self.metrics.refused_error.inc();
    }
}

impl Guard {
    /// The worker that the connection belongs to.
    pub fn worker(&self) -> usize {
        self.worker as usize
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
        self.ledger.connections.fetch_sub(1, Ordering::Relaxed);
        self.ledger.balance.remove(self.worker());
        self.ledger.metrics.connections.dec(self.protocol);
        if std::thread::panicking() {
            // The runtime has caught it by the time that anybody could ask. What it
            // was is an event.
            self.ledger.metrics.panicked.inc();
        }
    }
}

fn small(worker: usize) -> u32 {
    u32::try_from(worker).expect("a worker is a thread, and there are fewer")
}
