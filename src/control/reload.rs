//! Reload: a new configuration without a request noticing, or no change at all.
//!
//! All that can fail comes before the swap: reading, checking, `[[test]]`s, names, sockets, the
//! snapshot, the log's output. A refused configuration changes nothing. After the swap, what the
//! new snapshot does not have is retired; it ends on its own.
//!
//! Reloads run one after another in one task. Whoever asks while one runs is answered by the next
//! one, together with all who asked meanwhile, since it reads the file after they asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::health::Prober;
use super::prepare::{Candidate, Rejection, Workshop};
use super::ready::Readiness;
use super::{changes, notify, sockets};
use crate::config::{self, Config, Outcome, Severity, Style, System};
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::LevelHandle;
use crate::telemetry::access::{Settings, Sink};
use crate::telemetry::events::Event;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};
use crate::time::since_epoch;

/// Asks for reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests {
    sender: mpsc::Sender<Request>,
}

/// Carries reloads out, one after another.
#[derive(Debug)]
pub struct Reloader {
    parts: Parts,
    /// What this process was started with.
    started: Arc<Config>,
    metrics: Metrics,
    requests: mpsc::Receiver<Request>,
}

/// What a reload acts on.
#[derive(Debug)]
pub struct Parts {
    /// The file that is read; without it there is nothing to reload.
    pub file: Option<PathBuf>,
    /// Makes the snapshots.
    pub workshop: Workshop,
    /// The snapshot in force.
    pub handle: Handle,
    /// Is told which endpoints to probe.
    pub prober: Prober,
    /// The log, whose settings may change.
    pub log: Log,
    /// No reload while the process ends.
    pub readiness: Readiness,
}

/// What of the log a configuration changes.
#[derive(Debug)]
pub struct Log {
    /// Where lines go, and which.
    pub sink: Sink,
    /// The level of the program's own log; `None` where the embedding program has its own.
    pub level: Option<LevelHandle>,
}

/// How a reload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether the configuration is in force now.
    pub result: Verdict,
    /// What changed, or why nothing did.
    pub why: String,
    /// What is to be known beside it.
    pub notes: Vec<String>,
    /// The generation that is in force now.
    pub generation: u64,
    /// The digest of what is in force now.
    pub sha256: String,
    /// Findings about the file, as `evenkeel check --json` has them.
    pub findings: Value,
    /// The same, drawn for a terminal.
    pub text: String,
}

/// Whether a configuration was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is in force.
    Applied,
    /// The one before goes on.
    Rejected,
}

/// Who asks, and who is told.
#[derive(Debug)]
struct Request {
    by: &'static str,
    answer: Option<oneshot::Sender<Report>>,
}

/// What a configuration that was taken changed.
#[derive(Debug)]
struct Change {
    what: String,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    success: Gauge,
    timestamp: Gauge,
    applied: Counter,
    rejected: Counter,
    /// The series of the configuration in force; dropping it removes it.
    info: Gauge,
}

impl Requests {
    /// Asks for a reload and waits for its end. `None` when the process is about to end.
    pub async fn reload(&self, by: &'static str) -> Option<Report> {
        let (answer, report) = oneshot::channel();
        let request = Request {
            by,
            answer: Some(answer),
        };
        self.sender.send(request).await.ok()?;
        report.await.ok()
    }

    /// Asks for a reload without waiting. With a full queue there is one to come anyway.
    pub fn request(&self, by: &'static str) {
        drop(self.sender.try_send(Request { by, answer: None }));
    }
}

impl Reloader {
    /// A reloader, and the way to ask it. What is in force counts as applied, and is
    /// probed from now on.
    pub fn new(parts: Parts) -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let snapshot = parts.handle.load();
        let metrics = Metrics::new(&parts.workshop.world.registry, &snapshot);
        parts.prober.apply(snapshot.upstreams.values());
        let reloader = Self {
            started: Arc::clone(&snapshot.config),
            parts,
            metrics,
            requests,
        };
        (reloader, Requests { sender })
    }

    /// Serves requests until nobody can ask any more.
    pub async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            let by = first.by;
            let mut waiting = vec![first];
            while let Ok(next) = self.requests.try_recv() {
                waiting.push(next);
            }
            let report = self.reload(by).await;
            for answer in waiting.into_iter().filter_map(|request| request.answer) {
                // Whoever does not wait any longer can look at the status.
                drop(answer.send(report.clone()));
            }
        }
    }

    async fn reload(&mut self, by: &'static str) -> Report {
        notify::reloading();
        let report = match self.read().await {
            Ok(mut outcome) => match self.apply(&outcome).await {
                Ok(change) => self.applied(change, &outcome, by),
                Err(rejection) => {
                    let findings = rejection.findings(&outcome.places);
                    outcome.add(findings);
                    self.rejected(&rejection, Some(&outcome), by)
                }
            },
            Err(rejection) => self.rejected(&rejection, None, by),
        };
        let generation = report.generation;
        match report.result {
            Verdict::Applied => notify::ready(&format!("configuration {generation}")),
            Verdict::Rejected => notify::ready(&format!(
                "configuration {generation}; the last reload was refused: {}",
                report.why
            )),
        }
        report
    }

    /// Reads and checks the file, away from this thread, which has health checks to carry out.
    async fn read(&self) -> Result<Outcome, Rejection> {
        if self.parts.readiness.is_draining() {
            return Err(Rejection::Draining);
        }
        let file = self.parts.file.clone().ok_or(Rejection::NoFile)?;
        spawn_blocking(move || config::load(&file, &System))
            .await
            .map_err(|error| Rejection::Fault(error.to_string()))
    }

    /// Puts a configuration in force, or finds out why that cannot be.
    async fn apply(&mut self, outcome: &Outcome) -> Result<Change, Rejection> {
        let previous = self.parts.handle.load();
        let candidate = Candidate::new(outcome, previous.generation + 1)?;
        let settings = Settings::new(&candidate.config.log);
        let workshop = &self.parts.workshop;
        let snapshot = workshop.prepare(candidate, Some(&previous)).await?;
        // The log is the last thing that can fail, since it cannot be taken back.
        let Log { sink, level } = &self.parts.log;
        sink.apply(&settings).map_err(Rejection::Log)?;
        if let Some(level) = level {
            level.set(settings.level);
        }
        self.metrics.applied(&snapshot);
        drop(self.parts.handle.replace(snapshot));
        let snapshot = self.parts.handle.load();
        sockets::settle(&snapshot);
        workshop.world.install(snapshot.upstreams.values());
        self.parts.prober.apply(snapshot.upstreams.values());
        let mut notes = changes::only_at_start(&self.started, &snapshot.config);
        let behind = self.parts.handle.followed(FOLLOWED_WITHIN).await;
        if behind > 0 {
            notes.push(changes::workers_behind(behind));
        }
        Ok(Change {
            what: changes::describe(&previous, &snapshot),
            notes,
        })
    }

    fn applied(&self, change: Change, outcome: &Outcome, by: &'static str) -> Report {
        for note in &change.notes {
            tracing::warn!("{note}");
        }
        self.publish("config_applied", change.what.clone(), by);
        Report {
            notes: change.notes,
            ..self.report(Verdict::Applied, change.what, Some(outcome))
        }
    }

    fn rejected(
        &self,
        rejection: &Rejection,
        outcome: Option<&Outcome>,
        by: &'static str,
    ) -> Report {
        self.metrics.rejected();
        let mistakes = outcome.map(mistakes).unwrap_or_default();
        let reasons = [vec![rejection.to_string()], mistakes];
        self.publish("config_rejected", reasons.concat().join("; "), by);
        self.report(Verdict::Rejected, rejection.to_string(), outcome)
    }

    fn publish(&self, kind: &'static str, why: String, by: &'static str) {
        let snapshot = self.parts.handle.load();
        self.parts.workshop.world.events.publish(Event {
            kind,
            why,
            fields: vec![
                ("generation", snapshot.generation.to_string()),
                ("sha256", snapshot.sha256.to_string()),
                ("by", by.to_owned()),
            ],
        });
    }

    fn report(&self, result: Verdict, why: String, outcome: Option<&Outcome>) -> Report {
        let snapshot = self.parts.handle.load();
        Report {
            result,
            why,
            notes: Vec::new(),
            generation: snapshot.generation,
            sha256: snapshot.sha256.to_string(),
            findings: outcome.map_or(Value::Null, Outcome::to_json),
            text: outcome
                .map(|outcome| outcome.render(STYLE))
                .unwrap_or_default(),
        }
    }
}

/// The first mistakes, a line each: enough to know by the log alone what was wrong.
fn mistakes(outcome: &Outcome) -> Vec<String> {
    let findings = outcome.diagnostics.iter();
    findings
        .filter(|finding| finding.severity() == Severity::Error)
        .take(MISTAKES_IN_EVENT)
        .map(|finding| finding.one_line(&outcome.sources))
        .collect()
}

impl Metrics {
    fn new(registry: &Registry, snapshot: &Snapshot) -> Self {
        let result = |result| registry.counter(&RELOADS, &[("result", result)]);
        let metrics = Self {
            registry: registry.clone(),
            success: registry.gauge(&LAST_SUCCESS, &[]),
            timestamp: registry.gauge(&LAST_TIMESTAMP, &[]),
            applied: result("applied"),
            rejected: result("rejected"),
            info: info(registry, snapshot),
        };
        metrics.finished(true);
        metrics
    }

    fn applied(&mut self, snapshot: &Snapshot) {
        self.info = info(&self.registry, snapshot);
        self.applied.inc();
        self.finished(true);
    }

    fn rejected(&self) {
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

/// The text travels as JSON to a command that knows its own terminal: lines, but no colours.
const STYLE: Style = Style {
    colour: false,
    unicode: true,
};

/// An event is for reading; the whole list is what `evenkeel check` is for.
const MISTAKES_IN_EVENT: usize = 3;

/// Requests that wait. More only come from a program that asks in a loop: it waits to be queued.
const QUEUE: usize = 64;

/// How long whoever asked waits for workers that are slow to take a configuration up.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);

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

static INFO: Family = Family {
    name: "evenkeel_config_info",
    help: "The configuration in force; always 1.",
    kind: Kind::Gauge,
    buckets: None,
};
