//! Where the body of a request ends.

use http::Version;

use super::{Declared, Framing, FramingError};

/// The framing of a request (RFC 9112 §6.3): its fields alone decide, whatever the method, so that
/// the body of a GET never becomes the next request.
pub(in crate::http1) fn request_framing(
    version: Version,
    declared: Declared,
) -> Result<Framing, FramingError> {
    declared.check(version)?;
    Ok(match declared.length {
        Some(length) => Framing::Length(length),
        None if declared.chunked => Framing::Chunked,
        None => Framing::None,
    })
}
