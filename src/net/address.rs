//! Where an endpoint is.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IP address and port.
    Ip(SocketAddr),
    /// A Unix socket's path.
    Unix(Arc<PathBuf>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address as text, and how long it is. The general means take ten times as long, on every
/// request.
pub fn dotted(address: Ipv4Addr) -> ([u8; 15], usize) {
    let mut text = [b'.'; 15];
    let mut end = 0;
    for octet in address.octets() {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(octet).as_bytes();
        text[end..end + digits.len()].copy_from_slice(digits);
        end += digits.len() + 1;
    }
    (text, end - 1)
}
