//! Limits on a listener's connections: by client, by network, by time; and how long one may wait
//! for a place.
//!
//! What is settled (the limits) belongs to a configuration; what is known (who is connected, how
//! fast who came) is kept over reloads, as the number of connections is. Both are looked at once
//! for each connection, before it has cost anything.

mod fullest;
mod pace;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use self::pace::{Next, Pace, nanoseconds};
use self::table::{Bounds, Entered, Table};
use crate::config;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};

pub use fullest::Fullest;

/// What a listener's connections are held to, beside their number.
#[derive(Debug)]
pub struct Limits {
    clients: Option<Bounds>,
    networks: Option<Bounds>,
    /// What is one client.
    client: Prefix,
    /// What is one network.
    network: Prefix,
    rate: Option<Pace>,
    /// How long a connection may wait for a place, if it may.
    pub wait: Option<Duration>,
    known: Arc<Known>,
    metrics: LimitMetrics,
}

/// What a connection is counted as, until it is dropped.
#[derive(Debug)]
pub struct Place {
    known: Arc<Known>,
    client: Option<u128>,
    network: Option<u128>,
}

/// Bits of what counts as one.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    v4: u8,
    v6: u8,
}

/// What is known of those that came; kept over reloads.
#[derive(Debug)]
struct Known {
    began: Instant,
    /// See [`Pace`].
    due: AtomicU64,
    clients: Table,
    networks: Table,
}

#[derive(Debug)]
struct LimitMetrics {
    refused: [Counter; Refusal::ALL.len()],
    /// Connections that no limit by address was applied to.
    unknown: Counter,
    /// Clients and networks that had to make room for others.
    forgotten: Counter,
    waiting: Gauge,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its client has as many as it may.
    PerClient,
    /// Its network has.
    PerSubnet,
    /// Connections come too fast.
    Rate,
    /// Those of its client do.
    RatePerClient,
    /// It has waited for a place in vain.
    QueueTimeout,
}

impl Limits {
    /// What was written; none if nothing ever was. What `before` knew is kept, also while nothing
    /// is: a limit that is taken out and put back counts those that are still there.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        (written, max_connections): (&config::ListenerLimits, u32),
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        if *written == config::ListenerLimits::default() && before.is_none() {
            return None;
        }
        // Twice the connections, since a table has parts that are not filled evenly.
        let room = ROOM.max(max_connections as usize * 2);
        let bounds = |connections: Option<u32>, rate: Option<config::RateEntry>| Bounds {
            connections: connections.unwrap_or(u32::MAX),
            pace: rate.map(Pace::new),
            room,
        };
        let by_client = written.per_client.is_some() || written.rate_per_client.is_some();
        let clients = by_client.then(|| bounds(written.per_client, written.rate_per_client));
        Some(Arc::new(Self {
            clients,
            networks: written.per_subnet.map(|limit| bounds(Some(limit), None)),
            client: Prefix {
                v4: ADDRESS_V4,
                v6: written.client_v6.unwrap_or(NETWORK_V6),
            },
            network: Prefix {
                v4: written.subnet_v4.unwrap_or(NETWORK_V4),
                v6: written.subnet_v6.unwrap_or(NETWORK_V6),
            },
            rate: written.rate.map(Pace::new),
            wait: written.wait.map(|time| time.0),
            known: before.map_or_else(Arc::default, |before| Arc::clone(&before.known)),
            metrics: LimitMetrics::new(registry, listener),
        }))
    }

    /// Counts a connection in, from a client of this address if it has one and that is known
    /// already.
    pub fn enter(&self, client: Option<IpAddr>, now: Instant) -> Result<Place, Refusal> {
        self.pass(self.known.at(now))?;
        self.identify(client, now)
    }

    /// The same of one that was counted in before its client was known: only its address is still
    /// to be counted.
    pub fn identify(&self, client: Option<IpAddr>, now: Instant) -> Result<Place, Refusal> {
        let known = &self.known;
        let mut place = Place {
            known: Arc::clone(known),
            client: None,
            network: None,
        };
        let entered = self.enter_by_address(&mut place, client, known.at(now));
        if entered.is_err() && self.rate.is_some() {
            self.take_back();
        }
        entered.map(|()| place)
    }

    /// Counts a connection that is turned away.
    pub fn refused(&self, refusal: Refusal) {
        self.metrics.refused[refusal as usize].inc();
    }

    /// Shows a connection that waits for a place.
    pub fn waiting(&self) -> &Gauge {
        &self.metrics.waiting
    }

    fn enter_by_address(
        &self,
        place: &mut Place,
        client: Option<IpAddr>,
        now: u64,
    ) -> Result<(), Refusal> {
        let Some(client) = client else {
            return Ok(());
        };
        if let Some(bounds) = self.networks {
            let key = self.network.of(client);
            place.network = match self.known.networks.enter(key, bounds, now) {
                Entered::Counted => Some(key),
                Entered::Instead(others) => Some(self.let_in_instead(key, others)),
                Entered::Unknown => self.let_in_unknown(),
                Entered::TooMany | Entered::TooFast => return Err(Refusal::PerSubnet),
            };
        }
        if let Some(bounds) = self.clients {
            let key = self.client.of(client);
            place.client = match self.known.clients.enter(key, bounds, now) {
                Entered::Counted => Some(key),
                Entered::Instead(others) => Some(self.let_in_instead(key, others)),
                Entered::Unknown => self.let_in_unknown(),
                Entered::TooMany => return Err(Refusal::PerClient),
                Entered::TooFast => return Err(Refusal::RatePerClient),
            };
        }
        Ok(())
    }

    fn let_in_instead(&self, key: u128, others: usize) -> u128 {
        self.metrics.forgotten.add(others as u64);
        key
    }

    fn let_in_unknown(&self) -> Option<u128> {
        self.metrics.unknown.inc();
        None
    }

    /// One more of all.
    fn pass(&self, now: u64) -> Result<(), Refusal> {
        let Some(pace) = self.rate else {
            return Ok(());
        };
        let mut passes = false;
        let next = |due| {
            let next = pace.next(due, now);
            passes = matches!(next, Next::Passes(_));
            let (Next::Passes(due) | Next::TooEarly(due)) = next;
            Some(due)
        };
        // Always some, so it is always done.
        let due = &self.known.due;
        let _ = due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        if passes { Ok(()) } else { Err(Refusal::Rate) }
    }

    /// One that was refused for another reason takes nothing from others.
    fn take_back(&self) {
        let Some(pace) = self.rate else {
            return;
        };
        let before = |due| Some(pace.before(due));
        // As above.
        let _ = self
            .known
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, before);
    }
}

impl Place {
    /// Whether it is counted by an address.
    pub fn has_address(&self) -> bool {
        self.client.is_some() || self.network.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.has_address() {
            return;
        }
        let now = self.known.at(Instant::now());
        if let Some(key) = self.client {
            self.known.clients.leave(key, now);
        }
        if let Some(key) = self.network {
            self.known.networks.leave(key, now);
        }
    }
}

impl Prefix {
    fn of(self, client: IpAddr) -> u128 {
        // The bits of IPv4 are the last 32 of those within IPv6.
        let length = match client {
            IpAddr::V4(_) => 96 + u32::from(self.v4),
            IpAddr::V6(_) => u32::from(self.v6),
        };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        bits(client) & mask
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            due: AtomicU64::new(0),
            clients: Table::default(),
            networks: Table::default(),
        }
    }
}

impl Known {
    fn at(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.began))
    }
}

impl LimitMetrics {
    fn new(registry: &Registry, listener: &str) -> Self {
        let refused = |refusal: Refusal| {
            let labels = [("listener", listener), ("reason", refusal.as_str())];
            registry.counter(&super::metrics::CONNECTIONS_REFUSED, &labels)
        };
        let labels = [("listener", listener)];
        Self {
            refused: Refusal::ALL.map(refused),
            unknown: registry.counter(&UNKNOWN, &labels),
            forgotten: registry.counter(&FORGOTTEN, &labels),
            waiting: registry.level(&WAITING, &labels),
        }
    }
}

impl Refusal {
    /// Every reason, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 5] = [
        Self::PerClient,
        Self::PerSubnet,
        Self::Rate,
        Self::RatePerClient,
        Self::QueueTimeout,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::PerClient => "per_client",
            Self::PerSubnet => "per_subnet",
            Self::Rate => "rate",
            Self::RatePerClient => "rate_per_client",
            Self::QueueTimeout => "queue_timeout",
        }
    }
}

/// Who takes turns with others where requests wait: a client by its address, and of IPv6 by its
/// network, since one host may use all addresses of that. Those without an address are one.
///
/// Nobody outside can tell who is who: else one could take the turns of another.
pub fn who_takes_turns(client: Option<IpAddr>) -> u64 {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let prefix = Prefix {
        v4: ADDRESS_V4,
        v6: NETWORK_V6,
    };
    client.map_or(0, |client| SEED.hash_one(prefix.of(client.to_canonical())))
}

/// An address as IPv6 has it.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The smallest network that is routed on the Internet, and more addresses than one client has.
const NETWORK_V4: u8 = 24;

/// All of it.
const ADDRESS_V4: u8 = 32;

/// What one link has (RFC 4291 §2.5.1), a phone as well as an office: any host in it takes any
/// address. A household may have 256 of them; to take those for one would take as many phones for
/// one too.
const NETWORK_V6: u8 = 64;

/// Addresses that are remembered at least: some 3 MiB when all are.
const ROOM: usize = 65_536;

static UNKNOWN: Family = Family {
    name: "evenkeel_connections_untracked_total",
    help: "Client connections let in without their address being remembered, for lack of room.",
    kind: Kind::Counter,
    buckets: None,
};

static FORGOTTEN: Family = Family {
    name: "evenkeel_clients_forgotten_total",
    help: "Clients and networks whose use of a rate was forgotten early, for lack of room.",
    kind: Kind::Counter,
    buckets: None,
};

static WAITING: Family = Family {
    name: "evenkeel_connections_waiting",
    help: "Client connections that wait for a place.",
    kind: Kind::Gauge,
    buckets: None,
};

#[cfg(test)]
mod tests;
