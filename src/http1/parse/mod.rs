//! Heads: bytes in, a checked head out.
//!
//! Both sides work alike. The first look reads on as if the head were all there, which it nearly
//! always is, and so finds its end while reading. Where it is not, only what is cheap is checked as
//! more comes: enough to refuse what will never become a head (another protocol, a lone LF, an
//! endless line) without waiting for its end. Then everything is read in one pass.

mod fields;
mod line;
mod request;
mod response;
mod target;

pub use request::{RequestError, RequestHead, parse_request, resume_request};
pub use response::{ResponseError, ResponseHead, parse_response, resume_response};

use memchr::{memchr, memchr_iter, memchr2_iter};

use crate::http1::lines::FieldError;
use crate::message::Place;

/// A start line of which only the end is known.
struct FirstLine<'bytes> {
    /// Without its CRLF.
    text: &'bytes [u8],
    /// Where the next line begins.
    next: usize,
}

/// Whether the end of a head may be in these bytes, the first `seen` of which were looked at
/// before.
fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(END.len() - 1).min(bytes.len());
    let mut line_ends = memchr_iter(b'\n', &bytes[from..]).map(|at| from + at + 1);
    line_ends.any(|end| bytes[..end].ends_with(END))
}

/// The name and the value of a line.
fn line(block: &[u8], place: Place) -> (&[u8], &[u8]) {
    (
        &block[place.name..place.name + place.name_length],
        &block[place.value..place.value + place.value_length],
    )
}

/// Refuses a CR or LF that stands alone in the bytes behind the first `seen`. The last byte may be
/// a CR whose LF is still to come.
fn check_line_ends(bytes: &[u8], seen: usize) -> Result<(), FieldError> {
    let from = seen.saturating_sub(1).min(bytes.len());
    for at in memchr2_iter(b'\r', b'\n', &bytes[from..]) {
        let at = from + at;
        let is_pair = if bytes[at] == b'\r' {
            bytes.get(at + 1).is_none_or(|&next| next == b'\n')
        } else {
            at > 0 && bytes[at - 1] == b'\r'
        };
        if !is_pair {
            return Err(FieldError::LineEnd);
        }
    }
    Ok(())
}

/// The first line; `None` while its end is not there.
fn first_line(bytes: &[u8]) -> Option<Result<FirstLine<'_>, FieldError>> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes[..end].strip_suffix(b"\r").map(|text| FirstLine {
        text,
        next: end + 1,
    });
    Some(line.ok_or(FieldError::LineEnd))
}

/// The end of the last line and the empty line.
const END: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests;
