//! Health: the word, and the pure machine that turns results of probes into changes of it.
//!
//! Problem: one lost probe must not take an endpoint out and one lucky probe must not bring it
//! back, yet a new endpoint must not wait for three rounds before anything is known about it. So
//! the first result decides at once, and from then on only an unbroken row of contrary results
//! changes the verdict ("rise" and "fall" in `HAProxy`'s words).

use serde::{Deserialize, Serialize};

/// What is known about an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Health {
    /// No probe has ended yet.
    Unknown = 0,
    /// It gets traffic.
    Healthy = 1,
    /// It gets none, unless health is ignored.
    Unhealthy = 2,
    /// Neither does it: what became of requests speaks against it, whatever probes say.
    Ejected = 3,
    /// One request at a time tries whether that is over.
    HalfOpen = 4,
}

/// How one probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// As a healthy endpoint answers.
    Passed,
    /// In any other way.
    Failed,
}

/// A change of the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What was known before.
    pub from: Health,
    /// What is known now.
    pub to: Health,
    /// How many results in a row led to it.
    pub after: u32,
}

/// What a change of health was decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Health checks.
    Active,
    /// What became of requests.
    Passive,
    /// A person.
    Operator,
    /// Where the endpoint came from.
    Discovery,
}

/// Counts results against the verdict.
#[derive(Debug, Clone)]
pub struct Machine {
    healthy_after: u32,
    unhealthy_after: u32,
    health: Health,
    against: u32,
}

impl Health {
    /// The word in metrics, events and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::HalfOpen => "half_open",
        }
    }

    /// Whether it gets no traffic, for what probes or requests have shown.
    pub fn is_out(self) -> bool {
        matches!(self, Self::Unhealthy | Self::Ejected)
    }

    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            3 => Self::Ejected,
            4 => Self::HalfOpen,
            _ => Self::Unknown,
        }
    }
}

impl By {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Operator => "operator",
            Self::Discovery => "discovery",
        }
    }
}

impl Machine {
    /// A machine that has seen nothing. A threshold of 0 means 1.
    pub fn new(healthy_after: u32, unhealthy_after: u32) -> Self {
        Self::resume(Health::Unknown, healthy_after, unhealthy_after)
    }

    /// A machine that goes on from what is known already. What became of requests is no matter of
    /// probes.
    pub fn resume(health: Health, healthy_after: u32, unhealthy_after: u32) -> Self {
        let health = match health {
            Health::Unknown | Health::Healthy | Health::Unhealthy => health,
            Health::Ejected | Health::HalfOpen => Health::Healthy,
        };
        Self {
            healthy_after: healthy_after.max(1),
            unhealthy_after: unhealthy_after.max(1),
            health,
            against: 0,
        }
    }

    /// Takes new thresholds and keeps what was counted.
    pub fn set_thresholds(&mut self, healthy_after: u32, unhealthy_after: u32) {
        self.healthy_after = healthy_after.max(1);
        self.unhealthy_after = unhealthy_after.max(1);
    }

    /// Takes in one result.
    pub fn observe(&mut self, result: ProbeResult) -> Option<Transition> {
        let (to, needed) = match (self.health, result) {
            (Health::Unknown, ProbeResult::Passed) => (Health::Healthy, 1),
            (Health::Unknown, ProbeResult::Failed) => (Health::Unhealthy, 1),
            (Health::Healthy, ProbeResult::Failed) => (Health::Unhealthy, self.unhealthy_after),
            (Health::Unhealthy, ProbeResult::Passed) => (Health::Healthy, self.healthy_after),
            (Health::Healthy, ProbeResult::Passed)
            | (Health::Unhealthy, ProbeResult::Failed)
            | (Health::Ejected | Health::HalfOpen, _) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        let transition = Transition {
            from: self.health,
            to,
            after: self.against,
        };
        self.health = to;
        self.against = 0;
        Some(transition)
    }

    /// The verdict as it stands.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether the last result spoke against the verdict: probe again soon.
    pub fn is_changing(&self) -> bool {
        self.against > 0
    }
}

#[cfg(test)]
mod tests;
