//! Waiting for an endpoint that has room: bounded in time and in number, in the order in which they
//! came.
//!
//! Who was let in and could not be connected comes back to where he stood, with what is left of his
//! time: others came later, and would make him wait for as long again.
//!
//! So it is for TCP sessions. Requests have a line of their own, in another order: see [`InQueue`].

mod requests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use requests::{InQueue, NotQueued, PushedOut};

pub(super) use requests::OfRequests;

use super::{Haste, Pick, PickError, Upstream};
use crate::endpoint::Line;
use crate::queue::Arrival;
use crate::telemetry::metrics::{Counter, Family, Gauge, Histogram, Kind, Registry};

/// For how long somebody waits, over all that he tries.
#[derive(Debug)]
pub struct Patience<'a> {
    /// At most.
    pub limit: Duration,
    /// So far.
    pub waited: &'a mut Waited,
    /// When he came, once that is known.
    pub arrival: &'a mut Option<Arrival>,
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
    /// to pick again, for as long as the patience lasts; then picks for the last time, whoever is
    /// first by then: it may be one that lately failed, which those do not want who may wait.
    pub async fn pick_in_turn(
        &self,
        line: Line,
        patience: Patience<'_>,
        mut pick: impl FnMut(Haste) -> Result<Pick, PickError>,
    ) -> Result<Pick, PickError> {
        let arrival = patience.arrival.get_or_insert_with(|| self.queue.arrive());
        let mut look = || match pick(Haste::MayWait) {
            Err(PickError::AllAtLimit) => None,
            picked => Some(picked),
        };
        if self.queue.is_next(line, *arrival)
            && let Some(picked) = look()
        {
            return picked;
        }
        let series = self.metrics.queue().series(&self.registry, &self.name);
        let Some(in_line) = self.queue.join(line, *arrival, AT_MOST) else {
            series.refuse(Refusal::Full);
            return Err(PickError::AllAtLimit);
        };
        *arrival = in_line.arrival();
        let left = patience.limit.saturating_sub(patience.waited.time());
        let waiting = series.begin(patience.waited);
        let turn = in_line.turn(Some(LOOK_AGAIN), look);
        // From this line nobody is pushed out: it is in the order of arrival.
        if let Ok(Some(picked)) = timeout_at(waiting.began + left, turn).await {
            return picked;
        }
        let last = pick(Haste::Now);
        if let Err(PickError::AllAtLimit) = last {
            series.refuse(Refusal::Timeout);
        }
        last
    }
}

impl Waited {
    /// The time.
    pub fn time(self) -> Duration {
        Duration::from_micros(self.micros.into())
    }

    /// The time, if there was any.
    pub fn some(self) -> Option<Duration> {
        (self.micros > 0).then(|| self.time())
    }

    fn add(&mut self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        // Who has waited has waited for something.
        self.micros = self.micros.saturating_add(micros.max(1));
    }
}

impl Upstream {
    /// Those that were turned away from the queue since the start: too many waited, or it took too
    /// long.
    pub fn turned_away(&self) -> u64 {
        self.metrics.queue().turned_away()
    }
}

impl QueueMetrics {
    fn turned_away(&self) -> u64 {
        let series = self.series.get();
        series.map_or(0, |series| series.refused.iter().map(Counter::value).sum())
    }

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

/// That an endpoint has been left alone for long enough after a failure, nobody says.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Those who wait at most, for one upstream. As many as wait for a place at a listener: who comes
/// behind a thousand has little to hope for within some seconds.
const AT_MOST: usize = 1_024;

static QUEUE_DEPTH: Family = Family {
    name: "evenkeel_queue_depth",
    help: "Requests and TCP sessions that wait for an endpoint with room.",
    kind: Kind::Gauge,
    buckets: None,
};

static QUEUE_WAIT: Family = Family {
    name: "evenkeel_queue_wait_seconds",
    help: "How long requests and TCP sessions have waited for an endpoint with room.",
    kind: Kind::Histogram,
    buckets: None,
};

static QUEUE_REFUSED: Family = Family {
    name: "evenkeel_queue_refused_total",
    help: "Requests and TCP sessions that got no endpoint: too many waited, or it took too long.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests;
