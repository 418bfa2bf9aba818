//! Random members by weight, in constant time.
//!
//! Walker's alias method (A. J. Walker, 1977) in the form of M. D. Vose ("A linear algorithm for
//! generating random numbers with a given distribution", 1991): as many columns as members, each of
//! the same capacity, split between its own member and one other. Held in whole numbers, so that
//! the shares are exact.

use fastrand::Rng;

use super::at_least_one;

/// Draws members by their weights.
#[derive(Debug)]
pub(super) struct Sampler {
    weights: Box<[u32]>,
    /// `None` if all weights are equal: then any member is as good as any other.
    columns: Option<Columns>,
}

#[derive(Debug)]
struct Columns {
    capacity: u64,
    columns: Box<[Column]>,
}

/// Below `own` the column is its own member's, above it the other one's.
#[derive(Debug, Clone, Copy)]
struct Column {
    own: u64,
    other: usize,
}

impl Sampler {
    pub(super) fn new(weights: &[u32]) -> Self {
        let weights = at_least_one(weights);
        let is_even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let columns = (!is_even).then(|| Columns::new(&weights));
        Self { weights, columns }
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn weight(&self, member: usize) -> u32 {
        self.weights[member]
    }

    /// A member by weight. There must be at least one.
    pub(super) fn draw(&self, random: &mut Rng) -> usize {
        let member = random.usize(..self.weights.len());
        match &self.columns {
            None => member,
            Some(columns) => columns.resolve(member, random),
        }
    }

    /// A member by weight that is not skipped; looks at all once a few draws were in vain.
    pub(super) fn draw_unskipped(
        &self,
        random: &mut Rng,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.weights.is_empty() {
            return None;
        }
        for _ in 0..DRAWS {
            let member = self.draw(random);
            if !skip(member) {
                return Some(member);
            }
        }
        let mut choice = Choice::default();
        for (member, weight) in self.weights.iter().enumerate() {
            if !skip(member) {
                choice.offer(member, *weight, random);
            }
        }
        choice.member
    }
}

impl Columns {
    fn new(weights: &[u32]) -> Self {
        // Scaled by the number of members, the weights fill as many columns of this capacity.
        let capacity: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let members = weights.len() as u64;
        let mut columns: Box<[Column]> = weights
            .iter()
            .enumerate()
            .map(|(member, &weight)| Column {
                own: u64::from(weight) * members,
                other: member,
            })
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&member| columns[member].own < capacity);
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            columns[poor].other = rich;
            columns[rich].own -= capacity - columns[poor].own;
            if columns[rich].own < capacity {
                large.pop();
                small.push(rich);
            }
        }
        Self { capacity, columns }
    }

    fn resolve(&self, column: usize, random: &mut Rng) -> usize {
        let Column { own, other } = self.columns[column];
        // A full column needs no second draw.
        if own >= self.capacity || random.u64(..self.capacity) < own {
            column
        } else {
            other
        }
    }
}

/// One of several by weight, offered one after the other (reservoir sampling).
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) member: Option<usize>,
    total: u64,
}

impl Choice {
    pub(super) fn offer(&mut self, member: usize, weight: u32, random: &mut Rng) {
        self.total += u64::from(weight);
        if self.member.is_none() || random.u64(..self.total) < u64::from(weight) {
            self.member = Some(member);
        }
    }
}

/// Draws before all members are looked at: with half of them skipped, one pick in 256 looks at all.
const DRAWS: usize = 8;
