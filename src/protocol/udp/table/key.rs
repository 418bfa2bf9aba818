//! Whom a session belongs to, and the network that he is in.

use std::net::{IpAddr, SocketAddr};

use crate::net::Source;

/// Who a session belongs to: an address and port, and the address of ours that it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::protocol::udp) struct Key {
    peer: u128,
    local: u128,
    /// The port of the peer and, where an address means nothing without, the interface.
    port: u64,
}

/// The network of a client: a /24 of IPv4, a /56 of IPv6, which is what one household or one
/// machine in a data centre gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::protocol::udp) struct Network(u128);

impl Key {
    pub(in crate::protocol::udp) fn new(peer: SocketAddr, source: Option<Source>) -> Self {
        let interface = source.map_or(0, |source| source.interface);
        Self {
            peer: bits(peer.ip()),
            local: source.map_or(0, |source| bits(source.address)),
            port: u64::from(interface) << 16 | u64::from(peer.port()),
        }
    }
}

impl Network {
    pub(in crate::protocol::udp) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => bits(address.into()) >> 8 << 8,
            IpAddr::V6(address) => address.to_bits() >> 72 << 72,
        })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
