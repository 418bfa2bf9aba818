//! `X-Request-Id`: one name for a request in every log it touches.
//!
//! A new one is 32 lower hexadecimal digits, not all zero, so that it can serve as the trace id of
//! W3C Trace Context as well. It is a name, not a secret: it comes from a fast generator.

use super::{X_REQUEST_ID, X_REQUEST_ID_NAME};
use crate::message::{Fields, Value};

/// A request's id: visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Text);

/// In place where we made it, which is nearly always.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Text {
    Made([u8; 32]),
    Kept(Box<[u8]>),
}

impl RequestId {
    /// As the value of a field.
    pub fn value(&self) -> Value<'_> {
        Value::of_ascii(self.bytes())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// A new one.
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let mut digits = [0; 32];
        let number = random.u128(1..).to_be_bytes();
        for (digits, bytes) in digits
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(number.as_chunks().0)
        {
            *digits = hexadecimal(u32::from_be_bytes(*bytes));
        }
        Self(Text::Made(digits))
    }

    /// An id that came with a request; `None` if it is not well-formed.
    pub fn of(value: Value<'_>) -> Option<Self> {
        is_well_formed(value).then(|| Self(Text::Kept(value.as_bytes().into())))
    }

    /// What a proxy in front calls a connection, or what it opened that for; `None` likewise.
    pub fn given(id: &[u8]) -> Option<Self> {
        Self::of(Value::new(id)?)
    }

    /// As bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Made(digits) => digits,
            Text::Kept(text) => text,
        }
    }
}

/// Keeps or makes the id of a request. `given`: what a proxy in front calls it.
pub(super) fn set(
    headers: &mut Fields,
    peer_is_trusted: bool,
    given: Option<&[u8]>,
    random: &mut fastrand::Rng,
) -> RequestId {
    if peer_is_trusted {
        let mut lines = headers.get_all(X_REQUEST_ID.as_str());
        if let (Some(id), None) = (lines.next(), lines.next())
            && let Some(id) = RequestId::of(id)
        {
            return id;
        }
    }
    let given = given.and_then(RequestId::given);
    let id = given.unwrap_or_else(|| RequestId::random(random));
    headers.insert_prepared(&X_REQUEST_ID_NAME, id.value());
    id
}

/// Short enough for a column of a log, and nothing that a log or a shell would trip over.
fn is_well_formed(id: Value<'_>) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// The digits of a number, all at once: every request has an id of four such numbers.
fn hexadecimal(number: u32) -> [u8; 8] {
    // Each half of what is there moves a half away from the other, until each digit has a byte.
    let digits = u64::from(number);
    let digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    let digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each byte whose digit is a letter.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let gap = u64::from(b'a' - b'9' - 1);
    (digits + 0x3030_3030_3030_3030 + letters * gap).to_be_bytes()
}

/// Room for two UUIDs and some words; what is longer is not an id.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::hexadecimal;

    proptest! {
        #[test]
        fn digits_are_those_that_are_printed(number: u32) {
            prop_assert_eq!(hexadecimal(number).to_vec(), format!("{number:08x}").into_bytes());
        }
    }
}
