//! The pick: which endpoint gets this request.

use std::sync::Arc;

use fastrand::Rng;
use tokio::time::Instant;

use super::Upstream;
use super::table::Wish;
use crate::endpoint::{Endpoint, InFlight};

/// An endpoint that was picked. Counts as in flight there until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count of the request in flight"]
pub struct Pick {
    /// Where the request goes.
    pub endpoint: Arc<Endpoint>,
    _in_flight: InFlight,
}

impl Pick {
    pub(super) fn new(endpoint: Arc<Endpoint>, in_flight: InFlight) -> Self {
        Self {
            endpoint,
            _in_flight: in_flight,
        }
    }

    /// The pick of an endpoint that is the only one, unless it is at its limit.
    pub fn only(endpoint: &Arc<Endpoint>) -> Result<Self, PickError> {
        let most = endpoint.most_in_flight().now(&endpoint.live);
        let in_flight = endpoint.live.try_begin(most);
        let in_flight = in_flight.ok_or(PickError::AllAtLimit)?;
        Ok(Self::new(Arc::clone(endpoint), in_flight))
    }
}

/// Why no endpoint can be picked. Neither is the fault of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none that may be used (503, destination unavailable).
    #[error("no endpoint may be used")]
    NoEndpoints,
    /// Every one carries as much as its limits allow (503, overload: try again soon).
    #[error("every endpoint is at its limit")]
    AllAtLimit,
}

/// Whether who picks may wait for an endpoint that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// He waits in turn.
    MayWait,
    /// Not, or no longer.
    Now,
}

impl Upstream {
    /// Picks an endpoint, preferring those whose [`Live::id`](crate::endpoint::Live::id) is not in
    /// `tried`. If all were tried it may be one of them again.
    pub fn pick(&self, tried: &[u64], random: &mut Rng, now: Instant) -> Result<Pick, PickError> {
        self.pick_for(None, tried, random, now)
    }

    /// The same for a client ([`client_key`](crate::balance::client_key)), which some algorithms
    /// give the same endpoint each time.
    pub fn pick_for(
        &self,
        key: Option<u64>,
        tried: &[u64],
        random: &mut Rng,
        now: Instant,
    ) -> Result<Pick, PickError> {
        self.pick_by(key, tried, (now, Haste::Now), random)
    }

    /// The same for one who may wait: he gets none that lately failed while another one is merely
    /// at its limit.
    pub fn pick_by(
        &self,
        key: Option<u64>,
        tried: &[u64],
        (now, haste): (Instant, Haste),
        random: &mut Rng,
    ) -> Result<Pick, PickError> {
        let table = self.table.load();
        let wish = Wish {
            tried,
            now,
            key,
            haste,
        };
        let (endpoint, in_flight) = table.pick(wish, random)?;
        Ok(Pick::new(Arc::clone(endpoint), in_flight))
    }
}
