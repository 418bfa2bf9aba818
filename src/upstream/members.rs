//! From resolved addresses to endpoints that know what was learned about them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::Upstream;
use super::table::Table;
use crate::config::{self, Balance, EndpointEntry};
use crate::endpoint::{Endpoint, Limits, Metrics, Names};
use crate::net::Address;
use crate::tls::Peer;

/// An endpoint whose address is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedEndpoint {
    /// Where it is.
    pub address: Address,
    /// What metrics and logs call it.
    pub name: Arc<str>,
    /// The host that it was written with, without a port; none for a Unix socket.
    pub host: Option<Arc<str>>,
    /// Its failure domain; empty for none.
    pub zone: Arc<str>,
    /// Share of the traffic; 0 counts as 1.
    pub weight: u32,
    /// Whether it is used only when no other is healthy.
    pub backup: bool,
    /// Requests in flight here, if other than the upstream's.
    pub max_in_flight: Option<u32>,
    /// Connections here, if other than the upstream's.
    pub max_connections: Option<u32>,
}

impl ResolvedEndpoint {
    /// One of which no more is said than where it is, which is what it is called by.
    pub fn at(address: Address) -> Self {
        Self {
            name: address.to_string().into(),
            address,
            host: None,
            zone: "".into(),
            weight: 1,
            backup: false,
            max_in_flight: None,
            max_connections: None,
        }
    }
}

impl Upstream {
    /// Endpoints with the live states and the series that they had before. Of two with the same
    /// address the first counts.
    pub(super) fn make_endpoints(
        &self,
        resolved: Vec<ResolvedEndpoint>,
        before: Option<&Table>,
    ) -> Arc<[Arc<Endpoint>]> {
        let known: HashMap<u64, &Arc<Endpoint>> = before
            .into_iter()
            .flat_map(|table| table.endpoints().iter())
            .map(|endpoint| (endpoint.live.id(), endpoint))
            .collect();
        let mut seen = HashSet::with_capacity(resolved.len());
        let mut endpoints = Vec::with_capacity(resolved.len());
        for endpoint in resolved {
            let live = self.live.get_or_create(&self.name, &endpoint.address);
            if !seen.insert(live.id()) {
                continue;
            }
            let known = known.get(&live.id()).copied();
            endpoints.push(Arc::new(Endpoint {
                metrics: self.series_of(&endpoint, known),
                tls: self.peer_of(&endpoint, known),
                socket: self.socket.clone(),
                proxy_protocol: self.proxy_protocol,
                protocol: self.protocol,
                http2: self.http2,
                blame: Arc::clone(&self.blame),
                learns_latency: self.rules.balance == Balance::PeakEwma,
                address: endpoint.address,
                name: endpoint.name,
                zone: endpoint.zone,
                weight: endpoint.weight.max(1),
                backup: endpoint.backup,
                limits: Limits {
                    max_in_flight: endpoint.max_in_flight.unwrap_or(self.limits.max_in_flight),
                    max_together: self.limits.max_together,
                    max_connections: endpoint
                        .max_connections
                        .unwrap_or(self.limits.max_connections),
                },
                live,
                logged: OnceLock::new(),
            }));
        }
        endpoints.into()
    }

    /// How an endpoint is spoken to in TLS. What is remembered of its sessions stays.
    fn peer_of(
        &self,
        endpoint: &ResolvedEndpoint,
        known: Option<&Arc<Endpoint>>,
    ) -> Option<Arc<Peer>> {
        let peer = Peer::new(self.tls.as_ref()?, endpoint.host.as_deref());
        let known = known.and_then(|known| known.tls.as_ref());
        let known = known.filter(|known| known.is_like(&peer));
        Some(known.map_or_else(|| Arc::new(peer), Arc::clone))
    }

    fn series_of(
        &self,
        endpoint: &ResolvedEndpoint,
        known: Option<&Arc<Endpoint>>,
    ) -> Arc<Metrics> {
        let names = Names {
            upstream: Arc::clone(&self.name),
            own_zone: Arc::clone(&self.own_zone),
            zone: Arc::clone(&endpoint.zone),
            endpoint: Arc::clone(&endpoint.name),
        };
        if let Some(known) = known
            && known.metrics.are_for(&names)
        {
            let renewed = known.metrics.renewed().map(Arc::new);
            return renewed.unwrap_or_else(|| Arc::clone(&known.metrics));
        }
        let flow = self.metrics.flow(&self.own_zone, &endpoint.zone);
        Arc::new(Metrics::new(&self.registry, names, flow))
    }
}

/// The endpoints that were written, each with its zone (empty for none), in the order of the file.
pub fn entries(written: &config::Upstream) -> Vec<(&str, &EndpointEntry)> {
    let without_zone = written.endpoints.listed().iter().map(|entry| ("", entry));
    let with_zone = written
        .zone
        .iter()
        .flat_map(|(zone, members)| members.endpoints.iter().map(|entry| (zone.as_str(), entry)));
    without_zone.chain(with_zone).collect()
}
