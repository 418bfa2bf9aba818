//! Which fields tell an application who asks.

use crate::message::{
    ATTEMPT, CLIENT_CERT, CLIENT_CERT_CHAIN, REQUEST_ID, name_is_spelt, name_tells_who_asks,
};

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
    let is_twin = name
        .iter()
        .any(|&byte| byte != b'-' && !byte.is_ascii_alphanumeric());
    match (name_tells_who_asks(name), is_twin) {
        (true, false) => Standing::Family,
        (true, true) => Standing::Twin,
        // Not of the family, since it tells nobody's address.
        (false, true) if name_is_spelt(name, REQUEST_ID) => Standing::Twin,
        (false, _) => Standing::Stranger,
    }
}

/// The letters that names of any standing begin with, but for those of [`LOOKED_FOR`]: most names
/// are out at that.
pub(super) const INITIALS: &[u8] = b"ftx";

/// Those that begin with a letter that nearly every request has a field with; and one that next to
/// none has, for which no other letter need be looked at.
pub(super) const LOOKED_FOR: [&str; 3] = [CLIENT_CERT, CLIENT_CERT_CHAIN, ATTEMPT];
