//! The members of a group as a balancer sees them at one pick.

use super::group::Group;
use super::table::{Backoff, Slot, Table};
use super::warming::Warming;
use super::wish::{Takes, Wish};
use crate::balance::{self, Load, Members, Together, WHOLE};
use crate::endpoint;

/// A group at the time of a pick.
#[derive(Debug)]
pub(super) struct View<'a> {
    slots: &'a [Slot],
    group: &'a Group,
    wish: Wish<'a>,
    backoff: Backoff,
    /// As long as it is not over.
    warming: Option<&'a Warming>,
}

impl<'a> View<'a> {
    #[inline]
    pub(super) fn new(
        slots: &'a [Slot],
        group: &'a Group,
        (wish, backoff): (Wish<'a>, Backoff),
    ) -> Self {
        let warming = group.warming.as_ref();
        Self {
            slots,
            group,
            wish,
            backoff,
            warming: warming.filter(|warming| !warming.is_over(wish.now)),
        }
    }

    #[inline]
    pub(super) fn slot(&self, member: usize) -> &'a Slot {
        &self.slots[self.place(member)]
    }

    /// Where a member stands among all endpoints.
    #[inline]
    fn place(&self, member: usize) -> usize {
        self.group.members[member] as usize
    }

    /// The member that a further attempt goes to: of those that are known to be well and have all
    /// of their weight, the one that carries least; of several, the one that answered last.
    pub(super) fn known(&self) -> Option<usize> {
        if self.wish.known.is_empty() {
            return None;
        }
        let members = 0..self.group.members.len();
        let known = members.filter_map(|member| {
            let id = self.slot(member).live.id();
            let place = self.wish.known.iter().position(|known| *known == id)?;
            let load = self.load(member);
            let is_well = load.penalty == 0 && self.share(member) == WHOLE && !self.skips(member);
            is_well.then_some((load.in_flight, place, member))
        });
        known.min().map(|(_, _, member)| member)
    }

    /// The time of the pick as endpoints count it. The same one tells it each time, and so is at
    /// hand.
    #[inline]
    fn millis(&self) -> u64 {
        let any = self.slots.first();
        any.map_or(0, |slot| slot.live.millis(self.wish.now))
    }

    /// Whether this one may try an endpoint that others are kept away from: as the only one for a
    /// while, where nothing is heard of it.
    pub(super) fn lets_try(&self, live: &endpoint::Live) -> bool {
        let now = self.wish.now;
        self.wish.takes == Takes::Connection || !live.is_backing_off(now) || live.try_it(now)
    }

    /// Whether nothing is heard of any member, and somebody waits in vain at each.
    fn is_given_up(&self) -> bool {
        (0..self.group.members.len()).all(|member| self.waits_in_vain(&self.slot(member).live))
    }

    /// Whether another one waits in vain there already, for a request that might do so too.
    fn waits_in_vain(&self, live: &endpoint::Live) -> bool {
        self.wish.takes == Takes::Request
            && live.is_backing_off_at(|| self.millis())
            && !live.may_be_tried_at(|| self.millis())
    }

    /// The most requests that may be in flight at a member: not all of them as long as it is new.
    #[inline]
    pub(super) fn most(&self, member: usize) -> u32 {
        let Slot { live, most, .. } = self.slot(member);
        let most = match self.wish.takes {
            Takes::Request => most.now(live),
            Takes::Connection => most.with_own_connection(live),
        };
        let Some(warming) = self.warming.filter(|_| most != u32::MAX) else {
            return most;
        };
        let share = u64::from(warming.share(member, self.wish.now));
        let share = (u64::from(most) * share).div_ceil(u64::from(WHOLE));
        u32::try_from(share).unwrap_or(most)
    }
}

impl Table {
    /// Whether nothing is heard of any endpoint, and somebody waits in vain at each.
    pub(super) fn is_given_up(&self, wish: Wish<'_>) -> bool {
        let groups = [&self.first, &self.reserve];
        let mut views = groups
            .map(|group| self.view(group, wish, Backoff::Ignore))
            .into_iter();
        views.all(|view| view.is_given_up())
    }
}

impl Members for View<'_> {
    #[inline]
    fn skips(&self, member: usize) -> bool {
        let Slot { live, zone, .. } = self.slot(member);
        live.in_flight() >= self.most(member)
            || self.wish.tried.contains(&live.id())
            || match self.backoff {
                Backoff::Heed => live.is_backing_off_at(|| self.millis()),
                Backoff::Ignore => self.waits_in_vain(live),
            }
            || (self.wish.spares_shedding && live.is_shedding(self.wish.now))
            || self.wish.far_from.contains(zone)
    }

    #[inline]
    fn load(&self, member: usize) -> Load {
        let live = &self.slot(member).live;
        Load {
            in_flight: live.in_flight(),
            penalty: live.penalty_at(|| self.millis()),
        }
    }

    #[inline]
    fn share(&self, member: usize) -> u32 {
        let warming = self.warming;
        warming.map_or(WHOLE, |warming| warming.share(member, self.wish.now))
    }

    fn only_fails(&self, member: usize) -> bool {
        self.slot(member).live.only_fails()
    }

    fn delay(&self, member: usize) -> Option<f32> {
        self.slot(member).live.latency_at(self.millis())
    }

    /// Sessions of a client belong together, however many they are: they are no load by themselves.
    fn are_bounded(&self) -> bool {
        self.wish.takes == Takes::Request
    }

    fn in_flight(&self) -> u64 {
        // At all endpoints of the upstream, and each of them knows.
        let any = self.slots.first();
        any.map_or(0, |slot| slot.live.together().into())
    }

    fn together(&self, has_failed: bool) -> Together {
        match &self.group.sums {
            Some(sums) => sums.at(self, has_failed, self.wish.now),
            None => Together {
                in_flight: self.in_flight(),
                penalty: 0,
                share: 1.0,
            },
        }
    }
}

// Loads are compared in the parts in which penalties are counted.
const _: () = assert!(balance::REQUEST == endpoint::REQUEST);
