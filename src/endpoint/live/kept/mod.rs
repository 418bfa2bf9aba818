//! What is known of an endpoint, as it outlives the process.
//!
//! What is kept is what would have to be learned anew at the cost of requests: that no connection
//! could be made, what failures count for, how long answers take, when idle connections are closed,
//! how long it has been in service. What runs at this moment is not: it ends with the process.
//!
//! Times are milliseconds before the moment of keeping, or after. Who resumes says how long ago
//! that was, and everything fades by as much as it would have.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::epoch::BEFORE;
use super::{Live, Verdict};
use crate::endpoint::backoff::KeptBackoff;
use crate::endpoint::idle::KeptIdle;
use crate::endpoint::live::score::{KeptLatency, KeptPenalty};
use crate::endpoint::{Condition, Health};
use crate::time::{millis_ago, millis_between};

/// What is kept of an endpoint's live state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Since when it is held for what it is.
    since_ms: Option<u64>,
    /// Why, in words.
    why: String,
    /// How long it has been in service, if that is not so long that nobody asks.
    in_service_ms: Option<u64>,
    /// For how much longer it wants to be left alone.
    sheds_ms: u64,
    backoff: Option<KeptBackoff>,
    penalty: Option<KeptPenalty>,
    latency: Option<KeptLatency>,
    idle: Option<KeptIdle>,
}

impl Kept {
    /// What holds for long: the settings of the endpoint that were learned by watching it.
    #[must_use]
    pub fn settings(&self) -> Self {
        Self {
            idle: self.idle,
            ..Self::default()
        }
    }
}

impl Live {
    /// What is to be kept of it.
    pub fn kept(&self, now: Instant) -> Kept {
        let millis = self.epoch.millis(now);
        let verdict = self.verdict();
        let since = |verdict: &Verdict| millis_between(verdict.since, now);
        Kept {
            since_ms: verdict.as_ref().map(since),
            why: verdict.map_or_else(String::new, |verdict| shortened(&verdict.why)),
            in_service_ms: self
                .in_service_since()
                .map(|since| millis_between(since, now)),
            sheds_ms: self.shedding.left(millis),
            backoff: self.backoff.kept(millis),
            penalty: self.compared.penalty.kept(millis),
            latency: self.compared.latency.kept(millis),
            idle: self.idle.kept(millis),
        }
    }

    /// Goes on from what was kept so long ago, and from what the endpoint is held for. Only before
    /// anything goes there.
    pub fn resume(&self, kept: &Kept, condition: &Condition, age: Duration, now: Instant) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let millis = self.epoch.millis(now);
        let health = condition.health();
        if health != Health::Unknown {
            let since = kept.since_ms.unwrap_or_default().saturating_add(age);
            let verdict = Verdict {
                since: millis_ago(since, now),
                why: shortened(&kept.why).into(),
                ejection: condition.ejection(),
            };
            self.set_health(health, Some(verdict));
        }
        if let Some(before) = kept.in_service_ms {
            let before = before.saturating_add(age);
            if before < BEFORE {
                self.set_in_service(millis_ago(before, now));
            }
        }
        let sheds = Duration::from_millis(kept.sheds_ms.saturating_sub(age));
        self.sheds_for(sheds, now);
        if let Some(backoff) = &kept.backoff
            && health != Health::HalfOpen
        {
            self.backoff.resume(backoff, age, millis);
        }
        if let Some(penalty) = &kept.penalty {
            self.compared.penalty.resume(penalty, age, millis);
        }
        if let Some(latency) = &kept.latency {
            self.compared.latency.resume(latency, age, millis);
        }
        if let Some(idle) = &kept.idle {
            self.idle.resume(idle, age, millis);
        }
    }
}

/// The beginning of a reason, which may hold what an endpoint sent.
fn shortened(why: &str) -> String {
    why.chars().take(LONGEST_REASON).collect()
}

/// Characters: more than any reason has that this program makes of its own.
const LONGEST_REASON: usize = 500;

#[cfg(test)]
mod tests;
