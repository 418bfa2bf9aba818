//! How an upgrade is asked for, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Asks for upgrades. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests {
    sender: mpsc::Sender<Request>,
    is_running: Arc<AtomicBool>,
}

/// How an upgrade ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether another instance serves now.
    pub result: Verdict,
    /// What happened, or why nothing did.
    pub why: String,
    /// What is to be known beside it.
    pub notes: Vec<String>,
    /// The process that serves now.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
}

/// Whether an upgrade came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The new instance serves.
    Succeeded,
    /// The old one goes on.
    Failed,
    /// The same, since the new one was not ready in time.
    Late,
}

/// Who asks, and who is told.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) by: &'static str,
    pub(super) answer: Option<oneshot::Sender<Report>>,
}

/// That an upgrade runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<AtomicBool>);

/// The receiving end.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: mpsc::Receiver<Request>,
    is_running: Arc<AtomicBool>,
}

impl Requests {
    pub(super) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(1);
        let is_running = Arc::<AtomicBool>::default();
        let queue = Queue {
            receiver,
            is_running: Arc::clone(&is_running),
        };
        (Self { sender, is_running }, queue)
    }

    /// Asks for an upgrade and waits for its end. `None` when the process is about to end.
    pub async fn upgrade(&self, by: &'static str) -> Option<Report> {
        if self.is_running() {
            return Some(Report::failed(Verdict::Failed, BUSY.to_owned()));
        }
        let (answer, report) = oneshot::channel();
        let answer = Some(answer);
        self.sender.send(Request { by, answer }).await.ok()?;
        report.await.ok()
    }

    /// Asks for an upgrade without waiting.
    pub fn request(&self, by: &'static str) {
        let request = Request { by, answer: None };
        if self.is_running() || self.sender.try_send(request).is_err() {
            tracing::warn!(by, "{BUSY}");
        }
    }

    fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }
}

impl Queue {
    /// The next who asks, and the mark that an upgrade runs. `None` once nobody can ask any more.
    pub(super) async fn next(&mut self) -> Option<(Request, Running)> {
        let request = self.receiver.recv().await?;
        self.is_running.store(true, Ordering::Release);
        Some((request, Running(Arc::clone(&self.is_running))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Report {
    pub(super) fn failed(result: Verdict, why: String) -> Self {
        Self {
            result,
            why,
            notes: Vec::new(),
            pid: std::process::id(),
            version: crate::telemetry::process::BUILD.version.to_owned(),
        }
    }
}

const BUSY: &str = "an upgrade is under way already";
