//! What the framing fields of one head declare, collected line by line.

use super::FramingError;
use crate::message::is_token;

/// The framing fields that were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http1) struct Declared {
    /// The value of `Content-Length`.
    pub(in crate::http1) length: Option<u64>,
    /// Whether there was `Transfer-Encoding: chunked`.
    pub(in crate::http1) chunked: bool,
}

impl Declared {
    /// Takes a `Content-Length` line.
    pub(in crate::http1) fn content_length(&mut self, value: &[u8]) -> Result<u64, FramingError> {
        if self.length.is_some() {
            return Err(FramingError::RepeatedLength);
        }
        let length = decimal(value).ok_or(FramingError::Length)?;
        self.length = Some(length);
        Ok(length)
    }

    /// Takes a `Transfer-Encoding` line.
    pub(in crate::http1) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.chunked {
            return Err(FramingError::Coding);
        }
        if value.eq_ignore_ascii_case(CHUNKED) {
            self.chunked = true;
            return Ok(());
        }
        Err(if is_unknown_below_chunked(value) {
            FramingError::UnknownCoding
        } else {
            FramingError::Coding
        })
    }

    /// Refuses a head that declares its body's end twice, or in a way of a later version.
    pub(super) fn check(self, version: http::Version) -> Result<(), FramingError> {
        if self.chunked && version == http::Version::HTTP_10 {
            return Err(FramingError::CodingInHttp10);
        }
        if self.chunked && self.length.is_some() {
            return Err(FramingError::LengthAndCoding);
        }
        Ok(())
    }
}

/// A number of digits only: no sign, no space, no list (RFC 9110 §8.6).
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a list of codings ends with `chunked` and names others before it. Such a message is
/// framed well, so the honest answer is that we do not know the coding.
fn is_unknown_below_chunked(value: &[u8]) -> bool {
    let mut codings = value.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    if !codings
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case(CHUNKED))
    {
        return false;
    }
    let mut others = 0;
    codings.all(|coding| {
        others += 1;
        let name = coding
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        is_token(name) && !name.eq_ignore_ascii_case(CHUNKED)
    }) && others > 0
}

const CHUNKED: &[u8] = b"chunked";
