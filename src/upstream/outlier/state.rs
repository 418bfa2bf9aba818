//! What is known of one endpoint of a group.

use tokio::time::Instant;

use super::correlated::BURST;
use super::detect::Cause;
use super::window::Window;
use crate::endpoint::{Condition, Ejection, Fault, Health, Reading, Terms, Trial};

/// What is known of one endpoint.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) condition: Condition,
    pub(super) window: Window,
    /// Intervals in a row in which it was slow.
    pub(super) slow: u32,
    /// Answers in these intervals, where none of them came in time.
    pub(super) late: u32,
    /// Answers in a row that came far later than usual, as workers count them.
    pub(super) late_now: u32,
    /// Whether it is not expected to be as fast as others yet.
    pub(super) is_starting: bool,
    /// What was read of it last.
    pub(super) row: u32,
    pub(super) of_connections: bool,
    pub(super) last: Option<Fault>,
    pub(super) trial: Option<Trial>,
    /// What it was ejected for last.
    pub(super) cause: &'static str,
    /// When probes found it unhealthy, if that was seen.
    pub(super) unhealthy_since: Option<Instant>,
}

/// An endpoint that belongs to the group now.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// What it is held for.
    pub health: Health,
    /// Whether it is probed.
    pub is_probed: bool,
}

/// What was read of an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// What has been counted.
    pub reading: Reading,
    /// How a trial ended, if one did.
    pub trial: Option<Trial>,
    /// Whether it came into service so lately, after others, that it may be slow for a while.
    pub is_starting: bool,
}

impl State {
    pub(super) fn new(member: &Member, reading: &Reading, now: Instant) -> Self {
        Self::begin(Condition::new(member.health, now), reading)
    }

    /// One that is held for this, and of whose requests nothing has been read since.
    pub(super) fn begin(condition: Condition, reading: &Reading) -> Self {
        Self {
            condition,
            window: Window::begin(reading),
            slow: 0,
            late: 0,
            late_now: 0,
            is_starting: false,
            row: 0,
            of_connections: false,
            last: None,
            trial: None,
            cause: "",
            unhealthy_since: None,
        }
    }

    /// Probes say something else of it.
    pub(super) fn probes_say(&mut self, health: Health, now: Instant) {
        self.condition.probes_say(health);
        let is_unhealthy = self.condition.probed() == Health::Unhealthy;
        self.unhealthy_since = is_unhealthy.then_some(now);
        self.start_anew();
    }

    /// Whether probes have found it unhealthy since then, or shortly before.
    pub(super) fn is_lost_since(&self, then: Instant) -> bool {
        self.unhealthy_since
            .is_some_and(|since| since + BURST >= then)
    }

    pub(super) fn take(&mut self, seen: &Seen) {
        self.window.take(&seen.reading);
        self.row = seen.reading.row;
        self.late_now = seen.reading.late;
        self.is_starting = seen.is_starting;
        self.of_connections = seen.reading.row_is_of_connections;
        self.last = seen.reading.last;
        self.trial = seen.trial.or(self.trial);
    }

    pub(super) fn start_anew(&mut self) {
        self.window.forget();
        self.slow = 0;
        self.late = 0;
    }

    pub(super) fn is_freshly_ejected(&self, now: Instant) -> bool {
        let since = self.condition.ejected_since();
        since.is_some_and(|since| now.saturating_duration_since(since) < BURST)
    }

    /// Ejects it. `chance` as in [`Condition::eject`].
    pub(super) fn eject(
        &mut self,
        cause: Cause,
        terms: Terms,
        now: Instant,
        chance: f64,
    ) -> (Ejection, &'static str) {
        let of_connections = self.is_of_connections(cause);
        self.cause = cause.as_str();
        self.start_anew();
        let ejection = self.condition.eject(of_connections, terms, now, chance);
        (ejection, self.cause)
    }

    /// Whether it was out for being slow.
    pub(super) fn was_slow(&self) -> bool {
        self.cause == SLOW
    }

    /// The ejection that goes on, if it is held for that, and its cause.
    pub(super) fn ejection(&self) -> Option<(Ejection, &'static str)> {
        let ejection = self.condition.ejection()?;
        Some((ejection, self.cause))
    }

    /// Failures in a row, unless they are all of connections that could not be made: from where
    /// none can, requests stay away anyway, and a restart that takes a second costs no ejection.
    pub(super) fn row_of_requests(&self) -> u32 {
        if self.of_connections { 0 } else { self.row }
    }

    fn is_of_connections(&self, cause: Cause) -> bool {
        match cause {
            Cause::Row(_) => self.of_connections,
            Cause::Trial => self.last.is_some_and(Fault::is_connection),
            Cause::Ratio(_)
            | Cause::SuccessRate { .. }
            | Cause::Latency { .. }
            | Cause::Late { .. }
            | Cause::LateTrial { .. } => false,
        }
    }

    pub(super) fn in_words(&self, cause: Cause) -> String {
        let why = cause.in_words();
        match (cause, self.last) {
            (Cause::Row(_) | Cause::Ratio(_), Some(last)) => format!("{why}, the last with {last}"),
            (Cause::Trial, Some(last)) => format!("{why} with {last}"),
            (Cause::Row(_) | Cause::Ratio(_) | Cause::Trial, None)
            | (
                Cause::SuccessRate { .. }
                | Cause::Latency { .. }
                | Cause::Late { .. }
                | Cause::LateTrial { .. },
                _,
            ) => why,
        }
    }
}

/// The word for an ejection of one that is slow.
pub(super) const SLOW: &str = "latency";
