//! Framing: where the body behind a head ends.
//!
//! The rules of RFC 9112 §6.3 in one place, one file for each side. What the RFC lets a recipient
//! repair is refused here: whoever sends two lengths has a second reader in mind.

mod chunked;
mod declared;
mod decoder;
mod request;
mod response;

pub(super) use chunked::trailers_to_write;
pub(super) use declared::Declared;
pub use decoder::{Decoded, Decoder, FrameError, Trailers};
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

impl Framing {
    /// Whether bytes may follow the head.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// Why the framing fields of a head are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// `Content-Length` is not a decimal number below 2^64 (RFC 9112 §6.3).
    #[error("malformed Content-Length")]
    Length,
    /// `Content-Length` came twice, be it with the same value (RFC 9112 §6.3 lets us choose).
    #[error("repeated Content-Length")]
    RepeatedLength,
    /// `Transfer-Encoding` is not `chunked` and nothing else (RFC 9112 §6.3).
    #[error("Transfer-Encoding is not exactly chunked")]
    Coding,
    /// `chunked` is the last coding, but another that we do not know is below it (RFC 9112 §6.1).
    #[error("unknown transfer coding")]
    UnknownCoding,
    /// Both `Transfer-Encoding` and `Content-Length` (RFC 9112 §6.3).
    #[error("both Transfer-Encoding and Content-Length")]
    LengthAndCoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message, whose sender cannot mean it (RFC 9112 §6.1).
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    CodingInHttp10,
}

#[cfg(test)]
mod tests;
