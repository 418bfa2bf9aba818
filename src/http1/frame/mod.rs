//! Framing: where the body behind a head ends.
//!
//! The rules of RFC 9112 §6.3 in one place, one file for each side. What the RFC lets a recipient
//! repair is refused here: whoever sends two lengths has a second reader in mind.

mod chunked;
mod declared;
mod decoder;
mod request;
mod response;

use std::fmt;

pub(super) use chunked::trailers_to_write;
pub(super) use declared::Declared;
pub use decoder::{Decoded, Decoder, FrameError};
pub(super) use request::request_framing;
pub use response::ResponseFraming;
pub(super) use response::{has_no_content, response_framing};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body comes in chunks, with trailers perhaps.
    Chunked,
    /// The body lasts until the connection closes; only a response can.
    UntilClose,
}

/// Why the framing fields of a head are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingError {
    /// `Content-Length` is not a decimal number below 2^64 (RFC 9112 §6.3).
    Length,
    /// `Content-Length` came twice, be it with the same value (RFC 9112 §6.3 lets us choose).
    RepeatedLength,
    /// `Transfer-Encoding` is not `chunked` and nothing else (RFC 9112 §6.3).
    Coding,
    /// `chunked` is the last coding, but another that we do not know is below it (RFC 9112 §6.1).
    UnknownCoding,
    /// Both `Transfer-Encoding` and `Content-Length` (RFC 9112 §6.3).
    LengthAndCoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message, whose sender cannot mean it (RFC 9112 §6.1).
    CodingInHttp10,
}

impl FramingError {
    /// One phrase for the log.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Length => "malformed Content-Length",
            Self::RepeatedLength => "repeated Content-Length",
            Self::Coding => "Transfer-Encoding is not exactly chunked",
            Self::UnknownCoding => "unknown transfer coding",
            Self::LengthAndCoding => "both Transfer-Encoding and Content-Length",
            Self::CodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 message",
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for FramingError {}

#[cfg(test)]
mod tests;
