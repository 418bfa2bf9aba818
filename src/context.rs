//! Facts of a connection, learned once when it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::OwnConnections;

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
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
