//! Facts of a connection, learned once when it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::{OwnConnections, Sockets};
use crate::proxy_protocol::Tlvs;

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side: the client that a PROXY header was about, where one came, or
    /// [`UNNAMED`](crate::net::UNNAMED).
    pub peer: SocketAddr,
    /// Our side: what it came by.
    pub sockets: Arc<Sockets>,
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
