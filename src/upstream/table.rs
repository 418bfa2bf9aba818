//! The table that picks read: endpoints, candidates and a balancer for them.

use std::sync::Arc;

use fastrand::Rng;
use tokio::time::Instant;

use super::standing::{Candidates, Member, Standing, choose};
use super::{Haste, PickError};
use crate::balance::{Balancer, identity};
use crate::config::Balance;
use crate::endpoint::{Endpoint, Health, InFlight, Live, MostInFlight};

/// What a table is made by, besides the endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) balance: Balance,
    pub(super) panic_threshold: f64,
    pub(super) is_checked: bool,
}

/// One state of an upstream. Immutable but for the balancer's turn.
#[derive(Debug, Clone)]
pub(super) struct Table {
    rules: Rules,
    endpoints: Arc<[Arc<Endpoint>]>,
    /// What a pick asks of each endpoint, side by side: with thousands of endpoints every step
    /// through a pointer is a cache miss.
    slots: Arc<[Slot]>,
    /// The healths that the candidates were chosen by.
    seen: Arc<[Health]>,
    standing: Standing,
    first: Arc<Group>,
    reserve: Arc<Group>,
}

#[derive(Debug)]
struct Slot {
    live: Arc<Live>,
    most: MostInFlight,
}

/// Endpoints that are picked from together.
#[derive(Debug)]
struct Group {
    members: Box<[u32]>,
    balancer: Balancer,
}

/// What one pick asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) tried: &'a [u64],
    pub(super) now: Instant,
    /// The same for all that belongs to one client.
    pub(super) key: Option<u64>,
    pub(super) haste: Haste,
}

/// An endpoint, with the request counted in.
pub(super) type Found<'a> = (&'a Arc<Endpoint>, InFlight);

/// Whether endpoints that lately could not be reached are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backoff {
    Heed,
    Ignore,
}

impl Rules {
    pub(super) fn health_of(self, endpoint: &Endpoint) -> Health {
        if self.is_checked {
            endpoint.live.health()
        } else {
            Health::Healthy
        }
    }
}

impl Table {
    /// A table of these endpoints by their present healths. `position`: where the turn stands.
    pub(super) fn new(rules: Rules, endpoints: Arc<[Arc<Endpoint>]>, position: usize) -> Self {
        let slots = endpoints
            .iter()
            .map(|endpoint| Slot {
                live: Arc::clone(&endpoint.live),
                most: endpoint.most_in_flight(),
            })
            .collect();
        Self::with_slots(rules, endpoints, slots, position)
    }

    /// The table of the same endpoints by their present healths.
    pub(super) fn again(before: &Self) -> Self {
        let endpoints = Arc::clone(&before.endpoints);
        Self::with_slots(
            before.rules,
            endpoints,
            Arc::clone(&before.slots),
            before.position(),
        )
    }

    fn with_slots(
        rules: Rules,
        endpoints: Arc<[Arc<Endpoint>]>,
        slots: Arc<[Slot]>,
        position: usize,
    ) -> Self {
        let seen: Arc<[Health]> = endpoints
            .iter()
            .map(|endpoint| rules.health_of(endpoint))
            .collect();
        let members: Vec<Member> = endpoints
            .iter()
            .zip(seen.iter())
            .map(|(endpoint, &health)| Member {
                health,
                backup: endpoint.backup,
            })
            .collect();
        let Candidates {
            standing,
            first,
            reserve,
        } = choose(&members, rules.panic_threshold);
        let group = |members: Vec<u32>| {
            let weights: Vec<u32> = members
                .iter()
                .map(|&index| endpoints[index as usize].weight)
                .collect();
            let balancer = if rules.balance == Balance::Maglev {
                let named = members.iter().map(|&index| &endpoints[index as usize].name);
                let identities: Vec<u64> = named.map(|name| identity(name)).collect();
                Balancer::of_known(rules.balance, &weights, &identities, position)
            } else {
                Balancer::new(rules.balance, &weights, position)
            };
            Arc::new(Group {
                members: members.into(),
                balancer,
            })
        };
        let (first, reserve) = (group(first), group(reserve));
        Self {
            rules,
            endpoints,
            slots,
            seen,
            standing,
            first,
            reserve,
        }
    }

    pub(super) fn endpoints(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.endpoints
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Where the turn stands.
    pub(super) fn position(&self) -> usize {
        self.first.balancer.position()
    }

    /// Whether a health is another than the candidates were chosen by.
    pub(super) fn is_stale(&self) -> bool {
        let now = self
            .endpoints
            .iter()
            .map(|endpoint| self.rules.health_of(endpoint));
        !now.eq(self.seen.iter().copied())
    }

    /// Healthy endpoints, and all.
    pub(super) fn count_healthy(&self) -> (usize, usize) {
        let healthy = self
            .seen
            .iter()
            .filter(|&&health| health == Health::Healthy)
            .count();
        (healthy, self.seen.len())
    }

    /// Picks, in this order: a candidate in a zone where none was tried yet; one that was not tried
    /// yet and is not backing off; a backup if all candidates were tried or are backing off; one
    /// that is backing off; at last one that was tried. Never one that is full. Where one that
    /// would do is merely full, none takes its place that is backing off for who may wait for it:
    /// he is better served by that. For who may not, one that failed is better than none: it may
    /// be back.
    pub(super) fn pick(&self, wish: Wish<'_>, random: &mut Rng) -> Result<Found<'_>, PickError> {
        if let Some(found) = self.try_another_zone(wish, random) {
            return Ok(found);
        }
        if let Some(found) = self.try_pick(&self.first, wish, Backoff::Heed, random) {
            return Ok(found);
        }
        let again = Wish { tried: &[], ..wish };
        let is_full = self.has_one_that_is_only_full(wish);
        let found = if is_full && wish.haste == Haste::MayWait {
            self.try_pick(&self.first, again, Backoff::Heed, random)
        } else {
            let reserve = if is_full {
                None
            } else {
                self.stand_in(wish, random)
            };
            reserve
                .or_else(|| self.try_pick(&self.first, wish, Backoff::Ignore, random))
                .or_else(|| self.try_pick(&self.first, again, Backoff::Ignore, random))
        };
        match found {
            Some(found) => Ok(found),
            None if self.first.members.is_empty() => Err(PickError::NoEndpoints),
            None => Err(PickError::AllAtLimit),
        }
    }

    /// What fails in a zone often fails with all of it, before any probe can know: the next attempt
    /// should not depend on the same power and the same cable.
    fn try_another_zone(&self, wish: Wish<'_>, random: &mut Rng) -> Option<Found<'_>> {
        if wish.tried.is_empty() {
            return None;
        }
        let was_tried = |endpoint: &&Arc<Endpoint>| wish.tried.contains(&endpoint.live.id());
        let zones: Vec<&str> = self
            .endpoints
            .iter()
            .filter(was_tried)
            .map(|endpoint| &*endpoint.zone)
            .collect();
        if zones.iter().all(|zone| zone.is_empty()) {
            return None;
        }
        let shares_zone = |endpoint: &&Arc<Endpoint>| zones.contains(&&*endpoint.zone);
        let near = self.endpoints.iter().filter(shares_zone);
        let near: Vec<u64> = near.map(|endpoint| endpoint.live.id()).collect();
        let elsewhere = Wish {
            tried: &near,
            ..wish
        };
        self.try_pick(&self.first, elsewhere, Backoff::Heed, random)
    }

    /// Whether there is a candidate that was not tried yet and does not fail: if none can be
    /// picked, this one has no room.
    fn has_one_that_is_only_full(&self, wish: Wish<'_>) -> bool {
        self.first.members.iter().any(|&index| {
            let live = &self.slots[index as usize].live;
            !wish.tried.contains(&live.id()) && !live.is_backing_off(wish.now)
        })
    }

    /// A backup stands in for candidates that fail, not for those that are full: it is there for
    /// outages, and a limit that spills over is none.
    fn stand_in(&self, wish: Wish<'_>, random: &mut Rng) -> Option<Found<'_>> {
        if self.reserve.members.is_empty() {
            return None;
        }
        self.try_pick(&self.reserve, wish, Backoff::Heed, random)
    }

    fn try_pick(
        &self,
        group: &Group,
        wish: Wish<'_>,
        backoff: Backoff,
        random: &mut Rng,
    ) -> Option<Found<'_>> {
        let slot = |member: usize| &self.slots[group.members[member] as usize];
        let load = |member: usize| slot(member).live.in_flight();
        let skip = |member: usize| {
            let Slot { live, most } = slot(member);
            wish.tried.contains(&live.id())
                || live.in_flight() >= most.now(live)
                || (backoff == Backoff::Heed && live.is_backing_off(wish.now))
        };
        for _ in 0..RACES {
            let member = group.balancer.pick_for(wish.key, random, load, skip)?;
            let Slot { live, most } = slot(member);
            // Another worker may have taken the last place, or the one trial after a backoff, since
            // `skip` looked. It will be skipped in the next round.
            if backoff == Backoff::Heed && !live.admit(wish.now) {
                continue;
            }
            if let Some(in_flight) = live.try_begin(most.now(live)) {
                return Some((&self.endpoints[group.members[member] as usize], in_flight));
            }
        }
        None
    }
}

/// Races lost in a row after which a pick gives up on a group: with that many, it is
/// as good as full.
const RACES: usize = 16;
