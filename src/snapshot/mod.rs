//! One immutable world: everything that a request needs to know, built wholly before it is used.
//!
//! Problem: a proxy that changes its tables in place serves some requests by half of the old
//! configuration and half of the new, and cannot take back a change that fails in the middle. So a
//! configuration becomes one [`Snapshot`]; workers reach it through one [`Handle`]; a reload builds
//! the next one, and all that can fail comes before the swap. What must outlive a configuration
//! (health, in-flight counts, learned times, counters, sockets) is not in it but shared with the
//! one before, by key.

mod action;
mod build;
mod bulkhead;
mod by_name;
mod clients;
mod datagrams;
mod expiries;
mod failure;
mod handle;
mod http2;
mod inquiry;
mod late;
mod lazy;
mod limits;
mod listener;
mod method;
mod metrics;
mod probe;
mod proxied;
mod relays;
mod retries;
mod sessions;
mod shed;
mod spoken;
mod tcp;
mod timeouts;
mod tls;
mod tunnels;
mod unnamed;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

pub use action::{Action, Choice, Route, Split};
pub use build::{Ingredients, build};
pub use bulkhead::{Bulkhead, Within};
pub use by_name::{ByName, HelloResult, Otherwise, SessionRoute, SessionTarget};
pub use clients::client_rule;
pub use datagrams::{DatagramMetrics, Dropped, UdpListener};
pub use failure::BuildError;
pub use handle::{Cache, Follower, Handle};
pub use http2::{Http2, Http2Metrics};
pub use inquiry::{Inquiry, InquiryError};
pub use late::RouteSeries;
pub use limits::{Fullest, Limits, Place, Refusal, who_takes_turns};
pub use listener::{HttpListener, Intercept, Kind, Listener, TcpListener};
pub use metrics::{ListenerMetrics, RouteMetrics, UnderWay};
pub use probe::{Decision, Routing, TestFailure};
pub use proxied::{HeaderResult, ProxyHeaders};
pub use retries::{Hedges, Retries};
pub use sessions::{Denial, Direction, SessionMetrics, SessionResult};
pub use shed::Shed;
pub use spoken::{ConnectionGuard, ConnectionProtocol, OpenConnections};
pub use timeouts::{CallTimeouts, ClientTimeouts, TunnelTimeouts};
pub use tls::Termination;
pub use tunnels::TunnelMetrics;
pub use unnamed::effective_upstreams;

use self::bulkhead::Counts;
use crate::config::Config;
use crate::context::ConnectionFacts;
use crate::net::{Bind, Sockets};
use crate::upstream::Upstream;
use expiries::Expiries;

/// Upstreams by name.
pub type Upstreams = BTreeMap<Arc<str>, Arc<Upstream>>;

/// One immutable, fully built configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number: 1 at the start, one more with each applied reload.
    pub generation: u64,
    /// SHA-256 of the configuration's text, in hexadecimal: tells whether instances differ.
    pub sha256: Arc<str>,
    /// What was written.
    pub config: Arc<Config>,
    /// The zone that this instance stands in; empty if it was not told.
    pub zone: Arc<str>,
    /// In the order of their names.
    pub listeners: Vec<Arc<Listener>>,
    /// Sockets of datagrams that may still be open, also those of listeners that are gone: what
    /// comes by them is to be read while anybody has them.
    pub lingering: Vec<Weak<Sockets>>,
    /// The addresses that the names of endpoints stood for when it was made.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// By name. An unnamed upstream (`to = […]`) has the name `listener.<name>`.
    pub upstreams: Upstreams,
    expiries: Expiries,
    /// Of requests under way, by route: also those that were counted before.
    counts: Counts,
    /// Where the admin API is served over TCP.
    admin: Option<Bind>,
    /// Whether requests are logged.
    pub access_log: bool,
    /// Whether queries are part of the access log.
    pub log_query: bool,
}

impl Snapshot {
    /// Whether a connection to this address would come to this instance: to a listener, or to the
    /// admin API.
    pub fn accepts_at(&self, address: SocketAddr) -> bool {
        let mut listeners = self.listeners.iter().filter(|one| one.udp().is_none());
        let takes = |bound: Option<Bind>| bound.is_some_and(|bound| bound.takes(address));
        listeners.any(|one| takes(one.sockets.bound)) || takes(self.admin)
    }

    /// The listener that serves a connection: the one at its address, whatever its name is now,
    /// since the name may meanwhile belong to a listener for others; or, if the address was given
    /// up, the one that still has the name.
    pub fn listener_of(&self, facts: &ConnectionFacts) -> Option<&Arc<Listener>> {
        // Datagrams may have the same address.
        let same_address = |listener: &&Arc<Listener>| {
            let sockets = &listener.sockets;
            let same = sockets.is_where(&facts.sockets);
            same && listener.udp().is_none()
        };
        let at_address = self.listeners.iter().find(same_address);
        at_address.or_else(|| self.listener(&facts.listener))
    }

    /// A listener by its name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        let position = self
            .listeners
            .binary_search_by(|listener| (*listener.name).cmp(name))
            .ok()?;
        self.listeners.get(position)
    }

    /// Before a scrape: sets the series of routes and of certificates in order.
    fn settle_series(&self) {
        self.expiries.tell(&self.upstreams);
        for listener in &self.listeners {
            let Kind::Http(listener) = &listener.kind else {
                continue;
            };
            for route in listener.all_routes() {
                let exists = |upstream: &str| self.upstreams.contains_key(upstream);
                route.metrics.settle(exists);
            }
        }
    }
}

#[cfg(test)]
mod tests;
