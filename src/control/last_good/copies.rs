//! Writes down what is put in force, on a thread that nothing waits for.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::Copy;
use crate::config::Sources;
use crate::control::aside::aside;
use crate::snapshot::Snapshot;
use crate::telemetry::events::{Event, Events};

/// Is told what has been put in force. Only the newest is written: one that was replaced meanwhile
/// is not the last.
#[derive(Debug, Clone)]
pub struct Copies {
    newest: watch::Sender<Option<Arc<Copy>>>,
}

impl Copies {
    /// Nothing has been put in force yet.
    pub fn new() -> Self {
        Self {
            newest: watch::Sender::new(None),
        }
    }

    /// What was read from there is in force now.
    pub fn keep(&self, sources: &Sources, snapshot: &Snapshot) {
        if let Some(copy) = Copy::of(sources, snapshot) {
            self.newest.send_replace(Some(Arc::new(copy)));
        }
    }

    /// Writes each to this directory, until it is dropped.
    pub async fn run(self, directory: PathBuf, events: Events) {
        let mut news = self.newest.subscribe();
        news.mark_changed();
        while news.changed().await.is_ok() {
            let Some(copy) = news.borrow_and_update().clone() else {
                continue;
            };
            let place = directory.clone();
            let written = aside([&*directory], move || copy.write(&place)).await;
            let why = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(why) => why,
            };
            events.publish(Event {
                kind: "state_not_saved",
                why: format!(
                    "the configuration in force could not be kept as the last good: {why}"
                ),
                fields: vec![("state_dir", directory.display().to_string())],
            });
        }
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::new()
    }
}
