//! Tells a header by how it begins, and reads it.

use super::{Header, v1, v2};

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a header, or of what may be one: so many more bytes belong to it at least.
    More(usize),
    /// A header, and how many of the bytes are its own.
    Whole(Header, usize),
}

/// Why bytes are no header that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They begin like none.
    #[error("there is no PROXY header")]
    Absent,
    /// They begin like one, and go on as none may.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// It would be longer than [`LONGEST`](super::LONGEST).
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads the header that a connection begins with. What is said of the first bytes does not depend
/// on how many there are behind them.
pub fn read(bytes: &[u8]) -> Result<Progress, Unreadable> {
    if begins(bytes, v2::SIGNATURE) {
        if bytes.len() < v2::SIGNATURE.len() {
            let shortest = if bytes.is_empty() {
                v1::SHORTEST
            } else {
                v2::HEAD
            };
            return Ok(Progress::More(shortest - bytes.len()));
        }
        return v2::read(bytes);
    }
    if begins(bytes, v1::SIGNATURE) {
        if bytes.len() < v1::SIGNATURE.len() {
            return Ok(Progress::More(v1::SHORTEST - bytes.len()));
        }
        return v1::read(bytes);
    }
    Err(Unreadable::Absent)
}

/// Whether these are a signature's first bytes, or it and more.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}
