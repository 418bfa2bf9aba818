//! What reloads are measured by, and which configuration is in force.

use std::time::SystemTime;

use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};
use crate::time::since_epoch;

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    success: Gauge,
    timestamp: Gauge,
    applied: Counter,
    rejected: Counter,
    is_last_good: Gauge,
    /// The series of the configuration in force; dropping it removes it.
    info: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, snapshot: &Snapshot) -> Self {
        let result = |result| registry.counter(&RELOADS, &[("result", result)]);
        let metrics = Self {
            registry: registry.clone(),
            success: registry.gauge(&LAST_SUCCESS, &[]),
            timestamp: registry.gauge(&LAST_TIMESTAMP, &[]),
            applied: result("applied"),
            rejected: result("rejected"),
            is_last_good: registry.gauge(&IS_LAST_GOOD, &[]),
            info: info(registry, snapshot),
        };
        metrics.finished(true);
        metrics
    }

    /// Tells that what is in force since the start is the last good configuration.
    pub(super) fn serves_instead(&self) {
        self.is_last_good.set(1);
        self.finished(false);
    }

    pub(super) fn applied(&mut self, snapshot: &Snapshot) {
        self.info = info(&self.registry, snapshot);
        self.applied.inc();
        self.is_last_good.set(0);
        self.finished(true);
    }

    pub(super) fn rejected(&self) {
        self.rejected.inc();
        self.finished(false);
    }

    fn finished(&self, success: bool) {
        self.success.set(i64::from(success));
        let now = since_epoch(SystemTime::now());
        self.timestamp.set_f64(now.as_secs_f64());
    }
}

fn info(registry: &Registry, snapshot: &Snapshot) -> Gauge {
    let generation = snapshot.generation.to_string();
    let labels = [
        ("generation", generation.as_str()),
        ("sha256", &*snapshot.sha256),
    ];
    let info = registry.gauge(&INFO, &labels);
    info.set(1);
    info
}

static LAST_SUCCESS: Family = Family {
    name: "evenkeel_config_last_reload_success",
    help: "Whether the last configuration that was read is in force.",
    kind: Kind::Gauge,
    buckets: None,
};

static LAST_TIMESTAMP: Family = Family {
    name: "evenkeel_config_last_reload_timestamp_seconds",
    help: "When a configuration was last read, in seconds since the epoch.",
    kind: Kind::Gauge,
    buckets: None,
};

static RELOADS: Family = Family {
    name: "evenkeel_config_reloads_total",
    help: "Reloads by their result.",
    kind: Kind::Counter,
    buckets: None,
};

static IS_LAST_GOOD: Family = Family {
    name: "evenkeel_config_is_last_good",
    help: "Whether the last good configuration is in force, since the file's cannot be.",
    kind: Kind::Gauge,
    buckets: None,
};

static INFO: Family = Family {
    name: "evenkeel_config_info",
    help: "The configuration in force; always 1.",
    kind: Kind::Gauge,
    buckets: None,
};
