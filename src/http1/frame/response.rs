//! Where the body of a response ends, read and written.

use http::{Method, StatusCode, Version};

use super::{Declared, Framing, FramingError};

/// How a response is framed towards its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body follows, whatever the fields say: the answer to HEAD, 1xx, 204, 304. Its
    /// `Content-Length` tells of the content that is not sent and stays, but not on 1xx and 204.
    Bodiless,
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow; an HTTP/1.0 client cannot read them.
    Chunked,
    /// Bytes follow until the connection closes.
    UntilClose,
}

impl ResponseFraming {
    /// The framing towards a client of `version` of the answer to `method`, whose content has
    /// `length` bytes or an unknown number (RFC 9112 §6.3, read from the sender's side).
    pub fn choose(
        method: &Method,
        version: Version,
        status: StatusCode,
        length: Option<u64>,
    ) -> Self {
        match length {
            _ if is_bodiless(method, status) => Self::Bodiless,
            Some(length) => Self::Length(length),
            None if version == Version::HTTP_11 => Self::Chunked,
            None => Self::UntilClose,
        }
    }
}

/// The framing of a response to `method` (RFC 9112 §6.3).
pub(in crate::http1) fn response_framing(
    method: &Method,
    version: Version,
    status: StatusCode,
    declared: Declared,
) -> Result<Framing, FramingError> {
    declared.check(version)?;
    Ok(match declared.length {
        _ if is_bodiless(method, status) => Framing::None,
        Some(length) => Framing::Length(length),
        None if declared.chunked => Framing::Chunked,
        None => Framing::UntilClose,
    })
}

/// Whether responses of this status never have content, nor fields that frame it
/// (RFC 9112 §6.1, RFC 9110 §8.6).
pub(in crate::http1) fn has_no_content(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// Whether no body follows the head, whatever its fields say.
fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    has_no_content(status)
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD
        || (*method == Method::CONNECT && status.is_success())
}
