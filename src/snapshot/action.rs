//! What happens to a request once a route has won.

use std::sync::Arc;

use super::bulkhead::Bulkhead;
use super::metrics::RouteMetrics;
use super::timeouts::CallTimeouts;
use crate::policy::{Affinity, DeadlineField, Filters, Fixed, HedgePolicy, Redirect, RetryPolicy};
use crate::upstream::Upstream;

/// A route's action with everything that surrounds it.
#[derive(Debug)]
pub struct Route {
    /// Its name in the configuration; the one to a listener's own upstream is called
    /// `listener.<name>`.
    pub name: Arc<str>,
    /// What happens.
    pub action: Action,
    /// Changes to the request and to the response.
    pub filters: Filters,
    /// How a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// Where clients say how much time a request has, if they do.
    pub deadline: Option<DeadlineField>,
    /// Which requests a second endpoint is asked as well, if any. In a box: most routes have none.
    pub hedge: Option<Box<HedgePolicy>>,
    /// How many of its requests may be under way at once, if that is limited.
    pub bulkhead: Option<Bulkhead>,
    /// Whether CONNECT opens a tunnel.
    pub connect: bool,
    /// What is measured about it; the same as before a reload.
    pub metrics: Arc<RouteMetrics>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// It is forwarded.
    Forward(Split),
    /// It is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(Fixed),
    /// No route took it.
    NotFound,
}

/// One or several upstreams, by weight.
#[derive(Debug)]
pub struct Split {
    choices: Vec<Choice>,
    total: u32,
}

/// One upstream of a split.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Share of the requests, against the sum of all.
    pub weight: u32,
    /// Where they go.
    pub upstream: Arc<Upstream>,
    /// Limits of the call.
    pub timeouts: CallTimeouts,
    /// What ties its clients to endpoints, if anything does.
    pub affinity: Option<Arc<Affinity>>,
}

impl Split {
    /// A split; `None` without a positive weight.
    pub fn new(choices: Vec<Choice>) -> Option<Self> {
        let total = choices
            .iter()
            .map(|choice| choice.weight)
            .fold(0, u32::saturating_add);
        (total > 0).then_some(Self { choices, total })
    }

    /// The upstreams, in the order of their names.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// One of the upstreams, each with the probability of its weight.
    pub fn pick(&self, random: &mut fastrand::Rng) -> &Choice {
        &self.choices[self.pick_place(random)]
    }

    /// As [`Split::pick`]: its place among the choices.
    pub(super) fn pick_place(&self, random: &mut fastrand::Rng) -> usize {
        let mut rest = if self.choices.len() > 1 {
            random.u32(..self.total)
        } else {
            0
        };
        for (place, choice) in self.choices.iter().enumerate() {
            if rest < choice.weight {
                return place;
            }
            rest -= choice.weight;
        }
        // Not reached: what was drawn is below the sum of all weights, even where that saturated.
        self.choices.len() - 1
    }
}
