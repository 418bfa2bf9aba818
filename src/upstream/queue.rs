//! Waiting for an endpoint that has room: bounded in time, in the order in which they came.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Pick, PickError, Upstream};
use crate::telemetry::metrics::{Family, Gauge, Histogram, Kind, Registry};

/// What is measured about a queue, made by the first that waits.
#[derive(Debug, Default)]
pub(super) struct QueueMetrics {
    series: OnceLock<(Gauge, Histogram)>,
}

/// One that waits.
#[derive(Debug)]
struct Waiting<'a> {
    depth: &'a Gauge,
    wait: &'a Histogram,
    began: Instant,
}

impl Upstream {
    /// Picks by `pick`. While every endpoint is at its limit, waits for one that is not, at most
    /// for so long.
    pub async fn pick_in_turn(
        &self,
        mut pick: impl FnMut() -> Result<Pick, PickError>,
        limit: Duration,
    ) -> Result<Pick, PickError> {
        let mut is_my_turn = self.queue.is_empty();
        if is_my_turn {
            match pick() {
                Err(PickError::AllAtLimit) => {}
                picked => return picked,
            }
        }
        let place = self.queue.join();
        let waiting = self.metrics.queue().begin(&self.registry, &self.name);
        let end = waiting.began + limit;
        loop {
            let turn = place.turn();
            if is_my_turn {
                match pick() {
                    Err(PickError::AllAtLimit) => {}
                    picked => return picked,
                }
            }
            let now = Instant::now();
            if now >= end {
                return Err(PickError::AllAtLimit);
            }
            // Over is over: whoever looks for the last time then.
            drop(timeout_at(end.min(now + LOOK_AGAIN), turn).await);
            is_my_turn = true;
        }
    }
}

impl QueueMetrics {
    fn begin(&self, registry: &Registry, upstream: &Arc<str>) -> Waiting<'_> {
        let (depth, wait) = self.series.get_or_init(|| {
            let labels = [("upstream", &**upstream)];
            let depth = registry.level(&QUEUE_DEPTH, &labels);
            (depth, registry.histogram(&QUEUE_WAIT, &labels))
        });
        depth.inc();
        Waiting {
            depth,
            wait,
            began: Instant::now(),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.depth.dec();
        self.wait.observe(self.began.elapsed());
    }
}

/// A reload may have raised a limit, and a health check found another endpoint: nobody says so to
/// those who wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

static QUEUE_DEPTH: Family = Family {
    name: "evenkeel_queue_depth",
    help: "TCP sessions that wait for an endpoint with room.",
    kind: Kind::Gauge,
    buckets: None,
};

static QUEUE_WAIT: Family = Family {
    name: "evenkeel_queue_wait_seconds",
    help: "How long TCP sessions have waited for an endpoint with room.",
    kind: Kind::Histogram,
    buckets: None,
};
