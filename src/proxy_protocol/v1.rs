//! Version 1: a line of text (§2.1).

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::read::{Progress, Unreadable};
use super::{Addresses, Header, Origin, Tlvs, Transport, Version};

/// Reads a line that begins with the signature.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, Unreadable> {
    let most = bytes.len().min(LONGEST);
    let line = &bytes[..most];
    let Some(end) = memchr::memchr2(b'\r', b'\n', line) else {
        // Two more are missing at least.
        if line.len() + 2 > LONGEST {
            return Err(Unreadable::TooLong);
        }
        return Ok(Progress::More(2.max(SHORTEST.saturating_sub(line.len()))));
    };
    if line[end] == b'\n' {
        return Err(Unreadable::Malformed("its line ends without CR"));
    }
    if end + 2 > LONGEST {
        return Err(Unreadable::TooLong);
    }
    match line.get(end + 1) {
        None => Ok(Progress::More(1)),
        Some(b'\n') => {
            let header = Header {
                version: Version::V1,
                origin: origin(&line[SIGNATURE.len()..end])?,
                tlvs: Tlvs::default(),
            };
            Ok(Progress::Whole(header, end + 2))
        }
        Some(_) => Err(Unreadable::Malformed("a CR stands in its line")),
    }
}

/// What stands behind the signature.
fn origin(text: &[u8]) -> Result<Origin, Unreadable> {
    let malformed = Unreadable::Malformed("its line is none that may be");
    let text = std::str::from_utf8(text).map_err(|_| malformed)?;
    let (family, rest) = text.split_once(' ').unwrap_or((text, ""));
    let addresses = match family {
        // Whatever comes behind is to be ignored.
        "UNKNOWN" => return Ok(Origin::Unknown),
        "TCP4" => addresses(rest, |text| Some(text.parse::<Ipv4Addr>().ok()?.into())),
        "TCP6" => addresses(rest, |text| Some(text.parse::<Ipv6Addr>().ok()?.into())),
        _ => None,
    };
    addresses.map(Origin::Client).ok_or(malformed)
}

fn addresses(text: &str, address: impl Fn(&str) -> Option<IpAddr>) -> Option<Addresses> {
    let mut parts = text.split(' ');
    let mut next = || parts.next();
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    next().is_none().then_some(Addresses {
        source: (source, source_port).into(),
        destination: (destination, destination_port).into(),
        transport: Transport::Stream,
    })
}

/// A number in the one way in which it may be written: without a sign and without zeros before it.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    if digits && !has_zeros {
        text.parse().ok()
    } else {
        None
    }
}

/// Writes a line. Only a client that came by TCP can be told of.
pub(super) fn write(out: &mut Vec<u8>, origin: Origin) {
    let Origin::Client(Addresses {
        source,
        destination,
        transport: Transport::Stream,
    }) = origin
    else {
        out.extend_from_slice(UNKNOWN);
        return;
    };
    let family = match source {
        SocketAddr::V4(_) => "TCP4",
        SocketAddr::V6(_) => "TCP6",
    };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    let written = write!(out, "PROXY {family} {from} {to} {from_port} {to_port}\r\n");
    written.expect("memory takes what is written to it");
}

/// What the line begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The shortest line, which says nothing.
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// Bytes of the shortest line.
pub(super) const SHORTEST: usize = UNKNOWN.len();

/// Bytes of the longest line, its end included: §2.1 counts them.
const LONGEST: usize = 107;
