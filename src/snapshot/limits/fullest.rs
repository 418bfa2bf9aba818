//! Who comes nearest to a limit on connections: for a person who looks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::table::{Bounds, Table};
use super::{Limits, Prefix};

/// How near those come to a limit on connections that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fullest {
    /// Connections that each may have.
    pub limit: u32,
    /// Connections of the one that has most.
    pub connections: u32,
    /// Which one that is; empty without any.
    pub who: String,
    /// How many have as many as they may.
    pub full: usize,
}

/// A key of a table, as an address or a network.
struct Written(u128, Prefix);

impl Limits {
    /// How near clients come to `per_client`, where that is set. Looks through all that are known.
    pub fn clients(&self) -> Option<Fullest> {
        fullest(&self.known.clients, self.clients?, self.client)
    }

    /// How near networks come to `per_subnet`, likewise.
    pub fn networks(&self) -> Option<Fullest> {
        fullest(&self.known.networks, self.networks?, self.network)
    }
}

fn fullest(table: &Table, bounds: Bounds, prefix: Prefix) -> Option<Fullest> {
    let limit = bounds.connections;
    if limit == u32::MAX {
        return None; // only their rate is limited
    }
    let (key, connections, full) = table.fullest(limit);
    Some(Fullest {
        limit,
        connections,
        who: if connections == 0 {
            String::new()
        } else {
            Written(key, prefix).to_string()
        },
        full,
    })
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, prefix) = self;
        let address = IpAddr::V6(Ipv6Addr::from_bits(*key)).to_canonical();
        match (address, prefix) {
            (IpAddr::V4(_), Prefix { v4: 32, .. }) | (IpAddr::V6(_), Prefix { v6: 128, .. }) => {
                write!(f, "{address}")
            }
            (IpAddr::V4(_), Prefix { v4, .. }) => write!(f, "{address}/{v4}"),
            (IpAddr::V6(_), Prefix { v6, .. }) => write!(f, "{address}/{v6}"),
        }
    }
}
