//! What makes an endpoint an outlier: pure functions of what was counted.
//!
//! - A row: so many failures, and no success between (Envoy's `consecutive_5xx`; `HAProxy`'s
//!   `observe` with `error-limit`).
//! - The beginning of one, when an interval ends, where hardly anything fails elsewhere: k ≥ 2
//!   failures of which pᵏ ≤ 10⁻⁶, where p is the share of failures at the better half of the
//!   endpoints, (f + 1) / (n + 1) of n requests. That is how rarely chance alone makes such a row.
//!   At 1 % it takes three, and two where of a thousand requests none failed.
//! - A share: failures / requests ≥ `failure_ratio`, from `min_requests` on (Envoy's
//!   `failure_percentage`).
//! - Success rate: r < m − max(`success_rate_deviation` × σ, 4 √(m (1 − m) / n), 5 %) (Envoy's
//!   success rate).
//! - Latency: median > `latency_factor` × the median of the peers' medians, and 100 ms above it,
//!   five intervals in a row. One slow peer does not move a median. Or: whatever it answered in
//!   five intervals, which need not follow each other, was as slow against all, and no chance
//!   ([`usual`](super::usual)). Who is slow gets little from the balancer, and has no median of it.
//!
//! m and σ are the mean and the standard deviation of the *peers'* success rates. Envoy takes in
//! the endpoint itself, so that among five the worst one can be no further than 1.79 σ from the
//! mean, (k − 1) / √k of k, whatever it does, and 1.9 is never reached. The root is how far chance
//! alone takes an endpoint's rate of n requests from m: where all peers are nearly perfect, σ is
//! nearly nothing, and where all fail in part, one of them is always the worst. 5 %: what no client
//! notices is no reason to take capacity away.

use std::time::Duration;

use super::OutlierDetection;
use super::state::SLOW;
use super::window::Counts;

/// Why an endpoint is an outlier, with the numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cause {
    Row(u32),
    Ratio(Counts),
    SuccessRate {
        own: f64,
        peers: f64,
        least: f64,
    },
    Latency {
        own: Duration,
        peers: Duration,
    },
    /// So many answers in a row, the fastest of the last interval, and what is usual.
    Late {
        row: u32,
        least: Duration,
        usual: Duration,
    },
    Trial,
    /// It was out for being slow, and the answer to its trial was.
    LateTrial {
        least: Duration,
        usual: Duration,
    },
}

impl Cause {
    /// All labels that there are.
    pub(super) const WORDS: [&str; 5] = [
        "consecutive_failures",
        "failure_ratio",
        "success_rate",
        "latency",
        "trial_failed",
    ];

    /// Whether it is one of those that are tried already.
    pub(super) fn is_of_trial(self) -> bool {
        matches!(self, Self::Trial | Self::LateTrial { .. })
    }

    /// The label of metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Row(_) => "consecutive_failures",
            Self::Ratio(_) => "failure_ratio",
            Self::SuccessRate { .. } => "success_rate",
            Self::Latency { .. } | Self::Late { .. } | Self::LateTrial { .. } => SLOW,
            Self::Trial => "trial_failed",
        }
    }

    /// Which is out first where not all may be.
    pub(super) fn severity(self) -> f64 {
        match self {
            Self::Trial | Self::LateTrial { .. } => f64::INFINITY,
            Self::Row(failures) => f64::from(failures) + 1.0,
            Self::Ratio(counts) => counts.ratio(),
            Self::SuccessRate { .. } | Self::Latency { .. } | Self::Late { .. } => 0.0,
        }
    }

    /// In words.
    pub(super) fn in_words(self) -> String {
        match self {
            Self::Row(1) => "1 failure in a row".to_owned(),
            Self::Row(failures) => format!("{failures} failures in a row"),
            Self::Ratio(Counts { requests, failures }) => {
                format!("{failures} of {requests} requests failed")
            }
            Self::SuccessRate { own, peers, least } => format!(
                "{:.1}% of its requests succeed, of its peers' {:.1}%, at least {:.1}% are expected",
                own * 100.0,
                peers * 100.0,
                least * 100.0
            ),
            Self::Latency { own, peers } => format!(
                "it answers within {} ms, its peers within {} ms (medians)",
                own.as_millis(),
                peers.as_millis()
            ),
            Self::Late { row, least, usual } => format!(
                "its last {row} answers took far longer than is usual, those of the last interval \
                 {} ms at least, usual are {} ms (median)",
                least.as_millis(),
                usual.as_millis()
            ),
            Self::Trial => "the request that tried it failed".to_owned(),
            Self::LateTrial { least, usual } => format!(
                "the answer to the request that tried it took {} ms at least, usual are {} ms \
                 (median)",
                least.as_millis(),
                usual.as_millis()
            ),
        }
    }
}

impl OutlierDetection {
    /// Of itself, whatever its peers do.
    pub(super) fn by_itself(&self, row: u32, counts: Counts) -> Option<Cause> {
        if row >= self.row && counts.failures > 0 {
            return Some(Cause::Row(row));
        }
        let is_enough = counts.requests >= self.min_requests;
        let fails = self.ratio > 0.0 && counts.ratio() >= self.ratio;
        (is_enough && fails).then_some(Cause::Ratio(counts))
    }

    /// Whether it fails at this moment, though perhaps not for long enough.
    pub(super) fn is_failing(&self, row: u32, counts: Counts) -> bool {
        counts.failures > 0 && (row >= self.begins() || self.by_itself(row, counts).is_some())
    }

    /// Failures in a row that are a beginning: three of five.
    fn begins(&self) -> u32 {
        (self.row / 2 + 1).max(2).min(self.row)
    }

    /// Those with the beginning of a row while hardly anything fails elsewhere. The balancer sends
    /// little to where requests fail, so that a whole row may be long in coming.
    pub(super) fn by_short_row(&self, all: &[(u32, Counts)]) -> Vec<(usize, Cause)> {
        let Some(least) = self.short_row(all).filter(|least| *least < self.row) else {
            return Vec::new();
        };
        let rows = all.iter().enumerate();
        rows.filter(|(_, (row, counts))| *row >= least && counts.failures > 0)
            .map(|(place, (row, _))| (place, Cause::Row(*row)))
            .collect()
    }

    /// How long a row has to be not to be chance. Half of the endpoints may be ill as well, so what
    /// chance does is seen at the better half.
    fn short_row(&self, all: &[(u32, Counts)]) -> Option<u32> {
        let all = all.iter().map(|(_, counts)| *counts);
        let mut enough: Vec<Counts> = all
            .filter(|counts| counts.requests >= self.min_requests)
            .collect();
        if enough.len() < LEAST_PEERS {
            return None;
        }
        enough.sort_unstable_by(|one, other| one.ratio().total_cmp(&other.ratio()));
        let better = &enough[..=enough.len() / 2];
        let sum = |of: fn(&Counts) -> u32| better.iter().map(|counts| f64::from(of(counts))).sum();
        let (failures, requests): (f64, f64) = (sum(|one| one.failures), sum(|one| one.requests));
        let share = (failures + 1.0) / (requests + 1.0);
        (2..=LONGEST_SHORT_ROW)
            .find(|row| share.powi(i32::from(*row)) <= ONCE_IN)
            .map(u32::from)
    }

    /// Those whose success rate is below what is expected of a peer of the others.
    pub(super) fn by_success_rate(&self, all: &[Counts]) -> Vec<(usize, Cause)> {
        if self.deviation <= 0.0 {
            return Vec::new();
        }
        let min = self.min_requests.saturating_mul(COMPARED);
        let rates: Vec<(usize, f64, u32)> = all
            .iter()
            .enumerate()
            .filter(|(_, counts)| counts.requests >= min)
            .map(|(place, counts)| (place, 1.0 - counts.ratio(), counts.requests))
            .collect();
        if rates.len() < LEAST_RATES {
            return Vec::new();
        }
        let sum: f64 = rates.iter().map(|(_, rate, _)| rate).sum();
        let squares: f64 = rates.iter().map(|(_, rate, _)| rate * rate).sum();
        let peers = count(rates.len() - 1);
        let outliers = rates.iter().filter_map(|&(place, own, requests)| {
            let mean = (sum - own) / peers;
            let variance = ((squares - own * own) / peers - mean * mean).max(0.0);
            let chance = (mean * (1.0 - mean)).max(0.0) / f64::from(requests);
            let expected = self.deviation * variance.sqrt();
            let least = mean - expected.max(CHANCE * chance.sqrt()).max(LEAST_DIFFERENCE);
            (own < least).then_some((
                place,
                Cause::SuccessRate {
                    own,
                    peers: mean,
                    least,
                },
            ))
        });
        outliers.collect()
    }

    /// Those that answer far more slowly than the others, in this interval.
    pub(super) fn by_latency(&self, all: &[Option<Duration>]) -> Vec<(usize, Cause)> {
        if self.slower <= 0.0 {
            return Vec::new();
        }
        let mut sorted: Vec<Duration> = all.iter().copied().flatten().collect();
        sorted.sort_unstable();
        if sorted.len() <= LEAST_PEERS {
            return Vec::new();
        }
        let outliers = all.iter().enumerate().filter_map(|(place, own)| {
            let own = (*own)?;
            // Without its own, which is above the median where it matters: the lower of two.
            let peers = sorted[(sorted.len() - 2) / 2];
            let is_slow = own >= peers + LEAST_SLOWNESS && own > peers.mul_f64(self.slower);
            is_slow.then_some((place, Cause::Latency { own, peers }))
        });
        outliers.collect()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of endpoints, far below 2^52"
)]
fn count(endpoints: usize) -> f64 {
    endpoints as f64
}

/// Times `min_requests` for a rate that is compared: Envoy's 100 at the default.
const COMPARED: u32 = 5;
/// Envoy's `success_rate_minimum_hosts`.
const LEAST_RATES: usize = 5;
/// Chance alone takes a rate so many standard deviations away once in 30,000 times.
const CHANCE: f64 = 4.0;
/// Less is not worth an endpoint.
const LEAST_DIFFERENCE: f64 = 0.05;
/// Of two or three nobody can say which is the odd one out.
pub(super) const LEAST_PEERS: usize = 3;
/// With 1 % of failures, three in a row happen once in so many times.
pub(super) const ONCE_IN: f64 = 1e-6;
/// What takes more is no beginning.
const LONGEST_SHORT_ROW: u8 = 100;
/// Ten times nearly nothing is nearly nothing.
const LEAST_SLOWNESS: Duration = Duration::from_millis(100);
/// Intervals in a row that an endpoint has to be slow.
pub(super) const SLOW_INTERVALS: u32 = 5;
