//! A condition as it outlives the process: with times that count from the moment of keeping, since
//! no clock that counts from the start of a machine means anything to the next process.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Condition, Ejection, JITTER, Terms, Trust, known};
use crate::endpoint::Health;
use crate::time::{millis_ago, millis_between};

/// What is kept. Times are milliseconds before it was, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCondition {
    /// What probes say.
    probed: Health,
    /// What became of requests.
    trust: KeptTrust,
    /// Ejections in a row.
    row: u32,
    /// Since when there has been peace.
    calm_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptTrust {
    Full,
    Ejected {
        since_ms: u64,
        left_ms: u64,
        length_ms: u64,
        count: u32,
        of_connections: bool,
    },
    HalfOpen {
        since_ms: u64,
        over_ms: u64,
    },
}

impl Condition {
    /// What is to be kept of it.
    pub fn kept(&self, now: Instant) -> KeptCondition {
        let trust = match self.trust {
            Trust::Full => KeptTrust::Full,
            Trust::Ejected {
                since,
                ejection,
                of_connections,
            } => KeptTrust::Ejected {
                since_ms: millis_between(since, now),
                left_ms: millis_between(now, ejection.until),
                length_ms: millis_between(ejection.until - ejection.length, ejection.until),
                count: ejection.count,
                of_connections,
            },
            Trust::HalfOpen { since, over } => KeptTrust::HalfOpen {
                since_ms: millis_between(since, now),
                over_ms: millis_between(over, now),
            },
        };
        KeptCondition {
            probed: self.probed,
            trust,
            row: self.row,
            calm_ms: millis_between(self.calm_since, now),
        }
    }

    /// Goes on from what was kept so long ago. The time that has passed counts, and no ejection
    /// lasts longer than these terms have any last.
    pub fn resume(kept: &KeptCondition, terms: Terms, age: Duration, now: Instant) -> Self {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let ago = |millis: u64| millis_ago(millis.saturating_add(age), now);
        let longest = terms.at_most.mul_f64(1.0 + JITTER);
        let trust = match kept.trust {
            KeptTrust::Full => Trust::Full,
            KeptTrust::Ejected {
                since_ms,
                left_ms,
                length_ms,
                count,
                of_connections,
            } => {
                let left = Duration::from_millis(left_ms.saturating_sub(age));
                Trust::Ejected {
                    since: ago(since_ms),
                    ejection: Ejection {
                        until: now + left.min(longest),
                        length: Duration::from_millis(length_ms).min(longest),
                        count,
                    },
                    of_connections,
                }
            }
            KeptTrust::HalfOpen { since_ms, over_ms } => Trust::HalfOpen {
                since: ago(since_ms),
                over: ago(over_ms),
            },
        };
        Self {
            probed: known(kept.probed),
            trust,
            row: kept.row,
            calm_since: ago(kept.calm_ms),
        }
    }
}

#[cfg(test)]
mod tests;
