//! Endpoints that workers suspect, told to the control plane.
//!
//! Problem: whether an endpoint is taken out is decided by the control plane, which knows its
//! neighbours. It looks once a second; an endpoint that answers everything with 500 has failed
//! thousands of requests by then. So a worker that sees a row of failures, or how a trial ended,
//! leaves the endpoint's number here, and the control plane looks at once.

use super::ProbeRequests;

/// Numbers ([`super::Live::id`]) of endpoints that are to be looked at.
#[derive(Debug, Default)]
pub struct Suspects(ProbeRequests);

impl Suspects {
    pub(super) fn push(&self, id: u64) {
        self.0.push(id);
    }

    /// Waits until there are any, and takes all of them. For one taker; cancelling loses nothing.
    pub async fn take(&self) -> Vec<u64> {
        self.0.take().await
    }
}
