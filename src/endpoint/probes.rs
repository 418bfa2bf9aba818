//! Requests for a probe, from the data plane to the prober.
//!
//! Problem: a worker that cannot reach an endpoint knows it seconds before the next probe is due,
//! but a worker must never wait for the control plane. So it leaves the endpoint's number here and
//! goes on; the prober takes the numbers when it gets to it. The queue holds each endpoint at most
//! once, and only those that somebody probes.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Numbers ([`super::Live::id`]) of endpoints that should be probed at once.
#[derive(Debug, Default)]
pub struct ProbeRequests {
    waiting: Mutex<Vec<u64>>,
    arrived: Notify,
}

impl ProbeRequests {
    pub(super) fn push(&self, id: u64) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.push(id);
        }
        self.arrived.notify_one();
    }

    /// Waits until something is asked for and takes all of it. For one taker; cancelling loses
    /// nothing.
    pub async fn take(&self) -> Vec<u64> {
        loop {
            if let Ok(mut waiting) = self.waiting.lock()
                && !waiting.is_empty()
            {
                return std::mem::take(&mut *waiting);
            }
            self.arrived.notified().await;
        }
    }
}
