//! Endpoints that are picked from together: with a balancer, and how far those are that are new.

use std::sync::Arc;

use tokio::time::Instant;

use super::sums::Sums;
use super::table::Rules;
use super::warming::Warming;
use crate::balance::{Balancer, Hashed, WHOLE, identity};
use crate::config::Balance;
use crate::endpoint::{Endpoint, Health};

/// Endpoints that are picked from together.
#[derive(Debug)]
pub(super) struct Group {
    /// Their places, ascending.
    pub(super) members: Box<[u32]>,
    pub(super) balancer: Balancer,
    /// How far those are that are new or back, if any is.
    pub(super) warming: Option<Warming>,
    /// What they carry together, where that bounds what one may carry.
    pub(super) sums: Option<Sums>,
}

impl Group {
    pub(super) fn new(
        rules: &Rules,
        endpoints: &[Arc<Endpoint>],
        members: Vec<u32>,
        (position, now): (usize, Instant),
    ) -> Self {
        let those = || members.iter().map(|&place| &endpoints[place as usize]);
        let weights: Vec<u32> = those().map(|endpoint| endpoint.weight).collect();
        let balancer = Balancer::new(rules.balance, &weights, position, || Hashed {
            identities: those().map(|endpoint| identity(&endpoint.name)).collect(),
            total: endpoints
                .iter()
                .map(|one| u64::from(one.weight.max(1)))
                .sum(),
            max_load: rules.max_load,
            beyond: Arc::clone(&rules.ties.beyond),
        });
        let healths = those().map(|one| (one, rules.health_of(one) == Health::Healthy));
        let warming = Warming::new(healths, rules.slow_start, now);
        let is_bounded = matches!(rules.balance, Balance::RingHash | Balance::Maglev);
        Self {
            balancer,
            warming,
            sums: is_bounded.then(|| Sums::new(&weights, now)),
            members: members.into(),
        }
    }

    /// The places of those whose weight does not all count yet.
    pub(super) fn starting(&self, now: Instant) -> impl Iterator<Item = u32> {
        let warming = self.warming.as_ref().filter(|it| !it.is_over(now));
        let members = self.members.iter().enumerate();
        members.filter_map(move |(member, &place)| {
            (warming?.share(member, now) < WHOLE).then_some(place)
        })
    }
}
