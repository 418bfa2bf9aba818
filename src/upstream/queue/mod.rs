//! Waiting for an endpoint that has room: bounded in time and in number, in the order in which they
//! came.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Haste, Pick, PickError, Upstream};
use crate::endpoint::Line;
use crate::telemetry::metrics::{Counter, Family, Gauge, Histogram, Kind, Registry};

/// For how long somebody waits, over all that he tries.
#[derive(Debug)]
pub struct Patience<'a> {
    /// At most.
    pub limit: Duration,
    /// So far.
    pub waited: &'a mut Waited,
}

/// How long somebody has waited. Small, since every session keeps it: an hour at most, to the
/// microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waited {
    micros: u32,
}

/// What is measured about a queue, made by the first that waits.
#[derive(Debug, Default)]
pub(super) struct QueueMetrics {
    series: OnceLock<Series>,
}

#[derive(Debug)]
struct Series {
    depth: Gauge,
    wait: Histogram,
    refused: [Counter; Refusal::ALL.len()],
}

/// Why somebody has waited in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// As many waited as may.
    Full,
    /// For as long as he may.
    Timeout,
}

/// One that waits.
#[derive(Debug)]
struct Waiting<'a> {
    series: &'a Series,
    began: Instant,
    waited: &'a mut Waited,
}

impl Upstream {
    /// Picks by `pick`. While that finds everything at its limit, waits in this line for its turn
    /// to pick again, for as long as the patience lasts; then picks for the last time.
    pub async fn pick_in_turn(
        &self,
        line: Line,
        patience: Patience<'_>,
        mut pick: impl FnMut(Haste) -> Result<Pick, PickError>,
    ) -> Result<Pick, PickError> {
        if self.queue.is_empty(line) {
            match pick(Haste::MayWait) {
                Err(PickError::AllAtLimit) => {}
                picked => return picked,
            }
        }
        let series = self.metrics.queue().series(&self.registry, &self.name);
        let Some(place) = self.queue.join(line) else {
            series.refuse(Refusal::Full);
            return Err(PickError::AllAtLimit);
        };
        let left = patience.limit.saturating_sub(patience.waited.time());
        let waiting = series.begin(patience.waited);
        let end = waiting.began + left;
        loop {
            let is_first = place.is_first();
            let now = Instant::now();
            let haste = if now < end {
                Haste::MayWait
            } else {
                Haste::Now
            };
            if is_first || haste == Haste::Now {
                match pick(haste) {
                    Err(PickError::AllAtLimit) => {}
                    picked => return picked,
                }
            }
            if haste == Haste::Now {
                series.refuse(Refusal::Timeout);
                return Err(PickError::AllAtLimit);
            }
            // Who comes to the front meanwhile is called.
            let until = if is_first {
                end.min(now + LOOK_AGAIN)
            } else {
                end
            };
            // Over is over: then all look for the last time.
            drop(timeout_at(until, place.called()).await);
        }
    }
}

impl Waited {
    /// The time.
    pub fn time(self) -> Duration {
        Duration::from_micros(self.micros.into())
    }

    fn add(&mut self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        // Who has waited has waited for something.
        self.micros = self.micros.saturating_add(micros.max(1));
    }
}

impl QueueMetrics {
    fn series(&self, registry: &Registry, upstream: &Arc<str>) -> &Series {
        self.series.get_or_init(|| {
            let labels = [("upstream", &**upstream)];
            let refused = |refusal: Refusal| {
                let labels = [labels[0], ("reason", refusal.as_str())];
                registry.counter(&QUEUE_REFUSED, &labels)
            };
            Series {
                depth: registry.level(&QUEUE_DEPTH, &labels),
                wait: registry.histogram(&QUEUE_WAIT, &labels),
                refused: Refusal::ALL.map(refused),
            }
        })
    }
}

impl Series {
    fn begin<'a>(&'a self, waited: &'a mut Waited) -> Waiting<'a> {
        self.depth.inc();
        Waiting {
            series: self,
            began: Instant::now(),
            waited,
        }
    }

    fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].inc();
    }
}

impl Refusal {
    /// Every refusal, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 2] = [Self::Full, Self::Timeout];

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Timeout => "timeout",
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.series.depth.dec();
        self.series.wait.observe(took);
        self.waited.add(took);
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

static QUEUE_REFUSED: Family = Family {
    name: "evenkeel_queue_refused_total",
    help: "TCP sessions that found no endpoint with room, since too many waited or it took too long.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests;
