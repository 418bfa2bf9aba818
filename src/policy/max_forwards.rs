//! `Max-Forwards`: how far an OPTIONS or a TRACE goes (RFC 9110 §7.6.2).
//!
//! For every other method the field means nothing and is left alone.

use http::header::MAX_FORWARDS;
use http::{HeaderValue, Method};

use crate::message::Fields;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxForwards {
    /// It goes on.
    Forward,
    /// It must go no further: the answer is ours.
    Answer,
    /// The field is not one number. Refused with 400, since guessing could forward
    /// what must not be.
    Malformed,
}

/// Counts a request's `Max-Forwards` down.
pub fn max_forwards(method: &Method, headers: &mut Fields) -> MaxForwards {
    if *method != Method::OPTIONS && *method != Method::TRACE {
        return MaxForwards::Forward;
    }
    let mut lines = headers.get_all(MAX_FORWARDS.as_str());
    let Some(value) = lines.next() else {
        return MaxForwards::Forward;
    };
    let several = lines.next().is_some();
    let count = parse(value.as_bytes());
    drop(lines);
    match count {
        None => MaxForwards::Malformed,
        Some(_) if several => MaxForwards::Malformed,
        Some(0) => MaxForwards::Answer,
        Some(count) => {
            headers.insert(&MAX_FORWARDS, &HeaderValue::from(count - 1));
            MaxForwards::Forward
        }
    }
}

/// A number; one that is too large to hold counts as the largest, as the RFC has it.
fn parse(value: &[u8]) -> Option<u32> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}
