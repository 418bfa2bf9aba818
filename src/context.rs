//! Facts of a connection, learned once when it is accepted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::net::OwnConnections;
use crate::proxy_protocol::Tlvs;

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side: the client that a PROXY header was about, where one came, or
    /// [`NO_ADDRESS`].
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    /// What else a PROXY header said.
    pub proxied: Option<Arc<Proxied>>,
    /// Of a listener to which a firewall brings connections. In a box: few have it.
    pub brought: Option<Box<Brought>>,
}

/// A connection that a firewall brought here.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Where it was going, if the kernel knows.
    pub destination: Option<SocketAddr>,
    /// Those that may be our own.
    pub own: Arc<OwnConnections>,
}

/// What a proxy in front said of a connection that it made for a client.
#[derive(Debug)]
pub struct Proxied {
    /// What the client had connected to, if that was said.
    pub destination: Option<SocketAddr>,
    /// What else it said.
    pub tlvs: Tlvs,
}

/// A client that has no address: it came to the proxy in front by a Unix socket. Nobody is at this
/// one, so no rule about addresses is met by it but those that are met by all.
pub const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
