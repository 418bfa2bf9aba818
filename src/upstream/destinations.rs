//! An upstream whose endpoints nobody lists: wherever connections were going that came here.
//!
//! There is nothing to pick, and nothing to learn for the next connection but what its destination
//! has in flight at this moment. So each destination gets a live state for as long as somebody is
//! connected there, and all of them share their series: a client must not be able to make series.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use tokio::time::Instant;

use super::removal::Removal;
use super::{PickError, Upstream};
use crate::config;
use crate::endpoint::{Endpoint, Live, Metrics, Names};
use crate::net::Address;

/// Where connections may go, and what is counted about all of them.
#[derive(Debug)]
pub(super) struct Destinations {
    allowed: Box<[IpNet]>,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Whether its endpoints are wherever connections were going.
    pub fn leads_to_destinations(&self) -> bool {
        self.destinations.is_some()
    }

    /// Whether connections may go there.
    pub fn allows(&self, destination: IpAddr) -> bool {
        let Some(destinations) = &self.destinations else {
            return false;
        };
        let mut allowed = destinations.allowed.iter();
        allowed.any(|network| network.contains(&destination))
    }

    /// The endpoint at a destination, if that is allowed. While somebody has it, it is the same for
    /// all who ask.
    pub fn destination(&self, destination: SocketAddr) -> Result<Arc<Endpoint>, PickError> {
        let Some(destinations) = &self.destinations else {
            return Err(PickError::NoEndpoints);
        };
        if !self.allows(destination.ip()) {
            return Err(PickError::NoEndpoints);
        }
        let address = Address::Ip(destination);
        let live = self.live.get_or_create(&self.name, &address);
        Ok(Arc::new(Endpoint {
            name: destination.to_string().into(),
            address,
            socket: self.socket.clone(),
            proxy_protocol: self.proxy_protocol,
            tls: None,
            protocol: self.protocol,
            http2: self.http2,
            zone: "".into(),
            weight: 1,
            backup: false,
            limits: self.limits,
            blame: Arc::clone(&self.blame),
            learns_latency: false, // nobody picks among them
            live,
            metrics: Arc::clone(&destinations.metrics),
            logged: OnceLock::new(),
        }))
    }

    /// Retires the destinations that somebody is connected to and that do not stay, and takes back
    /// those that do.
    pub(super) fn retire_destinations(
        &self,
        (removal, now): (Removal, Instant),
        stays: impl Fn(&Address, &Live) -> bool,
    ) {
        if !self.leads_to_destinations() {
            return;
        }
        for (address, live) in self.live.of(&self.name) {
            if !stays(&address, &live) {
                removal.retire(&live, now);
            } else if live.is_retired() {
                live.set_retired(false);
            }
        }
    }

    /// The same after a reload: what is allowed stays.
    pub(super) fn retire_what_is_not_allowed(&self, now: Instant) {
        self.retire_destinations((self.removal, now), |address, _| match address {
            Address::Ip(destination) => self.allows(destination.ip()),
            Address::Unix(_) => false,
        });
    }

    /// Takes over what was counted before.
    pub(super) fn make_destinations(
        &self,
        written: &config::Upstream,
        previous: Option<&Self>,
    ) -> Option<Destinations> {
        if !written.endpoints.are_destinations() {
            return None;
        }
        let names = Names {
            upstream: Arc::clone(&self.name),
            own_zone: Arc::clone(&self.own_zone),
            zone: "".into(),
            endpoint: ALL.into(),
        };
        let known = previous.and_then(|old| old.destinations.as_ref());
        let known = known.filter(|known| known.metrics.are_for(&names));
        let metrics = known.map(|known| {
            let renewed = known.metrics.renewed().map(Arc::new);
            renewed.unwrap_or_else(|| Arc::clone(&known.metrics))
        });
        let metrics = metrics.unwrap_or_else(|| {
            let flow = self.metrics.flow(&self.own_zone, &names.zone);
            Arc::new(Metrics::new(&self.registry, names, flow))
        });
        Some(Destinations {
            allowed: written.allowed.as_slice().into(),
            metrics,
        })
    }
}

/// What all destinations are called in metrics.
const ALL: &str = "original_dst";
