//! Balancing: which of the endpoints that may be used gets the next request.
//!
//! Each algorithm is a file, pure and seeded: it knows members by their index and weight, is told
//! their load and which to leave out, and does no I/O and reads no clock. Health, zones and limits
//! are not its matter: the upstream decides who is a member and who is skipped.
//!
//! A balancer is built for one set of members and replaced with it. All but
//! [`Balance::LeastConnections`] pick in constant time, however many members there are; only when
//! most of them are skipped do they look at all.

mod first_healthy;
mod least_connections;
mod maglev;
mod power_of_two;
mod random;
mod round_robin;
mod sample;

use std::net::IpAddr;

use fastrand::Rng;

use crate::config::Balance;

use first_healthy::FirstHealthy;
use least_connections::LeastConnections;
use maglev::Maglev;
use power_of_two::PowerOfTwo;
use random::Random;
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
    Random(Random),
    FirstHealthy(FirstHealthy),
    Maglev(Maglev),
}

impl Balancer {
    /// A balancer for members with these weights (0 counts as 1). `position` is where the turn of
    /// the balancer before it stood ([`Balancer::position`]), or 0: were the turn to start anew
    /// with every change, the first member would be favoured whenever another one flaps.
    pub fn new(balance: Balance, weights: &[u32], position: usize) -> Self {
        let identities: Vec<u64> = match balance {
            Balance::Maglev => (0..weights.len() as u64).collect(),
            _ => Vec::new(),
        };
        Self::of_known(balance, weights, &identities, position)
    }

    /// The same of members that are known by something that stays when others come and go
    /// ([`identity`]): [`Balance::Maglev`] goes by it.
    pub fn of_known(
        balance: Balance,
        weights: &[u32],
        identities: &[u64],
        position: usize,
    ) -> Self {
        let algorithm = match balance {
            Balance::RoundRobin => Algorithm::RoundRobin(RoundRobin::new(weights, position)),
            Balance::LeastConnections => {
                Algorithm::LeastConnections(LeastConnections::new(weights))
            }
            Balance::PowerOfTwo => Algorithm::PowerOfTwo(PowerOfTwo::new(weights)),
            Balance::Random => Algorithm::Random(Random::new(weights)),
            Balance::FirstHealthy => Algorithm::FirstHealthy(FirstHealthy::new(weights.len())),
            Balance::Maglev => Algorithm::Maglev(Maglev::new(weights, identities)),
        };
        Self { algorithm }
    }

    /// The index of the member that is next, `None` if there is none that is not skipped.
    ///
    /// `load` is asked for members that come into question; `skip` must answer the same throughout
    /// one pick. `key` is the same for all that belongs together; without it, each pick stands for
    /// itself.
    pub fn pick_for(
        &self,
        key: Option<u64>,
        random: &mut Rng,
        load: impl Fn(usize) -> u32,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match &self.algorithm {
            Algorithm::RoundRobin(algorithm) => algorithm.pick(skip),
            Algorithm::LeastConnections(algorithm) => algorithm.pick(random, load, skip),
            Algorithm::PowerOfTwo(algorithm) => algorithm.pick(random, load, skip),
            Algorithm::Random(algorithm) => algorithm.pick(random, skip),
            Algorithm::FirstHealthy(algorithm) => algorithm.pick(skip),
            Algorithm::Maglev(algorithm) => {
                algorithm.pick(key.unwrap_or_else(|| random.u64(..)), skip)
            }
        }
    }

    /// The same without a key.
    pub fn pick(
        &self,
        random: &mut Rng,
        load: impl Fn(usize) -> u32,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.pick_for(None, random, load, skip)
    }

    /// Where the turn stands; 0 for algorithms without one.
    pub fn position(&self) -> usize {
        match &self.algorithm {
            Algorithm::RoundRobin(algorithm) => algorithm.position(),
            Algorithm::LeastConnections(_)
            | Algorithm::PowerOfTwo(_)
            | Algorithm::Random(_)
            | Algorithm::FirstHealthy(_)
            | Algorithm::Maglev(_) => 0,
        }
    }
}

/// What a member is known by, from its name: the same in every process.
pub fn identity(name: &str) -> u64 {
    name.bytes()
        .fold(0, |hash, byte| maglev::spread(hash ^ u64::from(byte)))
}

/// The key of a client, from its address: all that comes from there belongs together.
pub fn client_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits()];
            #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
            let (high, low) = (high as u64, low as u64);
            maglev::spread(high) ^ low
        }
    }
}

/// Whether the first of two members carries less for its weight than the second.
fn is_lighter((load, weight): (u32, u32), (other_load, other_weight): (u32, u32)) -> bool {
    u64::from(load) * u64::from(other_weight) < u64::from(other_load) * u64::from(weight)
}

fn at_least_one(weights: &[u32]) -> Box<[u32]> {
    weights.iter().map(|weight| (*weight).max(1)).collect()
}

#[cfg(test)]
mod tests;
