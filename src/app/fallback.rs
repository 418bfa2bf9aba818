//! What is to be put in force: the configuration that was read, or the last good one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::succeed::FIRST;
use super::{BindError, Options};
use crate::config::{Outcome, Readings};
use crate::control::last_good::{Copies, Copy, directory};
use crate::control::privileges::{self, PrivilegeError, Privileges, Touched};
use crate::control::{Candidate, Instead, Readiness, Rejection, aside, reload};
use crate::snapshot::Handle;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::rfc3339;

/// A configuration on its way into force.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) outcome: Outcome,
    pub(super) candidate: Candidate,
    /// What the file was read from, whatever serves.
    pub(super) read: Readings,
    /// That it is the last good one.
    instead: Option<Reason>,
    /// The last good one, while it may have to serve instead.
    spare: Option<Spare>,
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

/// The last good configuration, or why there is none. It is read before anything is given up, since
/// it may name a user and files of its own.
#[derive(Debug)]
struct Spare {
    file: PathBuf,
    found: Result<(Copy, Outcome), String>,
}

impl Plan {
    /// What was read, or what there is instead. To be called while there is one thread: whom the
    /// process becomes depends on it.
    pub(super) fn new(outcome: Outcome, options: &Options) -> Result<Self, BindError> {
        let spare = Spare::of(&outcome, options);
        let read = outcome.readings.clone();
        let (candidate, spare) = match (candidate(&outcome, options), spare) {
            (Ok(candidate), Some(spare)) if candidate.config.listener.is_empty() => {
                // It may have been cut off as it was written. Without a copy it is what is meant.
                let good = spare.plan(&outcome, &Rejection::NothingListens);
                let good = good.ok().filter(|(good, _, _)| {
                    let config = good.config.as_ref();
                    config.is_some_and(|config| !config.listener.is_empty())
                });
                if let Some(good) = good {
                    return Ok(Self::last_good(good, read));
                }
                (candidate, None)
            }
            (Ok(candidate), spare) => (candidate, spare),
            (Err(rejection), None) => return Err(rejection.into()),
            (Err(rejection), Some(spare)) => {
                return match spare.plan(&outcome, &rejection) {
                    Ok(good) => Ok(Self::last_good(good, read)),
                    Err(why) => Err(BindError::NothingGood { rejection, why }),
                };
            }
        };
        Ok(Self {
            outcome,
            candidate,
            read,
            instead: None,
            spare,
        })
    }

    /// Gives up what neither this one nor what may serve instead needs.
    pub(super) fn privileges(&self, options: &Options) -> Result<Privileges, PrivilegeError> {
        if !options.privileges {
            return Ok(Privileges::none());
        }
        let spare = self.spare.as_ref();
        let spare = spare.and_then(|spare| spare.found.as_ref().ok());
        let spare = spare.map(|(_, outcome)| outcome);
        let confined = options.inheritance.confined().clone();
        Privileges::begin(&self.outcome, spare, (&options.admin, confined))
    }

    /// The last good one, since this one is refused. Fails where it is that already.
    pub(super) fn or_last_good(&mut self, rejection: Rejection) -> Result<Original, BindError> {
        let Some(spare) = self.spare.take() else {
            return Err(rejection.into());
        };
        let findings = rejection.findings(&self.outcome.places);
        self.outcome.add(findings);
        match spare.plan(&self.outcome, &rejection) {
            Ok(good) => {
                *self = Self::last_good(good, std::mem::take(&mut self.read));
                Ok(Original(rejection))
            }
            Err(why) => Err(BindError::NothingGood { rejection, why }),
        }
    }

    fn last_good((outcome, candidate, reason): Good, read: Readings) -> Self {
        Self {
            outcome,
            candidate,
            read,
            instead: Some(reason),
            spare: None,
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
}

/// A last good configuration that serves, and why.
type Good = (Outcome, Candidate, Reason);

impl Spare {
    /// The one that may serve by these options.
    fn of(outcome: &Outcome, options: &Options) -> Option<Self> {
        let file = options.file.clone().filter(|_| options.last_good)?;
        let (place, main) = (directory(&file, outcome), file.clone());
        let becomes = options.privileges;
        let found = aside::at_once(move || {
            let copy = Copy::find(&place, &main)?;
            let outcome = copy.load();
            if becomes && let Some(config) = &outcome.config {
                let whom = privileges::account(config);
                whom.map_err(|error| format!("{NEITHER}: {error}"))?;
            }
            Ok((copy, outcome))
        });
        let found = found.and_then(|found| found);
        Some(Self { file, found })
    }

    /// Has it serve, since the configuration of the file is refused.
    fn plan(self, refused: &Outcome, rejection: &Rejection) -> Result<Good, String> {
        let (copy, good) = self.found?;
        let neither = |error| format!("{NEITHER}: {error}");
        let mut candidate = Candidate::new(&good, FIRST).map_err(neither)?;
        candidate.remembered = copy.hosts();
        let mut why = vec![rejection.to_string()];
        why.extend(reload::mistakes(refused));
        let instead = Instead {
            why,
            file: self.file.display().to_string(),
            since: SystemTime::now(),
            kept: copy.at(),
        };
        let sha256 = Arc::clone(&candidate.sha256);
        Ok((good, candidate, Reason { instead, sha256 }))
    }
}

/// The configuration that was read, if it can be put in force as far as is known while there is one
/// thread.
fn candidate(outcome: &Outcome, options: &Options) -> Result<Candidate, Rejection> {
    let candidate = Candidate::new(outcome, FIRST).map_err(|rejection| {
        let unread = Touched::unread(&outcome.readings);
        let confined = options.inheritance.confined();
        let out_of_reach = confined.out_of_reach(&unread);
        out_of_reach.map_or(rejection, Rejection::OutOfReach)
    })?;
    if options.privileges {
        privileges::account(&candidate.config)?;
    }
    Ok(candidate)
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

const NEITHER: &str = "the last good configuration cannot be put in force either";
