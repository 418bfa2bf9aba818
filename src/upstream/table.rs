//! The table that picks read: endpoints, candidates and a balancer for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::group::Group;
use super::standing::{Candidates, Member, Standing, choose};
use super::ties::{Mark, Marks, Seal, TieCounts};
use super::view::View;
use super::wish::Wish;
use super::{Haste, PickError};
use crate::balance::{Members as _, WHOLE};
use crate::config::Balance;
use crate::endpoint::{Endpoint, Health, InFlight, Live, MostInFlight};

/// What a table is made by, besides the endpoints.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) balance: Balance,
    pub(super) panic_threshold: f64,
    pub(super) is_checked: bool,
    /// What an endpoint may carry against its share, where a hash decides.
    pub(super) max_load: f64,
    pub(super) slow_start: Duration,
    /// What becomes of ties; shared by all builds.
    pub(super) ties: Arc<TieCounts>,
    /// What clients are tied to endpoints by, if they are.
    pub(super) seal: Option<Arc<Seal>>,
}

/// One state of an upstream. Immutable but for the balancer's turn.
#[derive(Debug, Clone)]
pub(super) struct Table {
    rules: Rules,
    endpoints: Arc<[Arc<Endpoint>]>,
    /// What a pick asks of each endpoint, side by side: with thousands of endpoints every step
    /// through a pointer is a cache miss.
    slots: Arc<[Slot]>,
    marks: Option<Arc<Marks>>,
    /// The healths that the candidates were chosen by.
    seen: Arc<[Health]>,
    /// The most requests that may be in flight at all of them.
    most: u32,
    standing: Standing,
    pub(super) first: Arc<Group>,
    pub(super) reserve: Arc<Group>,
}

/// None is in two lines of the cache.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Slot {
    endpoint: Arc<Endpoint>,
    pub(super) live: Arc<Live>,
    pub(super) most: MostInFlight,
    /// A number for each zone; 0 for an endpoint that has none.
    pub(super) zone: u32,
}

/// What stays the same as long as the endpoints do.
type Kept = (Arc<[Slot]>, Option<Arc<Marks>>);

/// A request, counted in at an endpoint.
pub(super) type Found = InFlight<Arc<Endpoint>>;

/// Whether endpoints that lately could not be reached are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backoff {
    Heed,
    Ignore,
}

impl Rules {
    pub(super) fn health_of(&self, endpoint: &Endpoint) -> Health {
        match endpoint.live.health() {
            Health::Unknown | Health::Unhealthy if !self.is_checked => Health::Healthy,
            health => health,
        }
    }
}

impl Table {
    /// A table of these endpoints by their present healths. `position`: where the turn stands.
    pub(super) fn new(rules: Rules, endpoints: Arc<[Arc<Endpoint>]>, position: usize) -> Self {
        let mut zones = HashMap::new();
        let slots = endpoints
            .iter()
            .map(|endpoint| Slot {
                endpoint: Arc::clone(endpoint),
                live: Arc::clone(&endpoint.live),
                most: endpoint.most_in_flight(),
                zone: number_of(&endpoint.zone, &mut zones),
            })
            .collect();
        let marks = rules.seal.as_ref();
        let marks = marks.map(|seal| Arc::new(Marks::new(seal, &endpoints)));
        Self::with(rules, endpoints, (slots, marks), position)
    }

    /// The table of the same endpoints by their present healths.
    pub(super) fn again(before: &Self) -> Self {
        let kept = (Arc::clone(&before.slots), before.marks.clone());
        let endpoints = Arc::clone(&before.endpoints);
        Self::with(before.rules.clone(), endpoints, kept, before.position())
    }

    fn with(
        rules: Rules,
        endpoints: Arc<[Arc<Endpoint>]>,
        (slots, marks): Kept,
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
        let now = Instant::now();
        let group =
            |members: Vec<u32>| Arc::new(Group::new(&rules, &endpoints, members, (position, now)));
        let (first, reserve) = (group(first), group(reserve));
        let any = endpoints.first();
        Self {
            most: any.map_or(u32::MAX, |endpoint| endpoint.limits.max_together),
            rules,
            endpoints,
            slots,
            marks,
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

    /// Picks, in this order: the one that the client is tied to; a candidate in a zone where none
    /// was tried yet; one that was not tried yet and is not backing off; a backup if any candidate
    /// was tried or is backing off; one that is backing off; at last one that was tried. Never one
    /// that is full, nor one that sheds load for a further attempt. Where one that would do is
    /// merely full, none takes its place that is backing off for who may wait for it: he is better
    /// served by that. For who may not, one that failed is better than none: it may be back.
    pub(super) fn pick(&self, wish: Wish<'_>, random: &mut Rng) -> Result<Found, PickError> {
        if let Some(found) = self.try_tie(wish) {
            return Ok(found);
        }
        if let Some(found) = self.try_another_zone(wish, random) {
            return Ok(found);
        }
        if let Some(found) = self.try_pick(&self.first, wish, Backoff::Heed, random) {
            return Ok(found);
        }
        if let Some(found) = self.stand_in(wish, random) {
            return Ok(found);
        }
        let again = Wish { tried: &[], ..wish };
        let found = match (self.has_one_that_is_only_full(wish), wish.haste) {
            // That has just been looked for.
            (true, Haste::MayWait) if wish.tried.is_empty() => None,
            (true, Haste::MayWait) => self.try_pick(&self.first, again, Backoff::Heed, random),
            (true, Haste::Now) => self.try_pick(&self.first, wish, Backoff::Ignore, random),
            (false, _) => self
                .try_pick(&self.first, wish, Backoff::Ignore, random)
                .or_else(|| self.try_pick(&self.first, again, Backoff::Ignore, random)),
        };
        match found {
            Some(found) => Ok(found),
            // He must not wait for these to shed none, in front of first attempts that may go
            // there.
            None if wish.spares_shedding && self.takes_first_attempts(wish) => {
                Err(PickError::NoEndpoints)
            }
            None if self.is_given_up(wish) => Err(PickError::NoEndpoints),
            None => Err(self.why_none()),
        }
    }

    /// Picks for an attempt beside another one: a candidate that was not tried, is well as far as
    /// is known, sheds no load and has room. No backup, which stands in for what fails.
    pub(super) fn pick_beside(&self, wish: Wish<'_>, random: &mut Rng) -> Option<Found> {
        self.try_tie(wish)
            .or_else(|| self.try_another_zone(wish, random))
            .or_else(|| self.try_pick(&self.first, wish, Backoff::Heed, random))
    }

    /// Whether a group has a member for this wish.
    pub(super) fn has_one(&self, group: &Group, (wish, backoff): (Wish<'_>, Backoff)) -> bool {
        let view = self.view(group, wish, backoff);
        (0..group.members.len()).any(|member| !view.skips(member))
    }

    /// Why none can be picked, where none can be.
    pub(super) fn why_none(&self) -> PickError {
        if self.first.members.is_empty() {
            PickError::NoEndpoints
        } else {
            PickError::AllAtLimit
        }
    }

    /// How much of the weight of the endpoint at this place counts, in per cent.
    pub(super) fn warmth(&self, place: u32, now: Instant) -> u32 {
        let groups = [&self.first, &self.reserve];
        let mut shares = groups.into_iter().filter_map(|group| {
            let member = group.members.binary_search(&place).ok()?;
            Some(group.warming.as_ref()?.share(member, now))
        });
        shares.next().map_or(100, |share| share * 100 / WHOLE)
    }

    /// The mark of an endpoint, where clients are tied to them.
    pub(super) fn mark(&self, endpoint: &Endpoint) -> Option<Mark> {
        self.marks.as_ref().map(|marks| marks.mark(endpoint))
    }

    /// Whether a mark is that of an endpoint which may be picked and does not fail at this moment.
    pub(super) fn is_tied(&self, mark: Mark, now: Instant) -> bool {
        self.tied(mark).is_some_and(|member| {
            let place = self.first.members[member] as usize;
            !self.slots[place].live.is_backing_off(now)
        })
    }

    /// The candidate of a mark.
    fn tied(&self, mark: Mark) -> Option<usize> {
        let place = self.marks.as_ref()?.place(mark)?;
        self.first.members.binary_search(&place).ok()
    }

    /// The endpoint that a client is tied to, unless it fails, is full or was tried.
    fn try_tie(&self, wish: Wish<'_>) -> Option<Found> {
        let member = self.tied(wish.tie?)?;
        let view = self.view(&self.first, wish, Backoff::Heed);
        if view.skips(member) {
            return None;
        }
        let in_flight = self.begin(&view, member)?;
        let is_admitted = view.slot(member).live.admit(wish.now);
        is_admitted.then(|| in_flight.let_through())
    }

    /// What fails in a zone often fails with all of it, before any probe can know: the next attempt
    /// should not depend on the same power and the same cable.
    fn try_another_zone(&self, wish: Wish<'_>, random: &mut Rng) -> Option<Found> {
        if wish.tried.is_empty() {
            return None;
        }
        let was_tried = |slot: &&Slot| slot.zone != 0 && wish.tried.contains(&slot.live.id());
        let zones: Vec<u32> = self
            .slots
            .iter()
            .filter(was_tried)
            .map(|it| it.zone)
            .collect();
        if zones.is_empty() {
            return None;
        }
        let elsewhere = Wish {
            far_from: &zones,
            ..wish
        };
        self.try_pick(&self.first, elsewhere, Backoff::Heed, random)
    }

    /// Whether there is a candidate that would do: if none can be picked, this one has no room.
    pub(super) fn has_one_that_is_only_full(&self, wish: Wish<'_>) -> bool {
        let mut members = self.first.members.iter();
        members.any(|&member| !self.fails(member, wish))
    }

    /// A backup stands in for candidates that fail, not for those that are full: it is there for
    /// outages, and a limit that spills over is none.
    fn stand_in(&self, wish: Wish<'_>, random: &mut Rng) -> Option<Found> {
        if self.reserve.members.is_empty() || !self.is_any_failing(wish) {
            return None;
        }
        self.try_pick(&self.reserve, wish, Backoff::Heed, random)
    }

    pub(super) fn is_any_failing(&self, wish: Wish<'_>) -> bool {
        let mut members = self.first.members.iter();
        members.any(|&member| self.fails(member, wish))
    }

    /// Whether this one was tried for the wish, lately failed others, or must not be asked for it.
    fn fails(&self, member: u32, wish: Wish<'_>) -> bool {
        let live = &self.slots[member as usize].live;
        wish.tried.contains(&live.id())
            || live.is_backing_off(wish.now)
            || wish.spares_shedding && live.is_shedding(wish.now)
    }

    fn try_pick(
        &self,
        group: &Group,
        wish: Wish<'_>,
        backoff: Backoff,
        random: &mut Rng,
    ) -> Option<Found> {
        let view = self.view(group, wish, backoff);
        for _ in 0..RACES {
            let known = view.known();
            let member = known.or_else(|| group.balancer.pick(wish.key, &view, random))?;
            // Another worker may have taken the last place, or the one trial after a backoff, since
            // it was looked at. It will be skipped in the next round. A place is taken first: no
            // trial is used up by whoever has none.
            let live = &view.slot(member).live;
            let Some(in_flight) = self.begin(&view, member) else {
                if live.together() >= self.most {
                    return None; // no other one has a place either
                }
                continue;
            };
            let is_admitted = match backoff {
                Backoff::Heed => live.admit(wish.now),
                Backoff::Ignore => view.lets_try(live),
            };
            if is_admitted {
                return Some(in_flight.let_through());
            }
        }
        None
    }

    pub(super) fn view<'a>(
        &'a self,
        group: &'a Group,
        wish: Wish<'a>,
        backoff: Backoff,
    ) -> View<'a> {
        View::new(&self.slots, group, (wish, backoff))
    }

    /// Counts a request in at a member, if that has room.
    fn begin(&self, view: &View<'_>, member: usize) -> Option<Found> {
        let Slot { endpoint, live, .. } = view.slot(member);
        live.try_begin_at(endpoint, view.most(member), self.most)
    }
}

/// The number of a zone, the same for all endpoints in it: 0 if it is none.
fn number_of<'a>(zone: &'a str, zones: &mut HashMap<&'a str, u32>) -> u32 {
    if zone.is_empty() {
        return 0;
    }
    let next = u32::try_from(zones.len() + 1).unwrap_or(u32::MAX);
    *zones.entry(zone).or_insert(next)
}

/// Races lost in a row after which a pick gives up on a group: with that many, it is
/// as good as full.
const RACES: usize = 16;
