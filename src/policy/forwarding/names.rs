//! Which fields tell an application who asks.

use crate::message::{CLIENT_CERT, CLIENT_CERT_CHAIN, name_tells_of_certificate};

/// What a field's name means for trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Stranger,
    /// It tells who asks, and is believed from trusted peers.
    Family,
    /// It is spelt otherwise but reaches some applications under the name of one that is believed.
    Twin,
}

/// The standing of a name, in any case.
pub(super) fn standing(name: &[u8]) -> Standing {
    let is_family = begins_with(name, FORWARDED_FAMILY)
        && !name.get(11).is_some_and(u8::is_ascii_alphabetic)
        || FAMILY.iter().any(|member| is_spelt(name, member))
        || name_tells_of_certificate(name);
    let is_twin = name
        .iter()
        .any(|&byte| byte != b'-' && !byte.is_ascii_alphanumeric());
    match (is_family, is_twin) {
        (true, false) => Standing::Family,
        (true, true) => Standing::Twin,
        (false, true) if is_spelt(name, REQUEST_ID) => Standing::Twin,
        (false, _) => Standing::Stranger,
    }
}

/// Whether a name is the other one, if every byte that is neither letter nor digit is a dash:
/// applications turn one or all of them into `_`.
fn is_spelt(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && begins_with(name, other)
}

fn begins_with(name: &[u8], start: &[u8]) -> bool {
    let same = |(&byte, &other): (&u8, &u8)| {
        byte.to_ascii_lowercase() == other || other == b'-' && !byte.is_ascii_alphanumeric()
    };
    name.len() >= start.len() && name.iter().zip(start).all(same)
}

/// The letters that names of any standing begin with, but for those of [`CERTIFICATES`]: most names
/// are out at that.
pub(super) const INITIALS: &[u8] = b"ftx";

/// Those that begin with a letter that nearly every request has a field with.
pub(super) const CERTIFICATES: [&str; 2] = [CLIENT_CERT, CLIENT_CERT_CHAIN];

/// `X-Forwarded` and all that begins with it and a separator: `-For`, `-Proto`, `-Port`, `-Ssl`, …
const FORWARDED_FAMILY: &[u8] = b"x-forwarded";

/// Those outside that family that frameworks and CDNs take the client's address from.
const FAMILY: [&[u8]; 5] = [
    b"forwarded",
    b"true-client-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-real-ip",
];

/// Not of the family, since it tells nobody's address, but ours to set.
const REQUEST_ID: &[u8] = b"x-request-id";
