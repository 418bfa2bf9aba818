//! What an endpoint's live state takes in of the outcomes of attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::{Live, Reading, TooSlow, Trial};
use crate::endpoint::Fault;
use crate::endpoint::backoff::Through;

/// Which attempt it was whose outcome is told: of an endpoint that is half-open only a trial
/// decides whether it comes back. What was sent there before its ejection does not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    /// One that was let through this gate, or none.
    Pick(Option<Through>),
    /// One of which nobody knows but that it began then.
    Since(Instant),
}

/// None that tries anything.
impl Default for Of {
    fn default() -> Self {
        Self::Pick(None)
    }
}

impl Live {
    /// The head of a response came. What it says is told apart. Whether it is one of several in a
    /// row that came far later than is usual: one of which nobody knows how long it took neither is
    /// one of these nor ends the row.
    #[inline]
    pub(crate) fn answered(&self, took: Option<Duration>) -> bool {
        let Some(took) = took else {
            self.tally.answered_untimed();
            return false;
        };
        self.compared.slowness.heard(self.tally.answered(took))
    }

    /// Says from when on an answer comes far later than is usual, if that is known. For the control
    /// plane.
    pub fn measure_by(&self, too_slow: Option<TooSlow>) {
        self.compared.slowness.measure_by(too_slow);
    }

    /// An attempt ended without the head of a response.
    pub(in crate::endpoint) fn ended(&self) {
        self.tally.ended();
    }

    /// An attempt went well to its end.
    #[inline]
    pub(in crate::endpoint) fn went_well(&self, of: Of) {
        self.tally.went_well();
        if self.backoff.is_half_open() {
            self.tried(Trial::Passed, of);
        }
    }

    /// Whether nothing that was asked of it has ended yet.
    pub fn is_unused(&self) -> bool {
        self.tally.is_empty()
    }

    /// An attempt failed. From so many in a row on the control plane is told.
    pub(in crate::endpoint) fn failed(&self, fault: Fault, row: u32, of: Of) {
        let failures = self.tally.failed(fault);
        if self.backoff.is_half_open() {
            self.tried(Trial::Failed, of);
        } else if failures >= row && self.tally.suspect() {
            self.told.suspects.push(self.id);
        }
    }

    fn tried(&self, trial: Trial, of: Of) {
        let is_trial = match of {
            Of::Pick(through) => through.is_some_and(|gate| self.backoff.is_present(gate)),
            Of::Since(began) => self.backoff.may_have_tried(self.epoch.millis(began)),
        };
        if !is_trial {
            return;
        }
        self.tally.tried(trial);
        if self.tally.suspect() {
            self.told.suspects.push(self.id);
        }
    }

    /// It showed in a way that has no status that it is well: a tunnel's first byte came.
    pub(crate) fn proved(&self, of: Of) {
        self.backoff.succeed();
        self.went_well(of);
    }

    /// Takes in that an attempt was given up unanswered, and tells whether nothing has been heard
    /// of the endpoint for long although several were.
    pub(in crate::endpoint) fn is_silent(&self, now: Instant) -> bool {
        self.silence.lost(self.tally.heads(), now)
    }

    /// What has been counted. For the control plane.
    pub fn read(&self) -> Reading {
        Reading {
            late: self.compared.slowness.row(),
            ..self.tally.read()
        }
    }

    /// How a trial ended since this was asked last. For the control plane.
    pub fn take_trial(&self) -> Option<Trial> {
        self.tally.take_trial()
    }

    /// Lets workers tell of the endpoint once more. For the control plane.
    pub fn trust(&self) {
        self.tally.trust();
    }

    /// Begins a new row of failures.
    pub(super) fn forgive(&self) {
        self.silence.forget();
        self.compared.slowness.forget();
        self.tally.forgive();
    }

    /// Lets one request at a time try the endpoint, until [`Live::open`]. For the control plane.
    pub(super) fn half_open(&self, now: Instant) {
        self.silence.forget();
        self.compared.slowness.forget();
        self.backoff.half_open(self.epoch.millis(now));
    }

    /// Lets all requests go there: it is half-open no more, in the table neither. Before that, all
    /// for whom it is picked would go to one whose trial has just failed.
    pub(crate) fn open(&self) {
        self.backoff.open();
    }
}
