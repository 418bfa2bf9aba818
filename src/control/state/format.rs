//! The bytes of a state: a line that says what follows, and JSON.
//!
//! The line holds the version of the format, the length and the SHA-256 of the rest. What was cut
//! off, what was written over, and what is no state at all is so known before anything of it is
//! read; what has the right digest was written by this program as a whole.

use sha2::{Digest, Sha256};

use super::State;

/// Why bytes are no state that can be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Nothing that this program writes.
    #[error("it is no such file of this program")]
    Foreign,
    /// Written by a program that writes it otherwise.
    #[error("it has version {0} of the format, and this program reads version {VERSION}")]
    Version(String),
    /// Not what was written.
    #[error("it is torn: {found} of {expected} bytes are there")]
    Torn {
        /// Bytes that are there.
        found: usize,
        /// Bytes that were written.
        expected: usize,
    },
    /// As long as what was written, but something else.
    #[error("it is damaged: its digest is another one")]
    Damaged,
    /// Whole, and not understood.
    #[error("it is not understood: {0}")]
    Content(String),
}

impl State {
    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // It fails for keys that are no strings and values that refuse; there are none.
        let body = serde_json::to_vec(self).unwrap_or_default();
        sealed(NAME, &body)
    }

    /// The state of bytes, or why there is none. Takes any bytes without panicking.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let body = unsealed(NAME, bytes)?;
        serde_json::from_slice(body).map_err(|error| Unreadable::Content(error.to_string()))
    }
}

/// A body with the line that says what it is.
pub(in crate::control) fn sealed(name: &str, body: &[u8]) -> Vec<u8> {
    let line = format!("{name} {VERSION} {} {}\n", body.len(), digest(body));
    let mut bytes = line.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The body of these bytes, which is as it was written.
pub(in crate::control) fn unsealed<'a>(
    name: &str,
    bytes: &'a [u8],
) -> Result<&'a [u8], Unreadable> {
    let line = first_line(bytes).ok_or(Unreadable::Foreign)?;
    let body = &bytes[line.len() + 1..];
    let mut words = line.split(' ');
    if words.next() != Some(name) {
        return Err(Unreadable::Foreign);
    }
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Err(Unreadable::Version(version.escape_debug().to_string()));
    }
    let length = words.next().and_then(|length| length.parse().ok());
    let expected: usize = length.ok_or(Unreadable::Foreign)?;
    if body.len() != expected {
        let found = body.len();
        return Err(Unreadable::Torn { found, expected });
    }
    if words.next() != Some(&*digest(body)) || words.next().is_some() {
        return Err(Unreadable::Damaged);
    }
    Ok(body)
}

/// The first line, without its end. No line of ours is longer.
pub(super) fn first_line(bytes: &[u8]) -> Option<&str> {
    let start = &bytes[..bytes.len().min(LONGEST_LINE)];
    let end = memchr::memchr(b'\n', start)?;
    std::str::from_utf8(&start[..end]).ok()
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

const NAME: &str = "evenkeel-state";

/// Goes up when older programs could no longer make sense of what is written.
const VERSION: &str = "1";

const LONGEST_LINE: usize = 256;
