//! Version 2: a block of bytes (§2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::read::{Progress, Unreadable};
use super::tlv::{self, Tlvs};
use super::{Addresses, Header, LONGEST, Origin, Transport, Version};

/// What addresses a block has.
#[derive(Debug, Clone, Copy)]
enum Form {
    None,
    V4(Transport),
    V6(Transport),
    Paths,
}

impl Form {
    /// As family and protocol say, in a block with so many bytes behind its head.
    fn of(family: u8, length: usize) -> Result<Self, Unreadable> {
        let form = match family {
            0x00 => Self::None,
            0x11 => Self::V4(Transport::Stream),
            0x12 => Self::V4(Transport::Datagram),
            0x21 => Self::V6(Transport::Stream),
            0x22 => Self::V6(Transport::Datagram),
            0x31 | 0x32 => Self::Paths,
            _ => return Err(Unreadable::Malformed("its family or protocol is unknown")),
        };
        if length < form.length() {
            return Err(Unreadable::Malformed("its addresses are cut off"));
        }
        Ok(form)
    }

    /// Bytes of its addresses.
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4(_) => 2 * (4 + 2),
            Self::V6(_) => 2 * (16 + 2),
            Self::Paths => 2 * PATH,
        }
    }

    /// For whom the connection is that these addresses are of.
    fn origin(self, addresses: &[u8]) -> Origin {
        match self {
            Self::None => Origin::Unknown,
            Self::Paths => Origin::Unix,
            Self::V4(transport) | Self::V6(transport) => {
                let (source, destination) = inet(addresses);
                Origin::Client(Addresses {
                    source,
                    destination,
                    transport,
                })
            }
        }
    }
}

/// Reads a block that begins with the signature.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, Unreadable> {
    let Some(head) = bytes.get(SIGNATURE.len()..HEAD) else {
        return Ok(Progress::More(HEAD - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let form = match head[0] {
        // All that stands behind is to be ignored, the family too.
        0x20 => None,
        0x21 => Some(Form::of(head[1], length)?),
        _ => return Err(Unreadable::Malformed("its version or command is unknown")),
    };
    let end = HEAD + length;
    if end > LONGEST {
        return Err(Unreadable::TooLong);
    }
    let Some(block) = bytes.get(..end) else {
        return Ok(Progress::More(end - bytes.len()));
    };
    let (origin, tlvs) = match form {
        None => (Origin::Proxy, Tlvs::default()),
        Some(form) => {
            let (addresses, tlvs) = block[HEAD..].split_at(form.length());
            (form.origin(addresses), tlv::read(block, tlvs)?)
        }
    };
    let header = Header {
        version: Version::V2,
        origin,
        tlvs,
    };
    Ok(Progress::Whole(header, end))
}

/// Both addresses, then both ports, in their family's length.
fn inet(bytes: &[u8]) -> (SocketAddr, SocketAddr) {
    let (addresses, ports) = bytes.split_at(bytes.len() - 4);
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let address = |bytes: &[u8]| {
        let short: Result<[u8; 4], _> = bytes.try_into();
        let long: Result<[u8; 16], _> = bytes.try_into();
        match (short, long) {
            (Ok(octets), _) => IpAddr::V4(Ipv4Addr::from(octets)),
            (_, Ok(octets)) => IpAddr::V6(Ipv6Addr::from(octets)),
            _ => unreachable!("the caller has parted either length in two"),
        }
    };
    (
        (address(source), port(0)).into(),
        (address(destination), port(2)).into(),
    )
}

/// Writes a block without TLVs.
pub(super) fn write(out: &mut Vec<u8>, origin: Origin) {
    out.extend_from_slice(SIGNATURE);
    let addresses = match origin {
        Origin::Proxy => {
            out.extend_from_slice(&[0x20, 0x00, 0, 0]);
            return;
        }
        Origin::Unknown => {
            out.extend_from_slice(&[0x21, 0x00, 0, 0]);
            return;
        }
        Origin::Unix => {
            // The paths are nobody's business; both ends without a name are all zeros.
            out.extend_from_slice(&[0x21, 0x31, 0, 216]);
            out.extend_from_slice(&[0; 2 * PATH]);
            return;
        }
        Origin::Client(addresses) => addresses,
    };
    let transport = match addresses.transport {
        Transport::Stream => 0x01,
        Transport::Datagram => 0x02,
    };
    let ports = [addresses.source.port(), addresses.destination.port()];
    let ips = (addresses.source.ip(), addresses.destination.ip());
    match ips {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[0x21, 0x10 | transport, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[0x21, 0x20 | transport, 0, 36]);
            for ip in [source, destination] {
                let octets = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                };
                out.extend_from_slice(&octets);
            }
        }
    }
    for port in ports {
        out.extend_from_slice(&port.to_be_bytes());
    }
}

/// Makes the length of a block what it is now.
pub(super) fn set_length(block: &mut [u8]) {
    let length = u16::try_from(block.len() - HEAD).expect("`LONGEST` bounds it");
    block[HEAD - 2..HEAD].copy_from_slice(&length.to_be_bytes());
}

/// What the block begins with: no protocol does, and a parser of lines stops at it.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length of the rest.
pub(super) const HEAD: usize = 16;

/// Bytes of a path, whose unused ones are 0.
const PATH: usize = 108;
