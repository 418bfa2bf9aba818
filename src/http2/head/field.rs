//! What the fields of all heads have in common: how many there may be, and what they may say.

use http::StatusCode;

use super::HeadError;
use crate::message::{Fields, LONGEST_NAME, Role, Value, is_token_byte};

/// How much of a head may still come.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    lines: usize,
}

impl Room {
    /// Room for so many bytes and lines.
    pub(super) fn new(bytes: usize, lines: usize) -> Self {
        Self { bytes, lines }
    }

    /// Takes the bytes that HTTP/1.1 would write: name, colon, space, value, CRLF. A pseudo field
    /// counts as if it were a line.
    pub(super) fn take_bytes(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        let bytes = name.len() + value.len() + BESIDES;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(HeadError::TooLarge)?;
        Ok(())
    }

    pub(super) fn take_line(&mut self) -> Result<(), HeadError> {
        self.lines = self.lines.checked_sub(1).ok_or(HeadError::TooLarge)?;
        Ok(())
    }
}

/// A value that no other reader of the message can take for more than one (RFC 9113 §8.2.1).
pub(super) fn value(bytes: &[u8]) -> Result<Value<'_>, HeadError> {
    Value::of_field(bytes).ok_or(HeadError::Malformed(
        "a value has a control byte or white space around it",
    ))
}

/// A name is a token without large letters (RFC 9113 §8.2.1).
pub(super) fn check_name(name: &[u8]) -> Result<(), HeadError> {
    if name.len() > LONGEST_NAME {
        return Err(HeadError::TooLarge);
    }
    if !name.is_empty() && name.iter().all(|&byte| NAME_BYTES[usize::from(byte)]) {
        return Ok(());
    }
    Err(HeadError::Malformed(
        "a name is not a token of small letters",
    ))
}

/// Reads `Content-Length`, which may stand once: a number of digits only (RFC 9110 §8.6).
pub(super) fn read_length(length: &mut Option<u64>, value: Value<'_>) -> Result<u64, HeadError> {
    if length.is_some() {
        return Err(HeadError::Malformed("more than one content-length"));
    }
    let number = decimal(value.as_bytes());
    *length = number;
    number.ok_or(HeadError::Malformed("malformed content-length"))
}

/// Keeps a length that was read, written plainly.
pub(super) fn keep_length(fields: &mut Fields, name: &[u8], length: u64) {
    let mut digits = itoa::Buffer::new();
    let plain = Value::of_ascii(digits.format(length).as_bytes());
    fields.append_decoded(name, plain, Role::ContentLength);
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a response of this status has neither content nor a word about its length
/// (RFC 9110 §8.6).
pub(super) fn has_no_content(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// Fields of a connection have no place in HTTP/2 (RFC 9113 §8.2.2).
pub(super) const OF_A_CONNECTION: HeadError =
    HeadError::Malformed("a field that belongs to a connection of HTTP/1.1");

/// Colon, space, CRLF.
const BESIDES: usize = 4;

/// Bytes of a token, but for large letters.
const NAME_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        bytes[byte as usize] = is_token_byte(byte) && !byte.is_ascii_uppercase();
        byte += 1;
    }
    bytes
};
