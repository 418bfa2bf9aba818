//! Reload: a new configuration without a request noticing, or no change at all.
//!
//! All that can fail comes before the swap: reading, checking, `[[test]]`s, names, sockets, the
//! snapshot, the log's output. A refused configuration changes nothing. After the swap, what the
//! new snapshot does not have is retired; it ends on its own.
//!
//! Reloads run one after another in one task. Whoever asks while one runs is answered by the next
//! one, together with all who asked meanwhile, since it reads the file after they asked. Who asks
//! while an upgrade runs is meant for whoever serves after it: a signal is passed on to that one
//! (`Requests::passed_on`), and who waits for an answer is told to ask again, there.

mod metrics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};

use self::metrics::Metrics;
use super::health::Prober;
use super::last_good::Copies;
use super::prepare::{Candidate, Rejection, Workshop, reach, user_is_possible};
use super::privileges::Touched;
use super::ready::Readiness;
use super::{changes, log_output, notify, reading, sockets};
use crate::config::{Config, Outcome, Readings, Severity, Style, System};
use crate::snapshot::Handle;
use crate::telemetry::LevelHandle;
use crate::telemetry::access::{Settings, Sink};
use crate::telemetry::events::Event;

/// Asks for reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests {
    sender: mpsc::Sender<Request>,
    /// Told of a reload that is for the instance that has taken over.
    passed_on: Arc<Notify>,
}

/// Carries reloads out, one after another.
#[derive(Debug)]
pub struct Reloader {
    parts: Parts,
    /// What this process was started with.
    started: Arc<Config>,
    metrics: Metrics,
    requests: mpsc::Receiver<Request>,
    passed_on: Arc<Notify>,
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
    /// Is told what has been put in force.
    pub copies: Copies,
    /// Held while a reload runs, or an upgrade: what is handed over must not change meanwhile.
    pub one_change: Arc<Mutex<()>>,
    /// Is told what was read.
    pub read: watch::Sender<Readings>,
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

impl Requests {
    /// Asks for a reload and waits for its end. `None` when the process is about to end, or when
    /// another one serves by now.
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

    /// Completes when a reload was asked for that is for the instance that has taken over.
    pub(super) async fn passed_on(&self) {
        self.passed_on.notified().await;
    }
}

impl Reloader {
    /// A reloader, and the way to ask it. What is in force counts as applied, and is
    /// probed from now on.
    pub fn new(parts: Parts) -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let snapshot = parts.handle.load();
        let metrics = Metrics::new(&parts.workshop.world.registry, &snapshot);
        if parts.readiness.instead().is_some() {
            metrics.serves_instead();
        }
        parts.prober.apply(snapshot.upstreams.values());
        let passed_on = Arc::<Notify>::default();
        let reloader = Self {
            passed_on: Arc::clone(&passed_on),
            started: Arc::clone(&snapshot.config),
            parts,
            metrics,
            requests,
        };
        (reloader, Requests { sender, passed_on })
    }

    /// Serves requests until nobody can ask any more.
    pub async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            let by = first.by;
            let one_change = Arc::clone(&self.parts.one_change);
            let changing = one_change.lock().await;
            let mut waiting = vec![first];
            while let Ok(next) = self.requests.try_recv() {
                waiting.push(next);
            }
            if self.parts.readiness.has_left() {
                drop(changing);
                if waiting.iter().any(|request| request.answer.is_none()) {
                    self.passed_on.notify_one();
                }
                continue;
            }
            let report = self.reload(by).await;
            drop(changing);
            for answer in waiting.into_iter().filter_map(|request| request.answer) {
                // Whoever does not wait any longer can look at the status.
                drop(answer.send(report.clone()));
            }
        }
    }

    async fn reload(&mut self, by: &'static str) -> Report {
        // The service manager waits for the end of what it is told of, and is told of no other end
        // than this process's own once that is under way.
        if self.parts.readiness.is_draining() {
            return self.rejected(&Rejection::Draining, None, by);
        }
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

    /// Reads and checks the file.
    async fn read(&self) -> Result<Outcome, Rejection> {
        let file = self.parts.file.clone().ok_or(Rejection::NoFile)?;
        let read = reading::read(file, System).await;
        let told = |outcome: &Outcome| drop(self.parts.read.send_replace(outcome.readings.clone()));
        read.inspect(told).map_err(Rejection::Fault)
    }

    /// Puts a configuration in force, or finds out why that cannot be.
    async fn apply(&mut self, outcome: &Outcome) -> Result<Change, Rejection> {
        let previous = self.parts.handle.load();
        if outcome.config.is_none() {
            let unread = || Touched::unread(&outcome.readings);
            reach(&self.parts.workshop.confined, unread).await?;
        }
        let candidate = Candidate::new(outcome, previous.generation + 1)?;
        // Whoever has a user was started by root, or as that user, whose next start tells.
        let began_as_root = self.started.user.is_some() || rustix::process::geteuid().is_root();
        user_is_possible(&candidate.config, began_as_root).await?;
        let listeners = previous.config.listener.len();
        if candidate.config.listener.is_empty() && listeners > 0 {
            return Err(Rejection::NoListener(listeners));
        }
        let settings = Settings::new(&candidate.config.log);
        let workshop = &self.parts.workshop;
        let snapshot = workshop.prepare(candidate, Some(&previous)).await?;
        // The log is the last thing that can fail: a file may be made for it.
        let mut notes = Vec::new();
        let before = Settings::new(&previous.config.log);
        let output = log_output::open(&settings, &before, &mut notes).await?;
        let Log { sink, level } = &self.parts.log;
        sink.apply(&settings, output);
        if let Some(level) = level {
            level.set(settings.level);
        }
        self.metrics.applied(&snapshot);
        drop(self.parts.handle.replace(snapshot));
        let snapshot = self.parts.handle.load();
        sockets::settle(&snapshot);
        workshop.world.install(snapshot.upstreams.values());
        self.parts.prober.apply(snapshot.upstreams.values());
        notes.extend(changes::only_at_start(&self.started, &snapshot.config));
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
        let snapshot = self.parts.handle.load();
        self.parts.copies.keep(&outcome.sources, &snapshot);
        self.parts.readiness.serve_instead(None);
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
pub fn mistakes(outcome: &Outcome) -> Vec<String> {
    let findings = outcome.diagnostics.iter();
    findings
        .filter(|finding| finding.severity() == Severity::Error)
        .take(MISTAKES_IN_EVENT)
        .map(|finding| finding.one_line(&outcome.sources))
        .collect()
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
