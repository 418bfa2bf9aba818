//! The PROXY protocol: how a proxy tells the next one who its client is.
//!
//! Problem: behind a proxy every connection comes from the proxy, so addresses in logs, in rules
//! and in what endpoints are told are those of the machine in front. HAProxy's answer, which nearly
//! everybody speaks, is a header before all other bytes of a connection: a line of text (version 1)
//! or a block of bytes (version 2), which may hold more (TLVs: types, lengths and values). Who
//! believes one from anybody lets anybody choose his address, and who looks whether there is one
//! where it may be missing can be fooled too; so what is read here is strict, and whom to believe
//! is decided by the caller.
//!
//! The source is HAProxy's `doc/proxy-protocol.txt`, by whose sections comments cite.
//!
//! Use: [`read`] says of the bytes so far whether they are a header, or how many more it needs at
//! least; it never asks for bytes that are not the header's. [`Introduction`] writes one. All of it
//! is pure.

use std::net::SocketAddr;

use crate::config::ProxyProtocolVersion;

mod crc32c;
mod introduction;
mod read;
mod tlv;
mod v1;
mod v2;

pub use introduction::{Introduction, TlsFacts, Told};
pub use read::{Progress, Unreadable, read};
pub use tlv::{Kind, Tlv, Tlvs};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text (§2.1).
    V1,
    /// A block of bytes (§2.2).
    V2,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How it was written.
    pub version: Version,
    /// For whom the connection is.
    pub origin: Origin,
    /// What else it says, without what was about the header itself.
    pub tlvs: Tlvs,
}

/// For whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// For the proxy itself, whose health check it may be (`LOCAL`, §2.2).
    Proxy,
    /// For a client about whose address nothing can be said (`UNKNOWN`, §2.1; `AF_UNSPEC`, §2.2).
    Unknown,
    /// For a client that came by a Unix socket, and so has no address.
    Unix,
    /// For a client with an address.
    Client(Addresses),
}

/// Where a client is, and to where it has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it has connected to. Of the same family.
    pub destination: SocketAddr,
    /// By what.
    pub transport: Transport,
}

/// What carries a client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A connection, of TCP.
    Stream,
    /// Datagrams, of UDP.
    Datagram,
}

impl Addresses {
    /// With both of one family: where one end is IPv4 and the other IPv6, IPv4 is written as a part
    /// of that.
    pub fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        let (mut source, mut destination) = (source, destination);
        if source.is_ipv4() != destination.is_ipv4() {
            (source, destination) = (mapped(source), mapped(destination));
        }
        Self {
            source,
            destination,
            transport,
        }
    }
}

impl From<ProxyProtocolVersion> for Version {
    fn from(written: ProxyProtocolVersion) -> Self {
        match written {
            ProxyProtocolVersion::V1 => Self::V1,
            ProxyProtocolVersion::V2 => Self::V2,
        }
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        SocketAddr::V6(_) => address,
    }
}

/// The longest header that is taken or written, in bytes, and so the most that is held for one.
///
/// Version 1 never has more than 107 (§2.1). The length of version 2 may say 64 KiB, which nobody
/// needs: addresses have 216 bytes at most, a name 255, and the largest thing that is sent is a
/// client's certificate, 1 to 2 KiB. nginx takes 4096 bytes.
pub const LONGEST: usize = 4096;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
