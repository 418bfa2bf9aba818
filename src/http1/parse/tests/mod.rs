//! Heads as raw bytes, one table for each rule; the section stands at the table.

mod incremental;
mod line;
mod request;
mod response;
mod smuggling;

use crate::http1::{Limits, RequestError, RequestHead, parse_request};
use crate::message::Fields;

const LIMITS: Limits = Limits {
    head: 16 * 1024,
    fields: 100,
};

/// Fields as lines; their names in small letters.
fn lines(headers: &Fields) -> Vec<String> {
    let lines = headers.iter().map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let name = String::from_utf8_lossy(&name);
        format!("{name}: {}", value.as_bytes().escape_ascii())
    });
    lines.collect()
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
