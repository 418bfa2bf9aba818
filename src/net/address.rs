//! Where an endpoint is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IP address and port.
    Ip(SocketAddr),
    /// A Unix socket's path, or its abstract name behind `@`.
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
        let mut put = |digit| {
            text[end] = b'0' + digit;
            end += 1;
        };
        if octet >= 100 {
            put(octet / 100);
        }
        if octet >= 10 {
            put(octet / 10 % 10);
        }
        put(octet % 10);
        end += 1; // the dot is there
    }
    (text, end - 1)
}

/// The address of a client, if it has one: one that came by a Unix socket has none.
pub fn named(peer: SocketAddr) -> Option<IpAddr> {
    (peer != UNNAMED).then(|| peer.ip().to_canonical())
}

/// An address as people write it: IPv4 in its own form, not as part of IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Who comes by a Unix socket: nobody can have this address, as the other end of a connection.
pub const UNNAMED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
