//! What is to be put in force: the configuration that was read, or the last good one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::succeed::FIRST;
use super::{BindError, Options};
use crate::config::Outcome;
use crate::control::last_good::{Copies, Copy, directory};
use crate::control::{Candidate, Instead, Readiness, Rejection, aside, reload};
use crate::snapshot::Handle;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::rfc3339;

/// A configuration on its way into force.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) outcome: Outcome,
    pub(super) candidate: Candidate,
    /// That it is the last good one.
    pub(super) instead: Option<Reason>,
}

/// Why it is the last good one.
#[derive(Debug)]
pub(super) struct Reason {
    instead: Instead,
    sha256: Arc<str>,
}

/// Why the configuration that was read is not in force.
#[derive(Debug)]
pub(super) struct Original(Rejection);

impl Plan {
    /// What was read, or what there is instead.
    pub(super) async fn new(
        outcome: Outcome,
        options: &Options,
        generation: u64,
    ) -> Result<Self, BindError> {
        let file = file(options);
        match (Candidate::new(&outcome, generation), file) {
            (Ok(candidate), Some(file)) if candidate.config.listener.is_empty() => {
                // It may have been cut off as it was written. Without a copy it is what is meant.
                let good = Self::last_good(&outcome, file, &Rejection::NothingListens).await;
                let listens = |plan: &Self| !plan.candidate.config.listener.is_empty();
                Ok(good.ok().filter(listens).unwrap_or(Self {
                    outcome,
                    candidate,
                    instead: None,
                }))
            }
            (Ok(candidate), _) => Ok(Self {
                outcome,
                candidate,
                instead: None,
            }),
            (Err(rejection), None) => Err(rejection.into()),
            (Err(rejection), Some(file)) => {
                let good = Self::last_good(&outcome, file, &rejection).await;
                good.map_err(|why| BindError::NothingGood { rejection, why })
            }
        }
    }

    /// The last good one, since this one is refused. Fails where it is that already.
    pub(super) async fn or_last_good(
        &mut self,
        rejection: Rejection,
        options: &Options,
    ) -> Result<Original, BindError> {
        let Some(file) = file(options).filter(|_| self.instead.is_none()) else {
            return Err(rejection.into());
        };
        let findings = rejection.findings(&self.outcome.places);
        self.outcome.add(findings);
        match Self::last_good(&self.outcome, file, &rejection).await {
            Ok(plan) => {
                *self = plan;
                Ok(Original(rejection))
            }
            Err(why) => Err(BindError::NothingGood { rejection, why }),
        }
    }

    /// It is in force: a good one is kept for the next start, the last good one is told of.
    pub(super) fn in_force(
        self,
        handle: &Handle,
        readiness: &Readiness,
        events: &Events,
    ) -> Copies {
        let copies = Copies::new();
        match self.instead {
            None => copies.keep(&self.outcome.sources, &handle.load()),
            Some(instead) => {
                instead.tell(events);
                readiness.serve_instead(Some(instead.into_arc()));
            }
        }
        copies
    }

    async fn last_good(
        outcome: &Outcome,
        file: PathBuf,
        rejection: &Rejection,
    ) -> Result<Self, String> {
        let directory = directory(&file, outcome);
        let (place, main) = (directory.clone(), file.clone());
        let found = aside::aside([&*directory], move || {
            let copy = Copy::find(&place, &main)?;
            let outcome = copy.load();
            Ok::<_, String>((copy, outcome))
        });
        let (copy, good) = found.await??;
        let neither = |error| format!("{NEITHER}: {error}");
        let mut candidate = Candidate::new(&good, FIRST).map_err(neither)?;
        candidate.remembered = copy.hosts();
        let mut why = vec![rejection.to_string()];
        why.extend(reload::mistakes(outcome));
        let instead = Instead {
            why,
            file: file.display().to_string(),
            since: SystemTime::now(),
            kept: copy.at(),
        };
        let sha256 = Arc::clone(&candidate.sha256);
        Ok(Self {
            outcome: good,
            candidate,
            instead: Some(Reason { instead, sha256 }),
        })
    }
}

impl Reason {
    /// Makes an event of it.
    fn tell(&self, events: &Events) {
        let Instead {
            why, file, kept, ..
        } = &self.instead;
        let kept = kept.map(rfc3339).unwrap_or_default();
        events.publish(Event {
            kind: "last_good_in_force",
            why: format!(
                "{file} cannot be put in force; the last good configuration serves, of {kept}: {}",
                why.join("; ")
            ),
            fields: vec![("file", file.clone()), ("sha256", self.sha256.to_string())],
        });
    }

    /// What the rest of the process is told.
    fn into_arc(self) -> Arc<Instead> {
        Arc::new(self.instead)
    }
}

impl Original {
    /// Nor can the last good one be put in force.
    pub(super) fn nor(self, error: &Rejection) -> BindError {
        BindError::NothingGood {
            rejection: self.0,
            why: format!("{NEITHER}: {error}"),
        }
    }
}

/// The file whose last good configuration may serve.
fn file(options: &Options) -> Option<PathBuf> {
    options.file.clone().filter(|_| options.last_good)
}

const NEITHER: &str = "the last good configuration cannot be put in force either";
