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
mod change;
mod check;
mod destinations;
mod members;
mod metrics;
mod pick;
mod queue;
mod removal;
mod standing;
mod table;
mod world;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::time::Instant;

pub use budget::RetryBudget;
pub use change::HealthChange;
pub use check::{GrpcProbe, HealthCheck, HealthCheckError, HttpProbe, Probe, Statuses, UdpProbe};
pub use members::{ResolvedEndpoint, entries};
pub use pick::{Haste, Pick, PickError};
pub use queue::{Patience, Waited};
pub use standing::Standing;
pub use world::World;

use crate::config;
use crate::endpoint::{Endpoint, Health, Http2, Limits, LiveStates, Protocol, Queue};
use crate::net::Connecting;
use crate::proxy_protocol;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::tls::Client;
use destinations::Destinations;
use metrics::UpstreamMetrics;
use removal::Removal;
use table::{Rules, Table};

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
    /// Where connections may go, if not to endpoints that are listed.
    destinations: Option<Destinations>,
    /// Who waits for an endpoint with room; shared by all builds.
    queue: Arc<Queue>,
    table: ArcSwap<Table>,
    /// Held while a new table is made, so that two changes at once both count.
    changing: Mutex<()>,
    budget: Arc<RetryBudget>,
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
        };
        let mut upstream = Self {
            name: name.into(),
            own_zone: own_zone.into(),
            max_idle_per_endpoint: written.max_idle_per_endpoint.unwrap_or(MAX_IDLE),
            rules,
            limits: Limits {
                max_in_flight: written.max_in_flight_per_endpoint.unwrap_or(u32::MAX),
                max_connections: written.max_connections_per_endpoint.unwrap_or(u32::MAX),
            },
            check,
            tls,
            socket: Connecting::new(&written.socket).map(Arc::new),
            proxy_protocol: written.proxy_protocol.map(Into::into),
            protocol: Protocol::new(written),
            http2: Http2::new(written),
            removal: Removal::new(written),
            destinations: None,
            queue: world.live.queue(name),
            table: ArcSwap::from_pointee(Table::new(rules, Arc::from([]), 0)),
            changing: Mutex::default(),
            budget: previous.map_or_else(Arc::default, |old| Arc::clone(&old.budget)),
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

    /// Whether there is another endpoint that may do now, and has room.
    pub fn has_others(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let table = self.table.load();
        let mut others = table.endpoints().iter();
        others.any(|other| {
            other.live.id() != endpoint.live.id()
                && self.health_of(other) != Health::Unhealthy
                && !other.live.is_backing_off(now)
                && other.live.in_flight() < other.most_in_flight().now(&other.live)
        })
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

    /// Bounds retries to a share of the requests; shared by all builds of this upstream.
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// How its endpoints are spoken to in TLS, if they are.
    pub fn tls(&self) -> Option<&Arc<Client>> {
        self.tls.as_ref()
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
        self.metrics
            .observe(table.endpoints(), table.standing(), |endpoint| {
                self.health_of(endpoint)
            });
        self.metrics.forget_flows(&self.own_zone, table.endpoints());
    }
}

/// Below half healthy, the rest would probably drown in the load of all.
const PANIC_THRESHOLD: f64 = 0.5;

/// Enough for a burst to find warm connections, bounded since every one costs a
/// descriptor at either end.
const MAX_IDLE: u32 = 256;

#[cfg(test)]
mod tests;
