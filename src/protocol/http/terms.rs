//! What a connection is served by: its listener, as the snapshot in force has it.
//!
//! Problem: a reload may take a listener away in the moment in which a request arrives on one of
//! its connections, and that request must be answered. So a connection holds its listener from the
//! moment it was accepted, and follows the snapshot in force with each request and whenever it is
//! woken at rest. Where the new snapshot has no such listener, what was held serves the last
//! request. A connection at rest waits a moment for one, so nothing old is kept alive for long.

use std::sync::Arc;

use crate::context::ConnectionFacts;
use crate::protocol::local::Local;
use crate::snapshot::{HttpListener, Kind, Snapshot};

/// What a connection is served by.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The snapshot that has the listener: the one in force, unless that has it no more.
    pub(super) snapshot: Arc<Snapshot>,
    /// The listener.
    pub(super) listener: Arc<HttpListener>,
    is_over: bool,
}

impl Terms {
    /// The terms of a connection that `accepted` let in, perhaps before the snapshot in force.
    pub(super) fn new(accepted: Arc<HttpListener>, facts: &ConnectionFacts, local: &Local) -> Self {
        let snapshot = local.snapshot();
        let listener = listener_of(&snapshot, facts);
        Self {
            is_over: listener.is_none(),
            listener: listener.unwrap_or(accepted),
            snapshot,
        }
    }

    /// Follows the snapshot in force.
    pub(super) fn renew(&mut self, facts: &ConnectionFacts, local: &Local) {
        let Some(snapshot) = local.newer_than(&self.snapshot) else {
            return;
        };
        let listener = listener_of(&snapshot, facts);
        self.is_over = listener.is_none();
        if let Some(listener) = listener {
            self.listener = listener;
            self.snapshot = snapshot;
        }
    }

    /// Whether the listener was gone when that was last looked at.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the snapshot in force still has the listener.
    pub(super) fn hold(&self, facts: &ConnectionFacts, local: &Local) -> bool {
        let next = || local.newer_than(&self.snapshot);
        !self.is_over && next().is_none_or(|next| listener_of(&next, facts).is_some())
    }
}

/// The listener of a connection, if there is one and it speaks HTTP.
fn listener_of(snapshot: &Snapshot, facts: &ConnectionFacts) -> Option<Arc<HttpListener>> {
    match &snapshot.listener_of(facts)?.kind {
        Kind::Http(listener) => Some(Arc::clone(listener)),
        Kind::Tcp(_) | Kind::Udp(_) => None,
    }
}
