//! An upstream: endpoints, a balancer and limits under one name.
//!
//! Problem: health changes every few seconds and picks happen every few microseconds, so a pick
//! must not work out who may be picked. Here every change (of health, of the endpoints) makes a new
//! table with the candidates written down, and puts it in place at once; a pick loads the table and
//! asks the balancer. That table is this room's one truth behind one [`ArcSwap`].
//!
//! Control changes it through two doors: [`Upstream::set_health`] and
//! [`Upstream::replace_endpoints`]. The third, a reload, builds new upstreams ([`Upstream::build`])
//! without touching what runs, and [`World::install`] makes them the running ones.

mod budget;
mod burst;
mod change;
mod check;
mod destinations;
mod elsewhere;
mod group;
mod members;
mod metrics;
mod outlier;
mod pick;
mod queue;
mod removal;
mod standing;
mod sums;
mod table;
mod ties;
mod usual_wait;
mod view;
mod warming;
mod wish;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

pub use budget::RetryBudget;
pub use change::HealthChange;
pub use check::{GrpcProbe, HealthCheck, HealthCheckError, HttpProbe, Probe, Statuses, UdpProbe};
pub use elsewhere::Elsewhere;
pub use members::{ResolvedEndpoint, entries};
pub use outlier::{
    Change, Group, Held, KeptMember, Look, Member, Notice, OutlierDetection, Seen, State,
};
pub use pick::{Haste, Pick, PickError, Ties};
pub use queue::{InQueue, NotQueued, Patience, PushedOut, Waited};
pub use standing::Standing;
pub use ties::Mark;
pub use usual_wait::{KeptWaits, UsualWait};
pub use world::World;

use crate::config::{self, Balance};
use crate::endpoint::{Blame, Endpoint, Health, Http2, Limits, Line, LiveStates, Protocol};
use crate::net::Connecting;
use crate::proxy_protocol;
use crate::queue::Queue;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::tls::Client;
use burst::Burst;
use destinations::Destinations;
use metrics::UpstreamMetrics;
use queue::OfRequests;
use removal::Removal;
use table::{Rules, Table};
use ties::Seal;

/// A named group of endpoints.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Idle connections that each worker keeps per endpoint.
    pub max_idle_per_endpoint: u32,
    /// The zone that this instance stands in; empty if it was not told.
    own_zone: Arc<str>,
    rules: Rules,
    limits: Limits,
    check: Option<HealthCheck>,
    /// How its endpoints are spoken to in TLS, if they are.
    tls: Option<Arc<Client>>,
    /// Options of the sockets to its endpoints, if any were written.
    socket: Option<Arc<Connecting>>,
    /// How endpoints are told whom a connection is for, if they are.
    proxy_protocol: Option<proxy_protocol::Version>,
    protocol: Protocol,
    http2: Http2,
    removal: Removal,
    outlier: OutlierDetection,
    /// Which outcomes count against its endpoints.
    blame: Arc<Blame>,
    /// Where connections may go, if not to endpoints that are listed.
    destinations: Option<Destinations>,
    /// Who waits for an endpoint with room; shared by all builds.
    queue: Arc<Queue<Line>>,
    /// How requests do.
    of_requests: OfRequests,
    /// In flight at all endpoints; shared by all builds.
    in_flight: Arc<AtomicU32>,
    table: ArcSwap<Table>,
    /// Held while a new table is made, so that two changes at once both count.
    changing: Mutex<()>,
    /// What was told of such changes lately; shared by all builds.
    burst: Arc<Mutex<Burst>>,
    budget: RetryBudget,
    usual_wait: Arc<UsualWait>,
    metrics: Arc<UpstreamMetrics>,
    live: Arc<LiveStates>,
    registry: Registry,
    events: Events,
}

impl Upstream {
    /// Builds an upstream and changes nothing that runs. What was learned is found again: the live
    /// state of each endpoint by name and address, counters, retry budget and turn in `previous`.
    /// `own_zone` is where this instance stands; empty if it was not told. With `tls` that is how
    /// the endpoints are spoken to.
    pub fn build(
        name: &str,
        written: &config::Upstream,
        (endpoints, tls): (Vec<ResolvedEndpoint>, Option<Arc<Client>>),
        own_zone: &str,
        world: &World,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, HealthCheckError> {
        let check = written.health.as_ref().map(HealthCheck::new).transpose()?;
        let rules = Rules {
            balance: written.balance.unwrap_or_default(),
            panic_threshold: written
                .panic_threshold
                .map_or(PANIC_THRESHOLD, |ratio| ratio.0),
            is_checked: check.is_some(),
            max_load: written.max_load.map_or(MAX_LOAD, |load| load.0),
            slow_start: written.slow_start.map_or(SLOW_START, |time| time.0),
            ties: previous.map_or_else(Arc::default, |old| Arc::clone(&old.rules.ties)),
            seal: written
                .sticky
                .as_ref()
                .map(|sticky| Arc::new(Seal::new(&sticky.secret, &name.into()))),
        };
        let outlier =
            OutlierDetection::new(&written.outlier, rules.panic_threshold, is_tied(&rules))?;
        let mut upstream = Self {
            name: name.into(),
            own_zone: own_zone.into(),
            max_idle_per_endpoint: written.max_idle_per_endpoint.unwrap_or(MAX_IDLE),
            rules: rules.clone(),
            limits: Limits {
                max_in_flight: written.max_in_flight_per_endpoint.unwrap_or(u32::MAX),
                max_together: written.max_in_flight.unwrap_or(u32::MAX),
                max_connections: written.max_connections_per_endpoint.unwrap_or(u32::MAX),
            },
            check,
            tls,
            socket: Connecting::new(&written.socket).map(Arc::new),
            proxy_protocol: written.proxy_protocol.map(Into::into),
            protocol: Protocol::new(written),
            http2: Http2::new(written),
            removal: Removal::new(written),
            blame: Arc::new(outlier.blame),
            outlier,
            destinations: None,
            queue: world.live.queue(name),
            of_requests: OfRequests::new(&written.queue),
            in_flight: world.live.in_flight(name),
            table: ArcSwap::from_pointee(Table::new(rules.clone(), Arc::from([]), 0)),
            changing: Mutex::default(),
            burst: previous.map_or_else(Arc::default, |old| Arc::clone(&old.burst)),
            budget: RetryBudget::new(&written.retry_budget, previous.map(|old| &old.budget)),
            usual_wait: previous.map_or_else(
                || Arc::new(UsualWait::new(Instant::now())),
                |old| Arc::clone(&old.usual_wait),
            ),
            metrics: previous.map_or_else(
                || Arc::new(UpstreamMetrics::new(&world.registry, name)),
                |old| Arc::clone(&old.metrics),
            ),
            live: Arc::clone(&world.live),
            registry: world.registry.clone(),
            events: world.events.clone(),
        };
        upstream.destinations = upstream.make_destinations(written, previous.map(|old| &**old));
        let before = previous.map(|old| old.table.load_full());
        let endpoints = upstream.make_endpoints(endpoints, before.as_deref());
        let position = before.map_or(0, |table| table.position());
        upstream
            .table
            .store(Arc::new(Table::new(rules, endpoints, position)));
        Ok(Arc::new(upstream))
    }

    /// The endpoints in the order of the file.
    pub fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(self.table.load().endpoints())
    }

    /// Requests and tunnels in flight at all its endpoints, over all workers and builds.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many may be; `None` for no limit.
    pub fn max_in_flight(&self) -> Option<u32> {
        let most = self.limits.max_together;
        (most < u32::MAX).then_some(most)
    }

    /// Whether it is at its own limit, whatever room its endpoints have.
    fn is_full(&self) -> bool {
        self.is_full_beside(0)
    }

    /// The same once so many have ended.
    fn is_full_beside(&self, ending: u32) -> bool {
        let most = self.limits.max_together;
        most < u32::MAX && self.in_flight().saturating_sub(ending) >= most
    }

    /// Whether there is another endpoint that may do now, and has room.
    pub fn has_others(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let table = self.table.load();
        let mut others = table.endpoints().iter();
        others.any(|other| {
            other.live.id() != endpoint.live.id() && self.is_well(other, now) && other.has_room()
        })
    }

    /// Whether an endpoint is well as far as is known.
    fn is_well(&self, endpoint: &Endpoint, now: Instant) -> bool {
        !self.health_of(endpoint).is_out() && !endpoint.live.is_backing_off(now)
    }

    /// What an endpoint's health counts as here: without health checks every one is healthy.
    pub fn health_of(&self, endpoint: &Endpoint) -> Health {
        self.rules.health_of(endpoint)
    }

    /// Which endpoints get the traffic, and so how well it stands.
    pub fn standing(&self) -> Standing {
        self.table.load().standing()
    }

    /// Whether health is being ignored because too few endpoints are healthy.
    pub fn is_panicking(&self) -> bool {
        self.standing() == Standing::Panic
    }

    /// How an endpoint is picked, in the word of the configuration.
    pub fn balance(&self) -> &'static str {
        match self.rules.balance {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
            Balance::PowerOfTwo => "power_of_two",
            Balance::PeakEwma => "peak_ewma",
            Balance::Random => "random",
            Balance::FirstHealthy => "first_healthy",
            Balance::RingHash => "ring_hash",
            Balance::Maglev => "maglev",
        }
    }

    /// How much of the weight of the endpoint at this place counts by now, in per cent.
    pub fn warmth(&self, place: usize, now: Instant) -> u32 {
        u32::try_from(place).map_or(100, |place| self.table.load().warmth(place, now))
    }

    /// The numbers of those that came into service so lately, after others, that not all of their
    /// weight counts.
    pub fn starting(&self, now: Instant) -> BTreeSet<u64> {
        let table = self.table.load();
        let groups = [&table.first, &table.reserve].into_iter();
        let places = groups.flat_map(|group| group.starting(now));
        let endpoints = table.endpoints();
        places
            .map(|place| endpoints[place as usize].live.id())
            .collect()
    }

    /// Bounds retries to a share of the requests; what was spent is shared by all builds of this
    /// upstream.
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// How long its answers take to begin, of requests that may be hedged; shared by all builds.
    pub fn usual_wait(&self) -> &UsualWait {
        &self.usual_wait
    }

    /// How its endpoints are spoken to in TLS, if they are.
    pub fn tls(&self) -> Option<&Arc<Client>> {
        self.tls.as_ref()
    }

    /// How endpoints are judged by what becomes of their requests.
    pub fn outlier_detection(&self) -> &OutlierDetection {
        &self.outlier
    }

    /// Whether nothing is ejected, since many fail at once.
    pub fn is_suspended(&self) -> bool {
        self.metrics.is_suspended()
    }

    /// How endpoints are probed, if they are.
    pub fn health_check(&self) -> Option<&HealthCheck> {
        self.check.as_ref()
    }

    /// Sets the gauges before a scrape.
    fn observe(&self) {
        if self.leads_to_destinations() {
            return; // that it has no endpoints is no outage
        }
        let table = self.table.load();
        let now = Instant::now();
        let stands = (table.standing(), now);
        self.metrics
            .observe(table.endpoints(), stands, |place, endpoint| {
                let health = self.health_of(endpoint);
                let is_warming = || self.warmth(place, now) < 100;
                (health, health == Health::Healthy && is_warming())
            });
        let (spent, allowed) = self.budget.spent(now);
        let retries_left = allowed.saturating_sub(spent);
        let in_flight = self.in_flight();
        self.metrics
            .show_load(in_flight, self.is_newest_first(), retries_left);
        let has_keys = matches!(self.rules.balance, Balance::RingHash | Balance::Maglev);
        if has_keys || self.rules.seal.is_some() {
            self.metrics.show_ties(&self.rules.ties);
        }
        self.metrics.forget_flows(&self.own_zone, table.endpoints());
    }
}

/// Whether what goes to one endpoint may be of another kind than what goes to others.
fn is_tied(rules: &Rules) -> bool {
    match rules.balance {
        Balance::FirstHealthy | Balance::RingHash | Balance::Maglev => true,
        Balance::RoundRobin
        | Balance::LeastConnections
        | Balance::PowerOfTwo
        | Balance::PeakEwma
        | Balance::Random => rules.seal.is_some(),
    }
}

/// Below half healthy, the rest would probably drown in the load of all.
const PANIC_THRESHOLD: f64 = 0.5;

/// Hardly a key moves at an even load, and a hot one costs its endpoint a quarter more at most:
/// what the authors of bounded loads and their first users run with.
const MAX_LOAD: f64 = 1.25;

/// Long enough for connections and caches, short against a deploy.
const SLOW_START: Duration = Duration::from_secs(10);

/// Enough for a burst to find warm connections, bounded since every one costs a
/// descriptor at either end.
const MAX_IDLE: u32 = 256;

#[cfg(test)]
pub(crate) mod tests;
