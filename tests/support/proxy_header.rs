//! Headers of the PROXY protocol, written and read by code of the tests' own, from HAProxy's
//! `proxy-protocol.txt`.

use std::net::{IpAddr, SocketAddr};

use super::endpoint::Peer;

/// What a header said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Said {
    /// The line, of version 1.
    pub(crate) line: Option<String>,
    /// Version and command, family and protocol, of version 2.
    pub(crate) kind: [u8; 2],
    /// Who is connected to what; empty if it did not say.
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Types and values, of version 2.
    pub(crate) tlvs: Vec<(u8, Vec<u8>)>,
    /// Bytes of the header.
    pub(crate) length: usize,
}

impl Said {
    /// Reads the header that some bytes begin with.
    ///
    /// # Panics
    /// When they begin with none, or with a wrong one.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"PROXY ") {
            return Self::of_line(bytes);
        }
        assert!(
            bytes.starts_with(SIGNATURE),
            "no header: {}",
            bytes.escape_ascii()
        );
        let kind = [bytes[12], bytes[13]];
        let length = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        let block = &bytes[..length];
        let mut said = Self {
            kind,
            length,
            ..Self::default()
        };
        let address = |at: usize, size: usize| -> IpAddr {
            match size {
                4 => <[u8; 4]>::try_from(&block[at..at + 4])
                    .expect("four")
                    .into(),
                _ => <[u8; 16]>::try_from(&block[at..at + 16])
                    .expect("sixteen")
                    .into(),
            }
        };
        let size = match kind[1] >> 4 {
            // None, or two paths, which are nobody's business.
            0 | 3 => 0,
            1 => 4,
            2 => 16,
            // Two paths, which are nobody's business.
            3 => 0,
            other => panic!("family {other}"),
        };
        let mut at = if kind[1] >> 4 == 3 { 16 + 2 * 108 } else { 16 };
        if size > 0 {
            let ports = at + 2 * size;
            let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
            said.source = SocketAddr::new(address(at, size), port(ports)).to_string();
            said.destination =
                SocketAddr::new(address(at + size, size), port(ports + 2)).to_string();
            at = ports + 4;
        }
        while at < length {
            let end = at + 3 + usize::from(u16::from_be_bytes([block[at + 1], block[at + 2]]));
            said.tlvs.push((block[at], block[at + 3..end].to_vec()));
            if block[at] == CRC32C {
                let mut zeroed = block.to_vec();
                zeroed[at + 3..end].fill(0);
                assert_eq!(
                    block[at + 3..end],
                    crc32c(&zeroed).to_be_bytes(),
                    "the checksum"
                );
            }
            at = end;
        }
        said
    }

    fn of_line(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .expect("a line");
        let line = std::str::from_utf8(&bytes[..end]).expect("text").to_owned();
        let mut said = Self {
            length: end + 2,
            ..Self::default()
        };
        if let [_, "TCP4" | "TCP6", from, to, from_port, to_port] =
            line.split(' ').collect::<Vec<_>>()[..]
        {
            let socket = |ip: &str, port: &str| {
                SocketAddr::new(
                    ip.parse().expect("an address"),
                    port.parse().expect("a port"),
                )
            };
            said.source = socket(from, from_port).to_string();
            said.destination = socket(to, to_port).to_string();
        }
        said.line = Some(line);
        said
    }

    /// The value of the only TLV of a type.
    pub(crate) fn tlv(&self, kind: u8) -> Option<&[u8]> {
        let mut all = self.tlvs.iter().filter(|(one, _)| *one == kind);
        let first = all.next();
        assert!(all.next().is_none(), "type {kind} stands twice");
        first.map(|(_, value)| &value[..])
    }
}

/// Takes the header off a connection to an endpoint; `None` if it ends before.
pub(crate) fn take(peer: &mut Peer) -> Option<Said> {
    let mut bytes = peer.bytes(1);
    if bytes == b"P" {
        while !bytes.is_empty() && !bytes.ends_with(b"\r\n") {
            let next = peer.bytes(1);
            if next.is_empty() {
                return None;
            }
            bytes.extend(next);
        }
    } else {
        bytes.extend(peer.bytes(15));
        if bytes.len() == 16 {
            let length = u16::from_be_bytes([bytes[14], bytes[15]]);
            bytes.extend(peer.bytes(length.into()));
        }
    }
    (!bytes.is_empty()).then(|| Said::parse(&bytes))
}

/// A line of version 1.
pub(crate) fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) = (
        source.parse().expect("an address"),
        destination.parse().expect("an address"),
    );
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from_ip, to_ip) = (from.ip(), to.ip());
    format!(
        "PROXY {family} {from_ip} {to_ip} {} {}\r\n",
        from.port(),
        to.port()
    )
    .into_bytes()
}

/// A block of version 2 with these TLVs.
pub(crate) fn v2(source: &str, destination: &str, tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let addresses: [SocketAddr; 2] =
        [source, destination].map(|text| text.parse().expect("an address"));
    let mut rest = Vec::new();
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) => rest.extend(ip.octets()),
            IpAddr::V6(ip) => rest.extend(ip.octets()),
        }
    }
    for address in addresses {
        rest.extend(address.port().to_be_bytes());
    }
    for (kind, value) in tlvs {
        rest.push(*kind);
        rest.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        rest.extend(*value);
    }
    let family = if addresses[0].is_ipv4() { 0x11 } else { 0x21 };
    block([0x21, family], &rest)
}

/// A block with this version and command, family and protocol, and rest.
pub(crate) fn block(kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &kind, &length, rest].concat()
}

/// Bit by bit (RFC 4960 appendix B).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut rest = u32::MAX;
    for byte in bytes {
        rest ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = rest & 1 == 1;
            rest >>= 1;
            if is_odd {
                rest ^= 0x82f6_3b78;
            }
        }
    }
    !rest
}

/// What version 2 begins with.
pub(crate) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The types.
pub(crate) const ALPN: u8 = 0x01;
pub(crate) const AUTHORITY: u8 = 0x02;
pub(crate) const CRC32C: u8 = 0x03;
pub(crate) const UNIQUE_ID: u8 = 0x05;
pub(crate) const SSL: u8 = 0x20;
