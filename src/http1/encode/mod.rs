//! Facts out: heads, and the framing of bodies.
//!
//! Framing and connection fields are written from the facts that the caller decided, never from the
//! field map, so a filter cannot frame a message in a second way. Names and values come as types
//! that hold no CR, LF or NUL: a message cannot be split by its content.

mod request;
mod response;

pub use request::{RequestOptions, encode_request};
pub use response::{ResponseOptions, encode_interim, encode_response};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http1::frame::trailers_to_write;
use crate::message::Value;

/// Appends what stands before `length` bytes of payload. A chunk of 0 bytes would end the body, so
/// there is none.
pub fn encode_chunk_head(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        out.push(HEXADECIMAL[length >> (digit * 4) & 0xf]);
    }
    out.extend_from_slice(CRLF);
}

/// Appends what stands behind the payload of a chunk.
pub fn encode_chunk_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(CRLF);
}

/// Appends the end of a chunked body with its trailers, without those that have no place there
/// (RFC 9112 §7.1.2).
pub fn encode_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flat_map(trailers_to_write) {
        write_field(out, name, value);
    }
    out.extend_from_slice(CRLF);
}

/// Appends a field as it is.
fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    debug_assert!(
        !value
            .as_bytes()
            .iter()
            .any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
        "a HeaderValue holds no line end"
    );
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(CRLF);
}

/// Whether a value is this number, written plainly.
fn is_number(value: Value<'_>, number: u64) -> bool {
    value.as_bytes() == itoa::Buffer::new().format(number).as_bytes()
}

/// Appends `Content-Length`.
fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(CRLF);
}

/// Appends `Upgrade` to a `Connection: upgrade` that was written.
fn write_upgrade(out: &mut Vec<u8>, protocols: &HeaderValue) {
    out.extend_from_slice(b"Upgrade: ");
    out.extend_from_slice(protocols.as_bytes());
    out.extend_from_slice(CRLF);
}

const CRLF: &[u8] = b"\r\n";

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests;
