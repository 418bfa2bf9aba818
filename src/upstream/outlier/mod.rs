//! Outlier detection: which endpoints are taken out because of what became of their requests.
//!
//! Problem: an endpoint that fails fast draws traffic (it is never busy), one that fails in part
//! passes every health check, and one that is slow is none of both. And a proxy that ejects
//! whatever fails makes an outage of a hiccup: when a database behind all endpoints is gone, all
//! of them fail, and taking some out helps nobody.
//!
//! So endpoints are compared with what is expected of any (`detect`: a row of failures, a share of
//! failures) and with each other (success rate, latency); only some of them may be out at once
//! (`group`), and where many fail together nothing is ejected at all (`correlated`). All of it is
//! pure: what was counted, time and chance are arguments. The control plane reads, drives and tells
//! (`control/outlier`).

mod correlated;
mod detect;
mod group;
mod kept;
mod late;
mod room;
mod state;
mod usual;
mod window;

use std::time::Duration;

pub use correlated::Notice;
pub use group::{Change, Group, Held, Look};
pub use kept::KeptMember;
pub use state::{Member, Seen, State};

use super::check::{HealthCheckError, Statuses};
use crate::config::{self, Time};
use crate::endpoint::{Blame, Ends, Terms};

/// How the endpoints of an upstream are judged by what becomes of their requests.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierDetection {
    /// Whether any is ever ejected.
    pub is_enabled: bool,
    /// How often it is looked.
    pub interval: Duration,
    /// How long ejections last.
    pub terms: Terms,
    /// What is a failure, and how many in a row are told at once.
    pub blame: Blame,
    /// Failures in a row that eject.
    row: u32,
    /// Share of failures that ejects; 0: none does.
    ratio: f64,
    /// Requests without which no share says anything.
    min_requests: u32,
    /// Standard deviations below the peers' success rate; 0: not compared.
    deviation: f64,
    /// Times the peers' median latency; 0: not compared.
    slower: f64,
    /// Share of the endpoints that may be out; `None`: a third.
    most: Option<f64>,
    /// Share of the endpoints that have to be healthy lest health be ignored.
    panic_threshold: f64,
}

impl OutlierDetection {
    /// What the written settings mean, in an upstream that ignores health below
    /// `panic_threshold`. Fails at a status that is none.
    ///
    /// Where endpoints have an order, or clients are tied to them (`is_tied`), what is asked of
    /// them may differ, and so may the time that it takes: that is compared only where
    /// `latency_factor` says so.
    pub fn new(
        written: &config::Outlier,
        panic_threshold: f64,
        is_tied: bool,
    ) -> Result<Self, HealthCheckError> {
        let is_enabled = written.enabled.unwrap_or(true);
        let row = written.consecutive_failures.unwrap_or(ROW);
        let mut blame = Blame::usual(if is_enabled { row } else { u32::MAX });
        if let Some(statuses) = &written.statuses {
            let all = Statuses::new(statuses)?;
            let listed = (100..=599).filter(|status| !statuses.is_empty() && all.has(*status));
            blame = blame.with_statuses(listed);
        }
        if let Some(codes) = &written.grpc_codes {
            blame = blame.with_grpc(codes.iter().map(|code| *code as u8));
        }
        if let Some(causes) = &written.on {
            blame = blame.with_ends(Ends {
                connect: causes.contains(&config::OutlierCause::Connect),
                reset: causes.contains(&config::OutlierCause::Reset),
                timeout: causes.contains(&config::OutlierCause::Timeout),
            });
        }
        let time = |time: Option<Time>, usual| time.map_or(usual, |time| time.0);
        let at_most = time(written.eject_at_most, EJECT_AT_MOST);
        let slower = if is_tied { 0 } else { SLOWER };
        Ok(Self {
            is_enabled,
            interval: time(written.interval, INTERVAL).max(SHORTEST),
            terms: Terms {
                eject_for: time(written.eject_for, EJECT_FOR).min(at_most),
                at_most,
            },
            blame,
            row,
            ratio: written.failure_ratio.map_or(RATIO, |ratio| ratio.0),
            min_requests: written.min_requests.unwrap_or(MIN_REQUESTS),
            deviation: f64::from(written.success_rate_deviation.unwrap_or(DEVIATION)) / 1_000.0,
            slower: f64::from(written.latency_factor.unwrap_or(slower)),
            most: written.max_ejected.map(|ratio| ratio.0),
            panic_threshold,
        })
    }

    /// How many of so many endpoints may be out at once. Never so many that health were ignored:
    /// then what was ejected would get its traffic back.
    pub fn most_out(&self, endpoints: usize) -> usize {
        let most = match self.most {
            None => endpoints / 3,
            Some(share) => {
                let at_least = usize::from(share > 0.0 && endpoints >= 3);
                part(endpoints, share).max(at_least)
            }
        };
        most.min(part(endpoints, 1.0 - self.panic_threshold))
            .min(endpoints.saturating_sub(1))
    }
}

/// A share of so many, rounded down.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of endpoints, which is far below 2^52"
)]
fn part(endpoints: usize, share: f64) -> usize {
    // 30 % of ten are three, whatever binary fractions make of it.
    (endpoints as f64 * share + 1e-9) as usize
}

/// Envoy's `consecutive_5xx`: a coincidence at a share of failures of 10 % is one in 100,000.
const ROW: u32 = 5;
/// More than half of them is more than a client could be talked out of by a retry.
const RATIO: f64 = 0.5;
/// By chance alone as many as half of twenty fail with probability 10 % once in 100,000 times.
const MIN_REQUESTS: u32 = 20;
/// Envoy's `success_rate_stdev_factor`, in thousandths.
const DEVIATION: u32 = 1_900;
/// What is ten times slower than all its peers is ill, and not merely busier.
const SLOWER: u32 = 10;
/// Failures in a row do not wait for it.
const INTERVAL: Duration = Duration::from_secs(1);
/// What can be afforded for thousands of endpoints.
const SHORTEST: Duration = Duration::from_millis(100);
/// Envoy's `base_ejection_time` and `max_ejection_time`.
const EJECT_FOR: Duration = Duration::from_secs(30);
const EJECT_AT_MOST: Duration = Duration::from_mins(5);

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
