//! Keeps the state of this process in a directory.
//!
//! What is known is collected here, which takes no longer than a scrape; it is written by a thread
//! that nothing waits for, so a disk that hangs or is full holds up nothing. There is one such
//! thread at most: while it hangs, nothing further is written, and that is told once.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Place, State};
use crate::control::health::Asking;
use crate::snapshot::Handle;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};
use crate::time::since_epoch;
use crate::upstream::World;

/// Writes the state down now and then. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    place: Place,
    handle: Handle,
    prober: Asking,
    registry: Registry,
    events: Events,
    metrics: Metrics,
    /// The thread that writes has it.
    writing: Arc<Semaphore>,
    /// Whether people were told that nothing is written.
    is_told: AtomicBool,
}

#[derive(Debug)]
struct Metrics {
    saved: Counter,
    failed: Counter,
    timestamp: Gauge,
}

impl Keeper {
    /// Keeps what is known of the snapshot in force there.
    pub fn new(place: Place, handle: Handle, prober: Asking, world: &World) -> Self {
        let registry = world.registry.clone();
        let result = |result| registry.counter(&SAVES, &[("result", result)]);
        let metrics = Metrics {
            saved: result("saved"),
            failed: result("failed"),
            timestamp: registry.gauge(&LAST_SAVE, &[]),
        };
        let parts = Parts {
            place,
            handle,
            prober,
            registry,
            events: world.events.clone(),
            metrics,
            writing: Arc::new(Semaphore::new(1)),
            is_told: AtomicBool::new(false),
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Where it is kept.
    pub fn place(&self) -> &Place {
        &self.parts.place
    }

    /// Where is told what fails.
    pub fn events(&self) -> &Events {
        &self.parts.events
    }

    /// Saves every ten seconds, and soon after an endpoint's health has changed, until it is
    /// dropped.
    #[expect(clippy::infinite_loop, reason = "it ends where it is dropped")]
    pub async fn run(self) -> Infallible {
        let mut times = interval_at(Instant::now() + SOON, SOON);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            let now = times.tick().await;
            let healths = self.healths();
            let is_due = last.is_none_or(|(at, known)| now >= at + INTERVAL || known != healths);
            if is_due {
                self.save().await;
                last = Some((now, healths));
            }
        }
    }

    /// A number that is another one once an endpoint is held for something else.
    fn healths(&self) -> u64 {
        let snapshot = self.parts.handle.load();
        let mut hasher = DefaultHasher::new();
        for upstream in snapshot.upstreams.values() {
            for endpoint in upstream.endpoints().iter() {
                (endpoint.live.id(), endpoint.live.health()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// What is known now, without what was counted: the next process must not go on from counts of
    /// which some are missing.
    pub async fn state(&self) -> State {
        State::now(&self.parts.handle, &self.parts.prober, PATIENCE).await
    }

    async fn save(&self) {
        let state = self.state().await;
        self.write(state, false).await;
    }

    /// Saves for the last time what was known at the end, and all that was counted until now.
    pub async fn finish(&self, mut state: State) {
        state.counts = self.parts.registry.counts();
        self.write(state, true).await;
    }

    async fn write(&self, state: State, is_whole: bool) {
        let writing = async {
            let thread = Arc::clone(&self.parts.writing);
            // Nobody closes it. The permit goes with the thread.
            let permit = thread.acquire_owned().await;
            let place = self.parts.place.clone();
            let written = spawn_blocking(move || {
                let written = place.write(&state.to_bytes(), is_whole);
                drop(permit);
                written
            });
            written.await
        };
        let why = match timeout(PATIENCE, writing).await {
            Ok(Ok(Ok(()))) => return self.saved(),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "writing it failed by a fault of ours".to_owned(),
            Err(_) => format!("it was not written within {PATIENCE:?}"),
        };
        self.parts.metrics.failed.inc();
        if !self.parts.is_told.swap(true, Ordering::Relaxed) {
            let Parts { events, place, .. } = &*self.parts;
            publish(events, "state_not_saved", why, place);
        }
    }

    fn saved(&self) {
        self.parts.metrics.saved.inc();
        let now = since_epoch(SystemTime::now());
        self.parts.metrics.timestamp.set_f64(now.as_secs_f64());
        if self.parts.is_told.swap(false, Ordering::Relaxed) {
            let Parts { events, place, .. } = &*self.parts;
            publish(
                events,
                "state_saved",
                "it can be written again".to_owned(),
                place,
            );
        }
    }
}

pub(super) fn publish(events: &Events, kind: &'static str, why: String, place: &Place) {
    let directory = place.directory().display().to_string();
    events.publish(Event {
        kind,
        why,
        fields: vec![("state_dir", directory)],
    });
}

/// Between two savings: what is lost by a kill is learned anew in as long, and an SSD that is
/// written to so often outlives its machine.
const INTERVAL: Duration = Duration::from_secs(10);

/// How soon after a change: what an outage has taught must outlive what follows from it.
const SOON: Duration = Duration::from_secs(1);

/// How long the end of the process waits for a disk at most, and for the prober.
const PATIENCE: Duration = Duration::from_secs(2);

static SAVES: Family = Family {
    name: "evenkeel_state_saves_total",
    help: "Attempts to save the state to `state_dir`, by their result.",
    kind: Kind::Counter,
    buckets: None,
};

static LAST_SAVE: Family = Family {
    name: "evenkeel_state_last_save_timestamp_seconds",
    help: "When the state was last saved, in seconds since the epoch.",
    kind: Kind::Gauge,
    buckets: None,
};
