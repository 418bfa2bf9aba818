//! Control messages of datagrams: where one arrived, and how many came as one.
//!
//! A message is a header (its length, its level and its type) with data behind it, each aligned to
//! a word (cmsg(3)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a datagram arrived, and so where its answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address of ours.
    pub address: IpAddr,
    /// The number of the interface, for addresses that mean nothing without it; else 0.
    pub interface: u32,
}

/// A control message: its level, its type and its data.
type Message<'a> = (i32, i32, &'a [u8]);

/// Room for the control messages of one datagram.
#[derive(Debug, Clone, Copy)]
#[repr(align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; ROOM],
}

/// What the kernel said of a datagram.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) source: Option<Source>,
    /// The size of each of several that came as one; 0 for one.
    pub(super) segment: u16,
}

/// What the kernel knows of an error (`struct sock_extended_err`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) errno: i32,
    /// Who said so: this machine, or ICMP of either version.
    pub(super) origin: u8,
    /// Type and code of ICMP.
    pub(super) kind: u8,
    pub(super) code: u8,
}

impl Control {
    /// Nothing is said.
    pub(super) const EMPTY: Self = Self { bytes: [0; ROOM] };

    /// Writes what is to be said of a datagram; how many bytes that takes.
    pub(super) fn write(&mut self, said: Said, ipv6: bool) -> usize {
        let mut at = 0;
        if let Some(source) = said.source {
            at = match (source.address, ipv6) {
                (IpAddr::V4(address), false) => {
                    let mut info = [0; 12]; // in_pktinfo: interface, our address, destination
                    info[4..8].copy_from_slice(&address.octets());
                    self.append(at, (libc::SOL_IP, libc::IP_PKTINFO), &info)
                }
                (address, _) => {
                    let address = match address {
                        IpAddr::V4(address) => address.to_ipv6_mapped(),
                        IpAddr::V6(address) => address,
                    };
                    let mut info = [0; 20]; // in6_pktinfo: our address, interface
                    info[..16].copy_from_slice(&address.octets());
                    info[16..].copy_from_slice(&source.interface.to_ne_bytes());
                    self.append(at, (libc::SOL_IPV6, libc::IPV6_PKTINFO), &info)
                }
            };
        }
        if said.segment > 0 {
            let segment = said.segment.to_ne_bytes();
            at = self.append(at, (libc::SOL_UDP, libc::UDP_SEGMENT), &segment);
        }
        at
    }

    fn append(&mut self, at: usize, (level, kind): (i32, i32), data: &[u8]) -> usize {
        let length = HEADER + data.len();
        self.bytes[at..at + WORD].copy_from_slice(&length.to_ne_bytes());
        self.bytes[at + WORD..at + WORD + 4].copy_from_slice(&level.to_ne_bytes());
        self.bytes[at + WORD + 4..at + HEADER].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[at + HEADER..at + length].copy_from_slice(data);
        at + length.next_multiple_of(WORD)
    }

    /// Reads what the kernel wrote, which has this length.
    pub(super) fn read(&self, length: usize) -> Said {
        let mut said = Said::default();
        let mut rest = self.bytes.get(..length).unwrap_or_default();
        while let Some((message, behind)) = next(rest) {
            let (level, kind, data) = message;
            if (level, kind) == (libc::SOL_IP, libc::IP_PKTINFO) {
                let address = data.get(4..8).and_then(|bytes| bytes.first_chunk());
                said.source = address.map(|bytes: &[u8; 4]| Source {
                    address: Ipv4Addr::from(*bytes).into(),
                    interface: 0,
                });
            } else if (level, kind) == (libc::SOL_IPV6, libc::IPV6_PKTINFO) {
                said.source = of_ipv6(data);
            } else if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
                let segment = data.first_chunk().copied().map(i32::from_ne_bytes);
                said.segment = segment
                    .and_then(|size| u16::try_from(size).ok())
                    .unwrap_or(0);
            }
            rest = behind;
        }
        said
    }

    /// Reads what the kernel wrote of an error, which has this length.
    pub(super) fn report(&self, length: usize) -> Option<Report> {
        let mut rest = self.bytes.get(..length)?;
        while let Some(((level, kind, data), behind)) = next(rest) {
            let level_and_kind = (level, kind);
            if level_and_kind == (libc::SOL_IP, libc::IP_RECVERR)
                || level_and_kind == (libc::SOL_IPV6, libc::IPV6_RECVERR)
            {
                let (errno, said) = data.split_first_chunk::<4>()?;
                let [origin, kind, code] = *said.first_chunk()?;
                let errno = i32::from_ne_bytes(*errno);
                return Some(Report {
                    errno,
                    origin,
                    kind,
                    code,
                });
            }
            rest = behind;
        }
        None
    }
}

/// The first message, and what is behind it.
fn next(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (length, behind) = bytes.split_first_chunk::<WORD>()?;
    let (level, behind) = behind.split_first_chunk::<4>()?;
    let (kind, _) = behind.split_first_chunk::<4>()?;
    let length = usize::from_ne_bytes(*length);
    let data = bytes.get(HEADER..length)?;
    let end = length.next_multiple_of(WORD).min(bytes.len());
    let message = (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data);
    Some((message, &bytes[end..]))
}

fn of_ipv6(data: &[u8]) -> Option<Source> {
    let (address, interface) = data.split_first_chunk::<16>()?;
    let address = Ipv6Addr::from(*address);
    let interface = u32::from_ne_bytes(*interface.first_chunk()?);
    Some(Source {
        // Elsewhere the way back is the routing table's to choose.
        interface: if address.is_unicast_link_local() {
            interface
        } else {
            0
        },
        address: address.to_canonical(),
    })
}

/// Lengths of control messages are of this size, and they are aligned to it.
const WORD: usize = size_of::<usize>();
/// Before the data of a message: its length, its level, its type.
const HEADER: usize = WORD + 8;
/// An address and a size, both at their largest (40 + 24); or an error, and who said so (60).
const ROOM: usize = 64;
