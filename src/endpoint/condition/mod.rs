//! The one state of an endpoint: what probes say of it and what became of requests, combined.
//!
//! Problem: probes and requests see different things. A probe asks one resource that may be fine
//! while all others fail; requests fail for reasons that a probe would refute at once. Two machines
//! that each write the state would undo each other. So there is one, and one owner who drives it:
//!
//! - A failing probe takes the endpoint out, whatever else is known: there is no worse news.
//! - Failing requests eject it: for `eject_for`, times how often that happened in a row, up to
//!   `eject_at_most`, ± 15 % so that what was ejected together (here, or by other instances) does
//!   not come back together. For each `eject_for` of peace one of the row is forgotten, as Envoy
//!   does.
//! - After that it is half-open: one request at a time tries it. One that does not fail brings it
//!   back, one that fails ejects it again.
//! - A passing probe ends an ejection early only where that was for connections that could not be
//!   made, which is what a probe refutes; and then to half-open.
//!
//! Both run on: an ejection goes on while probes fail. Pure: time and chance are arguments.

mod kept;

use std::time::Duration;

use tokio::time::Instant;

pub use kept::KeptCondition;

use super::{Health, Trial};

/// The state of one endpoint.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What probes say; healthy where nobody probes.
    probed: Health,
    trust: Trust,
    /// Ejections in a row.
    row: u32,
    /// Since when there has been peace, or since the last of the row was forgotten.
    calm_since: Instant,
}

/// What became of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Full,
    Ejected {
        since: Instant,
        ejection: Ejection,
        /// It was for connections that could not be made.
        of_connections: bool,
    },
    HalfOpen {
        /// When the ejection began.
        since: Instant,
        /// When it was over.
        over: Instant,
    },
}

/// How long ejections last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The first.
    pub eject_for: Duration,
    /// The longest.
    pub at_most: Duration,
}

/// An ejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// When it ends, unless something ends it before.
    pub until: Instant,
    /// How long it lasts.
    pub length: Duration,
    /// The how manieth it is in a row.
    pub count: u32,
}

impl Condition {
    /// Of an endpoint of which requests have told nothing yet.
    pub fn new(probed: Health, now: Instant) -> Self {
        Self {
            probed: known(probed),
            trust: Trust::Full,
            row: 0,
            calm_since: now,
        }
    }

    /// What it amounts to.
    pub fn health(&self) -> Health {
        match (self.probed, self.trust) {
            (Health::Unhealthy, _) => Health::Unhealthy,
            (_, Trust::Ejected { .. }) => Health::Ejected,
            (_, Trust::HalfOpen { .. }) => Health::HalfOpen,
            (probed, Trust::Full) => probed,
        }
    }

    /// What probes say.
    pub fn probed(&self) -> Health {
        self.probed
    }

    /// Whether requests have taken it out, and no trial was let through yet.
    pub fn is_ejected(&self) -> bool {
        matches!(self.trust, Trust::Ejected { .. })
    }

    /// Whether one request at a time tries it.
    pub fn is_half_open(&self) -> bool {
        matches!(self.trust, Trust::HalfOpen { .. })
    }

    /// The ejection, if that is what it is held for.
    pub fn ejection(&self) -> Option<Ejection> {
        match self.trust {
            Trust::Ejected { ejection, .. } if self.health() == Health::Ejected => Some(ejection),
            Trust::Ejected { .. } | Trust::Full | Trust::HalfOpen { .. } => None,
        }
    }

    /// Whether it is half-open, and has not been so for longer than that.
    pub fn is_tried_within(&self, time: Duration, now: Instant) -> bool {
        match self.trust {
            Trust::HalfOpen { over, .. } => now < over + time,
            Trust::Full | Trust::Ejected { .. } => false,
        }
    }

    /// When the ejection began that is not over; one that follows a failed trial goes on.
    pub fn ejected_since(&self) -> Option<Instant> {
        match self.trust {
            Trust::Full => None,
            Trust::Ejected { since, .. } | Trust::HalfOpen { since, .. } => Some(since),
        }
    }

    /// Ejections in a row, as far as they are not forgotten.
    pub fn row(&self) -> u32 {
        self.row
    }

    /// Ejects it. `chance` is from -1 to 1.
    pub fn eject(
        &mut self,
        of_connections: bool,
        terms: Terms,
        now: Instant,
        chance: f64,
    ) -> Ejection {
        self.row = self.row.saturating_add(1);
        let length = terms.eject_for.saturating_mul(self.row).min(terms.at_most);
        let length = length.mul_f64(1.0 + JITTER * chance.clamp(-1.0, 1.0));
        let ejection = Ejection {
            until: now + length,
            length,
            count: self.row,
        };
        self.trust = Trust::Ejected {
            since: self.ejected_since().unwrap_or(now),
            ejection,
            of_connections,
        };
        ejection
    }

    /// Time has passed.
    pub fn tick(&mut self, terms: Terms, now: Instant) {
        match self.trust {
            Trust::Ejected { ejection, .. } if now >= ejection.until => self.release(now),
            Trust::Full if !terms.eject_for.is_zero() => {
                while self.row > 0 && now >= self.calm_since + terms.eject_for {
                    self.row -= 1;
                    self.calm_since += terms.eject_for;
                }
            }
            Trust::Full | Trust::Ejected { .. } | Trust::HalfOpen { .. } => {}
        }
    }

    /// Probes say something else than before; or nobody probes any more, which is healthy.
    pub fn probes_say(&mut self, probed: Health) {
        self.probed = known(probed);
    }

    /// A probe has passed.
    pub fn probe_passed(&mut self, now: Instant) {
        if let Trust::Ejected {
            of_connections: true,
            ..
        } = self.trust
        {
            self.release(now);
        }
    }

    /// A trial has ended. Whether the endpoint is to be ejected again.
    pub fn tried(&mut self, trial: Trial, now: Instant) -> bool {
        if !self.is_half_open() {
            return false; // it was let through before something else was decided
        }
        match trial {
            Trial::Passed => {
                self.trust = Trust::Full;
                self.calm_since = now;
                false
            }
            Trial::Failed => true,
        }
    }

    /// An ejection is over, or others are needed more: one request at a time may go there now.
    pub fn release(&mut self, now: Instant) {
        if let Trust::Ejected { since, .. } = self.trust {
            self.trust = Trust::HalfOpen { since, over: now };
        }
    }

    /// It should not have been ejected, or nothing is to be ejected any more.
    pub fn pardon(&mut self, now: Instant) {
        if self.trust != Trust::Full {
            self.trust = Trust::Full;
            self.row = self.row.saturating_sub(1);
            self.calm_since = now;
        }
    }
}

/// What probes can say.
fn known(probed: Health) -> Health {
    match probed {
        Health::Unknown | Health::Healthy | Health::Unhealthy => probed,
        Health::Ejected | Health::HalfOpen => Health::Healthy,
    }
}

/// ± 15 %.
const JITTER: f64 = 0.15;

#[cfg(test)]
mod tests;
