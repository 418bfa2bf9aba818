//! Facts of a connection, learned once when it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::Sockets;

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side; [`UNNAMED`](crate::net::UNNAMED) for one that came by a Unix socket.
    pub peer: SocketAddr,
    /// Our side: what it came by.
    pub sockets: Arc<Sockets>,
}
