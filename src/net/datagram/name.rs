//! Socket addresses as the kernel reads and writes them: plain bytes, in one place.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr_in` or a `sockaddr_in6`, which is the longer one.
pub(super) type Name = [u8; 28];

/// A name of nothing.
pub(super) const NOBODY: Name = [0; 28];

/// Writes an address; how many bytes it has.
pub(super) fn encode(address: SocketAddr, name: &mut Name) -> usize {
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            name[..2].copy_from_slice(&family(libc::AF_INET).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            16
        }
        SocketAddr::V6(v6) => {
            name[..2].copy_from_slice(&family(libc::AF_INET6).to_ne_bytes());
            name[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..].copy_from_slice(&v6.scope_id().to_ne_bytes());
            28
        }
    }
}

/// Reads an address, of which the kernel wrote so many bytes.
pub(super) fn decode(name: &Name, length: usize) -> Option<SocketAddr> {
    let [a, b, high, low, rest @ ..] = name;
    let written = i32::from(u16::from_ne_bytes([*a, *b]));
    let port = u16::from_be_bytes([*high, *low]);
    if written == libc::AF_INET && length >= 16 {
        let address: [u8; 4] = rest.first_chunk().copied()?;
        return Some((Ipv4Addr::from(address), port).into());
    }
    if written == libc::AF_INET6 && length >= 28 {
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (address, scope) = rest.split_first_chunk::<16>()?;
        let scope = scope.first_chunk::<4>()?;
        let (flow, scope) = (u32::from_ne_bytes(*flow), u32::from_ne_bytes(*scope));
        let address = Ipv6Addr::from(*address);
        return Some(SocketAddrV6::new(address, port, flow, scope).into());
    }
    None
}

/// Families are small numbers.
fn family(number: i32) -> u16 {
    u16::try_from(number).unwrap_or_default()
}
