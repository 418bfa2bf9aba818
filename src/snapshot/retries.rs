//! What is measured about further attempts of a route's requests.

use std::sync::Arc;

use super::late::{RouteSeries, Source};
use crate::telemetry::metrics::{Counter, Family, Kind};

/// Counters of retries.
#[derive(Debug)]
pub struct Retries {
    /// The last attempt brought a response.
    pub success: RouteSeries<Counter>,
    /// The last attempt failed too.
    pub failure: RouteSeries<Counter>,
    /// A retry was wanted, and the budget was empty.
    pub budget_exhausted: RouteSeries<Counter>,
    /// A retry was wanted, and whoever might have been asked sheds load or has no room.
    pub shed: RouteSeries<Counter>,
    /// A retry was wanted, and more of the body had been sent than is kept.
    pub body_gone: RouteSeries<Counter>,
    /// A retry was wanted, and the time of the request would have been over before it.
    pub no_time: RouteSeries<Counter>,
}

/// Counters of hedges.
#[derive(Debug)]
pub struct Hedges {
    /// The second attempt answered first.
    pub won: RouteSeries<Counter>,
    /// The first one did, or the second one failed.
    pub lost: RouteSeries<Counter>,
    /// A hedge was due, and the budget was empty.
    pub budget_exhausted: RouteSeries<Counter>,
}

impl Retries {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        let of = |outcome| RouteSeries::of_route(source, &RETRIES, ("outcome", outcome));
        Self {
            success: of("success"),
            failure: of("failure"),
            budget_exhausted: of("budget_exhausted"),
            shed: of("shed"),
            body_gone: of("body_gone"),
            no_time: of("no_time"),
        }
    }

    /// Those that were wanted and not made.
    pub fn refused(&self) -> u64 {
        let refused = [
            &self.budget_exhausted,
            &self.shed,
            &self.body_gone,
            &self.no_time,
        ];
        refused.iter().map(|counter| counter.value()).sum()
    }

    pub(super) fn settle(&self) {
        let Self {
            success,
            failure,
            budget_exhausted,
            shed,
            body_gone,
            no_time,
        } = self;
        for counter in [success, failure, budget_exhausted, shed, body_gone, no_time] {
            counter.settle();
        }
    }
}

impl Hedges {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        let of = |outcome| RouteSeries::of_route(source, &HEDGES, ("outcome", outcome));
        Self {
            won: of("won"),
            lost: of("lost"),
            budget_exhausted: of("budget_exhausted"),
        }
    }

    pub(super) fn settle(&self) {
        let Self {
            won,
            lost,
            budget_exhausted,
        } = self;
        for counter in [won, lost, budget_exhausted] {
            counter.settle();
        }
    }
}

static RETRIES: Family = Family {
    name: "evenkeel_retries_total",
    help: "Requests that were tried again, or would have been.",
    kind: Kind::Counter,
    buckets: None,
};

static HEDGES: Family = Family {
    name: "evenkeel_hedges_total",
    help: "Requests that a second endpoint was asked as well, since the first one took long.",
    kind: Kind::Counter,
    buckets: None,
};
