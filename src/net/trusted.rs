//! Peers whose word about others counts.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::UNNAMED;
use crate::config::TrustedProxy;

/// Who is believed: by network, and whether those are who come by a Unix socket.
#[derive(Debug, Clone)]
pub struct TrustedPeers {
    networks: Box<[IpNet]>,
    local: bool,
}

impl TrustedPeers {
    /// Those that were written.
    pub fn new(written: &[TrustedProxy]) -> Self {
        let networks = written.iter().filter_map(|proxy| match proxy {
            TrustedProxy::Network(network) => Some(*network),
            TrustedProxy::Unix => None,
        });
        Self {
            networks: networks.collect(),
            local: written.contains(&TrustedProxy::Unix),
        }
    }

    /// Whether one of this address is, or one that has none ([`UNNAMED`]).
    pub fn trusts(&self, address: IpAddr) -> bool {
        // A listener for both families sees IPv4 peers as ::ffff:192.0.2.1.
        let address = address.to_canonical();
        if address == UNNAMED.ip() {
            return self.local;
        }
        let mut networks = self.networks.iter();
        networks.any(|network| network.contains(&address))
    }
}
