//! Heads as raw bytes, one table for each rule; the section stands at the table.

mod incremental;
mod line;
mod request;
mod response;
mod smuggling;

use http::HeaderMap;

use crate::http1::{Limits, RequestError, RequestHead, parse_request};

const LIMITS: Limits = Limits {
    head: 16 * 1024,
    fields: 100,
};

/// The fields of a map as lines.
fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.as_bytes().escape_ascii())
    };
    headers.iter().map(line).collect()
}

/// Reads a head that is well-formed.
fn read(text: impl AsRef<[u8]>) -> RequestHead {
    let text = text.as_ref();
    match parse_request(text, LIMITS) {
        Ok(Some(head)) => head,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

/// Reads a head that is refused.
fn refused(text: impl AsRef<[u8]>) -> RequestError {
    let text = text.as_ref();
    match parse_request(text, LIMITS) {
        Err(error) => error,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}
