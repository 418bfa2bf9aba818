//! Balancing: which of the endpoints that may be used gets the next request.
//!
//! Each algorithm is a file, pure and seeded: it knows members by their index and weight, is told
//! their load and which to leave out, and does no I/O and reads no clock. Health, zones and limits
//! are not its matter: the upstream decides who is a member and who is skipped.
//!
//! A balancer is built for one set of members and replaced with it. All pick in constant time,
//! however many members there are; only when most of them are skipped do they look at all.

mod bound;
mod first_healthy;
mod key;
mod least_connections;
mod maglev;
mod members;
mod peak_ewma;
mod power_of_two;
mod random;
mod ring_hash;
mod round_robin;
mod sample;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use fastrand::Rng;

pub use self::key::{client_key, identity, text_key};
pub use self::members::{Load, Members, REQUEST, Together, WHOLE};

use crate::config::Balance;

use first_healthy::FirstHealthy;
use least_connections::LeastConnections;
use maglev::Maglev;
use peak_ewma::PeakEwma;
use power_of_two::PowerOfTwo;
use random::Random;
use ring_hash::RingHash;
use round_robin::RoundRobin;

/// An algorithm, prepared for one set of members.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
}

#[derive(Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    PowerOfTwo(PowerOfTwo),
    PeakEwma(PeakEwma),
    Random(Random),
    FirstHealthy(FirstHealthy),
    RingHash(RingHash),
    Maglev(Maglev),
}

/// What balancers by a hash are made of, besides weights.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// What each member is known by, which stays when others come and go ([`identity`]).
    pub identities: Vec<u64>,
    /// The weight of all that might be members, also of those that are none just now.
    pub total: u64,
    /// What a member may carry, against its share: 1.25 is a quarter more.
    pub max_load: f64,
    /// Counts the picks for which a member was full that a key came by.
    pub beyond: Arc<AtomicU64>,
}

impl Balancer {
    /// A balancer for members with these weights (0 counts as 1). `position` is where the turn of
    /// the balancer before it stood ([`Balancer::position`]), or 0: were the turn to start anew
    /// with every change, the first member would be favoured whenever another one flaps. `hashed`
    /// is asked for where members are picked by a hash.
    pub fn new(
        balance: Balance,
        weights: &[u32],
        position: usize,
        hashed: impl FnOnce() -> Hashed,
    ) -> Self {
        let algorithm = match balance {
            Balance::RoundRobin => Algorithm::RoundRobin(RoundRobin::new(weights, position)),
            Balance::LeastConnections => {
                Algorithm::LeastConnections(LeastConnections::new(weights))
            }
            Balance::PowerOfTwo => Algorithm::PowerOfTwo(PowerOfTwo::new(weights)),
            Balance::PeakEwma => Algorithm::PeakEwma(PeakEwma::new(weights)),
            Balance::Random => Algorithm::Random(Random::new(weights)),
            Balance::FirstHealthy => Algorithm::FirstHealthy(FirstHealthy::new(weights.len())),
            Balance::RingHash => Algorithm::RingHash(RingHash::new(weights, hashed())),
            Balance::Maglev => Algorithm::Maglev(Maglev::new(weights, hashed())),
        };
        Self { algorithm }
    }

    /// The index of the member that is next, `None` if there is none that is not skipped. `key` is
    /// the same for all that belongs together; without it, each pick stands for itself.
    #[inline]
    pub fn pick<M: Members>(
        &self,
        key: Option<u64>,
        members: &M,
        random: &mut Rng,
    ) -> Option<usize> {
        match &self.algorithm {
            Algorithm::RoundRobin(algorithm) => algorithm.pick(members, random),
            Algorithm::LeastConnections(algorithm) => algorithm.pick(members, random),
            Algorithm::PowerOfTwo(algorithm) => algorithm.pick(members, random),
            Algorithm::PeakEwma(algorithm) => algorithm.pick(members, random),
            Algorithm::Random(algorithm) => algorithm.pick(members, random),
            Algorithm::FirstHealthy(algorithm) => algorithm.pick(members),
            Algorithm::RingHash(algorithm) => {
                algorithm.pick(key.unwrap_or_else(|| random.u64(..)), members)
            }
            Algorithm::Maglev(algorithm) => {
                algorithm.pick(key.unwrap_or_else(|| random.u64(..)), members)
            }
        }
    }

    /// Where the turn stands; 0 for algorithms without one.
    pub fn position(&self) -> usize {
        match &self.algorithm {
            Algorithm::RoundRobin(algorithm) => algorithm.position(),
            Algorithm::LeastConnections(_)
            | Algorithm::PowerOfTwo(_)
            | Algorithm::PeakEwma(_)
            | Algorithm::Random(_)
            | Algorithm::FirstHealthy(_)
            | Algorithm::RingHash(_)
            | Algorithm::Maglev(_) => 0,
        }
    }
}

fn at_least_one(weights: &[u32]) -> Box<[u32]> {
    weights.iter().map(|weight| (*weight).max(1)).collect()
}

#[cfg(test)]
mod tests;
