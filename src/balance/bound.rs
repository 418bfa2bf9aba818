//! Bounded load: no member gets much more than its share, whatever the keys are.
//!
//! Problem: a hash spreads keys evenly and not their requests; one that is asked for often drowns
//! its member while others idle. So a member is full once it carries `max_load` times its share of
//! all that is in flight, and what belongs to it goes to the next one in an order that follows from
//! the key: `ceil(max_load × (in flight + 1) × weight / all weights)` (V. Mirrokni, M. Thorup,
//! M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016), but for a few that it always
//! has room for. At 125 % hardly a key moves while the load is even.
//!
//! Penalties count on both sides: a member's own as load, those of the others as what is usual. So
//! keys leave one that fails, and stay at home where all fail now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::key::spread;
use super::members::{Together, WHOLE};
use super::{Hashed, Load, Members, REQUEST};

/// The bound of one balancer's members.
#[derive(Debug)]
pub(super) struct Bound {
    weights: Box<[u32]>,
    /// What the members are known by.
    identities: Box<[u64]>,
    /// All weights.
    total: f64,
    max_load: f64,
    beyond: Arc<AtomicU64>,
}

/// What a walk from a key's own member on has seen.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Also whether it was asked for by one that has failed.
    together: Option<(Together, bool)>,
    lightest: Option<(f64, usize)>,
    /// How often a member was seen that is full.
    full: u32,
}

impl Bound {
    /// `max_load`: what a member may carry, against its share. As many members count as have both
    /// a weight and an identity.
    pub(super) fn new(weights: &[u32], hashed: Hashed) -> Self {
        let Hashed {
            identities,
            max_load,
            beyond,
            ..
        } = hashed;
        let members = weights.len().min(identities.len());
        let weights = super::at_least_one(&weights[..members]);
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        Self {
            total: lossy(total),
            max_load,
            weights,
            identities: identities[..members].into(),
            beyond,
        }
    }

    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    pub(super) fn identities(&self) -> &[u64] {
        &self.identities
    }

    /// Whether a member has room for one more.
    fn has_room<M: Members>(&self, members: &M, member: usize, walk: &mut Walk) -> bool {
        if !members.are_bounded() {
            return true;
        }
        let Load { in_flight, penalty } = members.load(member);
        let share = members.share(member).clamp(1, WHOLE);
        // So few drown nobody, and where hardly anything is in flight shares say nothing.
        let are_few = in_flight < (ALWAYS * share).div_ceil(WHOLE);
        if are_few && penalty == 0 {
            return true;
        }
        let together = walk.together(members, penalty > 0);
        let penalty = f64::from(penalty);
        let usual = self.usual_penalty(member, penalty, &together);
        let weight = f64::from(self.weights[member]);
        if are_few && penalty <= FAILS_MORE * usual * weight {
            return true;
        }
        let weight = weight * f64::from(share) / f64::from(WHOLE);
        let total = self.total * f64::from(together.share);
        let in_all = lossy((together.in_flight + 1) * REQUEST) + usual * self.total;
        let most = self.max_load * in_all * weight / total;
        // Rounded up to whole requests.
        let most = (most / lossy(REQUEST)).ceil() * lossy(REQUEST);
        let load = lossy(u64::from(in_flight) * REQUEST) + penalty;
        if load < most {
            return true;
        }
        if walk.full == 0 {
            self.beyond.fetch_add(1, Ordering::Relaxed);
        }
        walk.saw(member, load / weight);
        false
    }

    /// The penalty of the other members for one unit of weight.
    fn usual_penalty(&self, member: usize, penalty: f64, together: &Together) -> f64 {
        let others = self.total - f64::from(self.weights[member]);
        if others <= 0.0 {
            return penalty / self.total;
        }
        (lossy(together.penalty) - penalty).max(0.0) / others
    }

    /// One member of a walk, if it is the one.
    pub(super) fn visit<M: Members>(
        &self,
        members: &M,
        member: usize,
        walk: &mut Walk,
    ) -> Option<usize> {
        let is_it = !members.skips(member) && self.has_room(members, member, walk);
        is_it.then_some(member)
    }

    /// Where none had room: the lightest that was seen. Where nearly all were skipped that were
    /// looked at, each of those that are left has its own keys among them (rendezvous hashing, D.
    /// Thaler and C. Ravishankar, 1998): the next one in some order would get them all.
    pub(super) fn end<M: Members>(&self, members: &M, mut walk: Walk, hash: u64) -> Option<usize> {
        let mut best = None;
        if walk.full < ENOUGH {
            for (member, identity) in self.identities.iter().enumerate() {
                if self.visit(members, member, &mut walk).is_some() {
                    best = best.max(Some((spread(hash ^ identity), member)));
                }
            }
        }
        let lightest = walk.lightest.map(|(_, member)| member);
        best.map(|(_, member)| member).or(lightest)
    }
}

impl Walk {
    fn together<M: Members>(&mut self, members: &M, has_failed: bool) -> Together {
        match self.together {
            Some((known, was_failed)) if was_failed || !has_failed => known,
            Some(_) | None => {
                let together = members.together(has_failed);
                self.together = Some((together, has_failed));
                together
            }
        }
    }

    fn saw(&mut self, member: usize, load: f64) {
        self.full += 1;
        if self.lightest.is_none_or(|(lightest, _)| load < lightest) {
            self.lightest = Some((load, member));
        }
    }
}

/// Requests that a member always has room for: a key that is asked for by a handful of clients at
/// once stays where it is.
const ALWAYS: u32 = 16;

/// Of so many that are full the lightest is picked. Those that are full at the same time are nearly
/// all, since each may carry more than its share.
const ENOUGH: u32 = 4;

/// A member fails more than others with more than so many times the penalty: of a few failures
/// each, one has twice as many by chance.
const FAILS_MORE: f64 = 2.0;

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn lossy(number: u64) -> f64 {
    number as f64
}
