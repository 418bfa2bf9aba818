//! Maglev: the same client gets the same member, at every instance, and hardly any client moves
//! when members come and go.
//!
//! The table is that of D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer" (NSDI 2016), §3.4: each member has a permutation of all places, made from its
//! name, and the members take turns in claiming the first of theirs that is free. The shares are
//! then even to a place, and without one of the members nearly all others have the places that they
//! had. A member of twice the weight has twice the turns.
//!
//! Names make the table, not the order of the file, and no secret is in it: instances that know
//! the same members agree on every client.

use super::bound::{Bound, Walk};
use super::key::spread;
use super::{Hashed, Members};

/// Picks by a hash.
#[derive(Debug)]
pub(super) struct Maglev {
    /// Which member has a place; empty without members.
    places: Box<[u16]>,
    bound: Bound,
}

/// A member that claims places.
struct Claim {
    member: u16,
    weight: u64,
    /// What it must have gained to be the next one.
    due: u64,
    place: u64,
    step: u64,
}

impl Maglev {
    /// Members with these weights and identities: hashes of their names.
    pub(super) fn new(weights: &[u32], hashed: Hashed) -> Self {
        // More than there are places would get none: those behind are left out.
        let members = weights.len().min(usize::from(u16::MAX));
        let bound = Bound::new(&weights[..members], hashed);
        let mut known: Vec<(u64, u32, u16)> = (0_u16..)
            .zip(bound.identities().iter().zip(bound.weights()))
            .map(|(member, (identity, weight))| (*identity, *weight, member))
            .collect();
        // Who claims first decides the places that two want in the same round.
        known.sort_unstable();
        let mut claims: Vec<Claim> = known
            .into_iter()
            .map(|(identity, weight, member)| Claim::new(member, weight, identity))
            .collect();
        Self {
            places: if claims.is_empty() {
                Box::default()
            } else {
                fill(&mut claims)
            },
            bound,
        }
    }

    /// The member that a key belongs to; if that is skipped or full, the one that other hashes of
    /// the key lead to, so that the clients of a member that fails are spread over all.
    pub(super) fn pick<M: Members>(&self, key: u64, members: &M) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut hash = spread(key);
        let mut walk = Walk::default();
        for _ in 0..LOOKS {
            let member = self.at(hash);
            if let Some(member) = self.bound.visit(members, member, &mut walk) {
                return Some(member);
            }
            hash = spread(hash);
        }
        self.bound.end(members, walk, hash)
    }

    fn at(&self, hash: u64) -> usize {
        let place = usize::try_from(hash % PLACES).unwrap_or(0);
        usize::from(self.places[place])
    }
}

impl Claim {
    fn new(member: u16, weight: u32, identity: u64) -> Self {
        let (first, second) = (spread(identity), spread(spread(identity)));
        Self {
            member,
            weight: weight.into(),
            due: 0,
            place: first % PLACES,
            step: second % (PLACES - 1) + 1,
        }
    }

    /// The first of its places that is free. There must be one.
    fn claim(&mut self, places: &[Option<u16>]) -> usize {
        loop {
            let place = usize::try_from(self.place).unwrap_or(0);
            self.place = (self.place + self.step) % PLACES;
            if places[place].is_none() {
                return place;
            }
        }
    }
}

/// Lets members claim places in turn until none is free.
fn fill(claims: &mut [Claim]) -> Box<[u16]> {
    let heaviest = claims.iter().map(|claim| claim.weight).max().unwrap_or(1);
    let mut places = vec![None; usize::try_from(PLACES).unwrap_or(0)];
    let mut free = places.len();
    for round in 1_u64.. {
        for claim in claims.iter_mut() {
            if free == 0 {
                return places.into_iter().flatten().collect();
            }
            // In the middle of the rounds that are its own, so that one that is due half a place or
            // more has one.
            if 2 * round * claim.weight < 2 * claim.due + heaviest {
                continue; // its turn comes with a later round
            }
            claim.due += heaviest;
            let place = claim.claim(&places);
            places[place] = Some(claim.member);
            free -= 1;
        }
    }
    Box::default()
}

/// The paper's small table: a prime, so that every step meets every place. Up to 655 members it is
/// even to a hundredth, and it is 128 KiB. One size for all: another one would move every client.
const PLACES: u64 = 65_537;
/// Hashes that are tried before all members are looked at: with nine tenths of them skipped, one
/// pick in 850 looks at all.
const LOOKS: usize = 64;

#[cfg(test)]
mod tests;
