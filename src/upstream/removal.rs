//! What becomes of the tunnels to an endpoint that is taken out.
//!
//! A reload costs nothing, so they go on unless the author of the upstream says otherwise: a
//! database that has been moved away must not be written to for as long as somebody stays
//! connected.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, OnRemoved};
use crate::endpoint::Live;

/// How long tunnels may go on; without a limit if none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removal {
    rest: Option<Duration>,
}

impl Removal {
    /// What the author of an upstream wants.
    pub(super) fn new(written: &config::Upstream) -> Self {
        let rest = match written.on_removed.unwrap_or_default() {
            OnRemoved::Drain => written.drain.map(|time| time.0),
            OnRemoved::Close => Some(Duration::ZERO),
        };
        Self { rest }
    }

    /// Retires an endpoint. One that has been retired before keeps its end, but for an earlier one.
    pub(super) fn retire(self, endpoint: &Live, now: Instant) {
        let end = self.rest.and_then(|rest| now.checked_add(rest));
        let known = endpoint.end_of_tunnels();
        endpoint.retire(match (known, end) {
            (Some(known), Some(end)) => Some(known.min(end)),
            (known, end) => end.or(known),
        });
    }
}
