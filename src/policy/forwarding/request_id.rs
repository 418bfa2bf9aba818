//! `X-Request-Id`: one name for a request in every log it touches.
//!
//! A new one is 32 lower hexadecimal digits, not all zero, so that it can serve as the trace id of
//! W3C Trace Context as well. It is a name, not a secret: it comes from a fast generator.

use bytes::Bytes;
use http::HeaderValue;

use super::X_REQUEST_ID;
use crate::message::{Fields, Value};

/// Keeps or makes the id of a request.
pub(super) fn set(
    headers: &mut Fields,
    peer_is_trusted: bool,
    random: &mut fastrand::Rng,
) -> HeaderValue {
    if peer_is_trusted {
        let mut lines = headers.get_all(X_REQUEST_ID.as_str());
        if let (Some(id), None) = (lines.next(), lines.next())
            && is_well_formed(id)
            && let Some(id) = id.to_header_value()
        {
            return id;
        }
    }
    let id = new(random);
    headers.insert(&X_REQUEST_ID, &id);
    id
}

/// Short enough for a column of a log, and nothing that a log or a shell would trip over.
fn is_well_formed(id: Value<'_>) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new(random: &mut fastrand::Rng) -> HeaderValue {
    let mut digits = [0; 32];
    for (pair, byte) in digits
        .chunks_exact_mut(2)
        .zip(random.u128(1..).to_be_bytes())
    {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&digits))
        .expect("hexadecimal digits are allowed in a field")
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Room for two UUIDs and some words; what is longer is not an id.
const LONGEST: usize = 128;
