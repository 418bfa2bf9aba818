//! Facts of a connection, learned once when it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
}
