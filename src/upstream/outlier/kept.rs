//! What is known of an endpoint of a group, as it outlives the process: what it is held for. What
//! was counted of its requests is not kept, since it says how the last seconds went.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::OutlierDetection;
use super::detect::Cause;
use super::group::Group;
use super::state::State;
use crate::endpoint::{Condition, Health, KeptCondition, Reading};
use crate::time::{millis_ago, millis_between};

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMember {
    condition: KeptCondition,
    /// What it was ejected for last.
    cause: String,
    /// How long ago probes found it unhealthy, in milliseconds.
    unhealthy_ms: Option<u64>,
}

impl Group {
    /// What is to be kept of its members over the end of the process, by their numbers.
    pub fn kept(&self, now: Instant) -> impl Iterator<Item = (u64, KeptMember)> {
        let members = self.members.iter();
        members.map(move |(id, state)| (*id, state.kept(now)))
    }

    /// Whether requests have taken one of its members out, and none has brought it back.
    pub fn has_out(&self) -> bool {
        let mut states = self.members.values();
        states.any(|state| state.condition.ejected_since().is_some())
    }
}

impl State {
    pub(super) fn kept(&self, now: Instant) -> KeptMember {
        let unhealthy = self.unhealthy_since;
        KeptMember {
            condition: self.condition.kept(now),
            cause: self.cause.to_owned(),
            unhealthy_ms: unhealthy.map(|since| millis_between(since, now)),
        }
    }

    /// Goes on from what was kept so long ago, by the rules of now. `is_probed`: somebody says now
    /// what probes say.
    pub fn resume(
        kept: &KeptMember,
        (detection, is_probed): (&OutlierDetection, bool),
        age: Duration,
        now: Instant,
    ) -> Self {
        let mut condition = Condition::resume(&kept.condition, detection.terms, age, now);
        if !is_probed {
            condition.probes_say(Health::Healthy);
        }
        if !detection.is_enabled {
            condition.pardon(now);
        }
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let unhealthy = kept.unhealthy_ms.filter(|_| is_probed);
        let cause = Cause::WORDS.into_iter().find(|word| *word == kept.cause);
        Self {
            cause: cause.unwrap_or_default(),
            unhealthy_since: unhealthy.map(|since| millis_ago(since.saturating_add(age), now)),
            ..Self::begin(condition, &Reading::default())
        }
    }

    /// What it is held for, and why.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}
