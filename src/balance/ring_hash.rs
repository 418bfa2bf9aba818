//! Ring hash: a key belongs to the member whose point comes next on a ring of hashes.
//!
//! Each member has [`POINTS`] points for each unit of weight, from its name alone (D. Karger et
//! al., "Consistent Hashing and Random Trees", 1997; the form of `libketama`). Without a member
//! exactly its keys move, to the members of the next points, and no others; where one is added, it
//! takes `1/n` of all keys. That is what it has over `maglev`, whose shares are more even. Names
//! make the points, not the order of the file, so instances agree on every key. Where the weights
//! would make too many points, each member has that part of them that the weight of all makes:
//! of all that are written, whoever is a member just now, so that who falls ill moves no more.
//!
//! A hash is one of [`PLACES`] on the ring. A place belongs to the next point, so all of the above
//! holds for places as it does for hashes. Rings of many points are therefore written down as the
//! owners of all places: a look-up then reads two bytes, where a million points would be three
//! reads of tables that are in no cache. In smaller ones the next point is looked for. Hashes are
//! spread evenly, so the upper bits of one tell where about it is: a table has the first point of
//! each of as many intervals as there are points, and a look-up reads two or three points whatever
//! their number.

use super::bound::{Bound, Walk};
use super::key::spread;
use super::{Hashed, Members};

/// Picks by the next point.
#[derive(Debug)]
pub(super) struct RingHash {
    ring: Ring,
    bound: Bound,
}

#[derive(Debug)]
enum Ring {
    Points(Points),
    /// Whose each place is.
    Places(Box<[u16]>),
}

#[derive(Debug)]
struct Points {
    /// Ascending.
    hashes: Box<[u64]>,
    /// Whose they are.
    owners: Box<[u32]>,
    /// The first point of each interval; one more at the end.
    intervals: Box<[u32]>,
    /// Bits of a hash that are not in the number of its interval.
    shift: u32,
}

impl RingHash {
    /// Members with these weights and identities: hashes of their names.
    pub(super) fn new(weights: &[u32], hashed: Hashed) -> Self {
        let total = hashed.total;
        let bound = Bound::new(weights, hashed);
        let identities = bound.identities();
        let mut points: Vec<(u64, u32)> = Vec::new();
        for ((member, &weight), &identity) in (0_u32..).zip(bound.weights()).zip(identities) {
            let count = points_of(weight, identity, total);
            points.extend((0..count).map(|point| (spread(identity ^ spread(point)), member)));
        }
        points.sort_unstable_by_key(|&(point, member)| (point, identities[member as usize]));
        let is_written_down = points.len() >= MANY && u16::try_from(identities.len()).is_ok();
        let ring = if is_written_down {
            Ring::Places(owners_of_places(&points))
        } else {
            Ring::Points(Points::new(&points))
        };
        Self { ring, bound }
    }

    /// The member that a key belongs to; if that is skipped or full, those of the points behind.
    pub(super) fn pick<M: Members>(&self, key: u64, members: &M) -> Option<usize> {
        let hash = spread(key);
        let (start, count) = match &self.ring {
            Ring::Points(points) => (points.next(hash >> SHIFT << SHIFT), points.owners.len()),
            Ring::Places(owners) => (usize::try_from(hash >> SHIFT).unwrap_or(0), owners.len()),
        };
        let mut walk = Walk::default();
        let mut last = None;
        for step in 0..LOOKS.min(count) {
            let number = start + step;
            let member = self.ring.owner(if number < count {
                number
            } else {
                number - count
            });
            if last == Some(member) {
                continue;
            }
            last = Some(member);
            if let Some(member) = self.bound.visit(members, member, &mut walk) {
                return Some(member);
            }
        }
        self.bound.end(members, walk, hash)
    }
}

impl Ring {
    fn owner(&self, number: usize) -> usize {
        match self {
            Self::Points(points) => points.owners[number] as usize,
            Self::Places(owners) => usize::from(owners[number]),
        }
    }
}

impl Points {
    fn new(points: &[(u64, u32)]) -> Self {
        let bits = points.len().max(2).ilog2();
        let shift = u64::BITS - bits;
        let mut intervals = Vec::with_capacity((1 << bits) + 1);
        let mut next = 0_u32;
        for interval in 0..1_u64 << bits {
            while points
                .get(next as usize)
                .is_some_and(|&(point, _)| point >> shift < interval)
            {
                next += 1;
            }
            intervals.push(next);
        }
        Self {
            hashes: points.iter().map(|&(point, _)| point).collect(),
            owners: points.iter().map(|&(_, member)| member).collect(),
            intervals: intervals.into(),
            shift,
        }
    }

    /// The number of the first point that is not below a hash; behind the last one comes the first.
    fn next(&self, hash: u64) -> usize {
        let interval = usize::try_from(hash >> self.shift).unwrap_or(0);
        let first = self.intervals[interval] as usize;
        let rest = &self.hashes[first..];
        let behind = rest.iter().position(|&point| point >= hash);
        behind.map_or(0, |behind| first + behind)
    }
}

/// The owners of all places, from points in ascending order. There must be one.
fn owners_of_places(points: &[(u64, u32)]) -> Box<[u16]> {
    let mut rest = points.iter().copied().peekable();
    let places = (0..PLACES).map(|place| {
        while rest.next_if(|&(point, _)| point < place << SHIFT).is_some() {}
        let &(_, owner) = rest.peek().unwrap_or(&points[0]);
        u16::try_from(owner).unwrap_or(u16::MAX)
    });
    places.collect()
}

/// The points of a member: those of its weight, or its part of [`MOST_POINTS`].
///
/// What is left of a point makes one more for as many members as it is worth, always the same ones.
/// So where the weight of all grows by a hundredth, a hundredth of the points of the others goes,
/// and only the keys of those move.
fn points_of(weight: u32, identity: u64, total: u64) -> u64 {
    let weight = u64::from(weight);
    if total * POINTS <= MOST_POINTS {
        return weight * POINTS;
    }
    let parts = (u128::from(weight * MOST_POINTS) << u32::BITS) / u128::from(total);
    let rounding = u128::from(spread(!identity) >> u32::BITS);
    u64::try_from((parts + rounding) >> u32::BITS)
        .unwrap_or(MOST_POINTS)
        .max(1)
}

/// Points for one unit of weight: shares differ by some `1/√POINTS`, 8 %, as in libketama.
const POINTS: u64 = 160;

/// Points at most: 0.1 s to sort them on the control plane.
const MOST_POINTS: u64 = 1 << 20;

/// Points from which on places are written down: fewer need less memory than those, 1 MiB.
const MANY: usize = 1 << 16;

/// Places that a hash may have: about half as many as there are points at most, so that these stay
/// what decides about the shares. One number for all rings: with another one keys would move.
const PLACES: u64 = 1 << (u64::BITS - SHIFT);
/// Bits of a hash that do not count.
const SHIFT: u32 = 45;

/// Points, or places, that are looked at before all members are gone through.
const LOOKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the two ways it is written in is nobody's business: who grows past the one moves
    /// no key by it.
    #[test]
    fn places_belong_to_the_next_point() {
        let owners = (0..7).cycle();
        let mut points: Vec<(u64, u32)> = (0..3_000).map(spread).zip(owners).collect();
        points.sort_unstable();
        let (searched, written) = (Points::new(&points), owners_of_places(&points));
        for key in 0..100_000 {
            let hash = spread(spread(key)) >> SHIFT << SHIFT;
            let point = searched.next(hash);
            let place = usize::try_from(hash >> SHIFT).unwrap();
            assert_eq!(u32::from(written[place]), searched.owners[point]);
        }
    }

    /// Owners of keys, by name, of these members of seven with a weight of 1,000 each.
    fn owners(weights: &[u32], total: u64) -> Vec<usize> {
        struct All;
        impl Members for All {
            fn skips(&self, _: usize) -> bool {
                false
            }

            fn load(&self, _: usize) -> crate::balance::Load {
                0.into()
            }
        }
        let there = (0_u64..).zip(weights).filter(|(_, weight)| **weight > 0);
        let (identities, weights): (Vec<u64>, Vec<u32>) =
            there.map(|(name, weight)| (spread(name), weight)).unzip();
        let hashed = Hashed {
            identities: identities.clone(),
            total,
            max_load: 1.25,
            beyond: std::sync::Arc::default(),
        };
        let ring = RingHash::new(&weights, hashed);
        let names: Vec<usize> = (0..8).collect();
        let owner = |key| {
            let member = ring.pick(key, &All).expect("there are some");
            names
                .iter()
                .find(|name| spread(**name as u64) == identities[member])
        };
        (0..20_000)
            .map(|key| *owner(key).expect("one of these"))
            .collect()
    }

    /// More points than there may be, for the weights: whose keys move when one falls ill, and when
    /// one more is written.
    #[test]
    fn weights_beyond_all_points_move_no_more_keys() {
        let all = owners(&[1000; 7], 7000);
        let without = owners(&[1000, 1000, 1000, 0, 1000, 1000, 1000], 7000);
        for (before, after) in all.iter().zip(&without) {
            assert!(before == after || *before == 3, "{before} to {after}");
        }
        let more = owners(&[1000; 8], 8000);
        let moved = all.iter().zip(&more).filter(|(one, other)| one != other);
        let moved = moved.count();
        assert!((2_000..2 * 2_900).contains(&moved), "{moved}");
    }
}
