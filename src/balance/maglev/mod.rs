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

/// Picks by a hash.
#[derive(Debug)]
pub(super) struct Maglev {
    /// Which member has a place; empty without members.
    places: Box<[u16]>,
    members: usize,
}

/// A member that claims places.
struct Claim {
    weight: u64,
    /// What it must have gained to be the next one.
    due: u64,
    place: u64,
    step: u64,
}

impl Maglev {
    /// Members with these weights and identities: hashes of their names.
    pub(super) fn new(weights: &[u32], identities: &[u64]) -> Self {
        // More than there are places would get none: those behind are left out.
        let members = weights
            .len()
            .min(identities.len())
            .min(usize::from(u16::MAX));
        let mut claims: Vec<Claim> = weights
            .iter()
            .zip(identities)
            .take(members)
            .map(|(weight, identity)| Claim::new(*weight, *identity))
            .collect();
        Self {
            places: if members == 0 {
                Box::default()
            } else {
                fill(&mut claims)
            },
            members,
        }
    }

    /// The member that a key belongs to; if that is skipped, the one that other hashes of the key
    /// lead to, so that the clients of a member that fails are spread over all.
    pub(super) fn pick(&self, key: u64, skip: impl Fn(usize) -> bool) -> Option<usize> {
        if self.members == 0 {
            return None;
        }
        let mut hash = spread(key);
        for _ in 0..LOOKS {
            let member = self.at(hash);
            if !skip(member) {
                return Some(member);
            }
            hash = spread(hash);
        }
        let start = usize::try_from(hash % self.members as u64).unwrap_or(0);
        (start..self.members)
            .chain(0..start)
            .find(|&member| !skip(member))
    }

    fn at(&self, hash: u64) -> usize {
        let place = usize::try_from(hash % PLACES).unwrap_or(0);
        usize::from(self.places[place])
    }
}

impl Claim {
    fn new(weight: u32, identity: u64) -> Self {
        let (first, second) = (spread(identity), spread(spread(identity)));
        Self {
            weight: u64::from(weight.max(1)),
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
        for (member, claim) in (0_u16..).zip(claims.iter_mut()) {
            if free == 0 {
                return places.into_iter().flatten().collect();
            }
            if round * claim.weight < claim.due + heaviest {
                continue; // its turn comes with a later round
            }
            claim.due += heaviest;
            let place = claim.claim(&places);
            places[place] = Some(member);
            free -= 1;
        }
    }
    Box::default()
}

/// A hash of a number (splitmix64, S. Vigna): every bit of it counts in every bit of the result.
pub(super) fn spread(number: u64) -> u64 {
    let mut hash = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The paper's small table: a prime, so that every step meets every place. Up to 655 members it is
/// even to a hundredth, and it is 128 KiB. One size for all: another one would move every client.
const PLACES: u64 = 65_537;
/// Hashes that are tried before all members are looked at.
const LOOKS: usize = 16;

#[cfg(test)]
mod tests;
