//! Header blocks out, without a dynamic table.

use http::StatusCode;

use super::{integer, static_table};

/// What has to be said once on a connection, before the first field.
#[derive(Debug, Default)]
pub struct Encoder {
    has_begun: bool,
}

/// A pseudo field of a request (RFC 9113 §8.3.1, RFC 8441 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http2) enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// `:protocol`
    Protocol,
}

impl Encoder {
    /// Begins a block. The first one says that our table has no bytes: so the other end need not
    /// keep one, and no lower limit of its can be below what ours has (RFC 9113 §4.3.1).
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.has_begun {
            self.has_begun = true;
            integer::write(out, 0x20, 5, 0);
        }
    }
}

/// Appends a field. Its name may be in any case and is written small.
///
/// Whoever wrote it may have forbidden to put it into a table, which holds for all on its way
/// (RFC 7541 §6.2.3) and is not remembered here: so it is forbidden for all that could be secret,
/// which is all but a few names (§7.1.3). It costs nothing, as we use no table ourselves.
pub(in crate::http2) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let Some(index) = static_table::index_of(name) else {
        out.push(NEVER_INDEXED);
        integer::write(out, 0, 7, name.len());
        let start = out.len();
        out.extend_from_slice(name);
        out[start..].make_ascii_lowercase();
        write_string(out, value);
        return;
    };
    if let Some((_, known)) = static_table::field(index)
        && known == value
    {
        return integer::write(out, INDEXED, 7, index);
    }
    let pattern = if OPEN & 1 << index == 0 {
        NEVER_INDEXED
    } else {
        WITHOUT_INDEXING
    };
    write_named(out, pattern, index, value);
}

/// Appends a pseudo field of a request. A path may have a secret in it.
pub(in crate::http2) fn write_pseudo(out: &mut Vec<u8>, pseudo: Pseudo, value: &[u8]) {
    let (index, known): (usize, Option<usize>) = match (pseudo, value) {
        (Pseudo::Authority, _) => (1, None),
        (Pseudo::Method, b"GET") => (2, Some(2)),
        (Pseudo::Method, b"POST") => (2, Some(3)),
        (Pseudo::Method, _) => (2, None),
        (Pseudo::Path, b"/") => (4, Some(4)),
        (Pseudo::Path, _) => (4, None),
        (Pseudo::Scheme, b"http") => (6, Some(6)),
        (Pseudo::Scheme, b"https") => (6, Some(7)),
        (Pseudo::Scheme, _) => (6, None),
        (Pseudo::Protocol, _) => return write_field(out, b":protocol", value),
    };
    match known {
        Some(known) => integer::write(out, INDEXED, 7, known),
        None if pseudo == Pseudo::Path => write_named(out, NEVER_INDEXED, index, value),
        None => write_named(out, WITHOUT_INDEXING, index, value),
    }
}

/// Appends `:status`.
pub(in crate::http2) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return write_named(out, WITHOUT_INDEXING, 8, status.as_str().as_bytes()),
    };
    integer::write(out, INDEXED, 7, index);
}

/// A literal whose name is that of a static entry.
fn write_named(out: &mut Vec<u8>, pattern: u8, index: usize, value: &[u8]) {
    integer::write(out, pattern, 4, index);
    write_string(out, value);
}

/// As it is: to code it would cost more than the few bytes that it saves.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// What a field that is in a table begins with (RFC 7541 §6.1).
const INDEXED: u8 = 0x80;

/// What a literal begins with that is put into no table of the other end (RFC 7541 §6.2.2).
const WITHOUT_INDEXING: u8 = 0;

/// What a literal begins with that nobody may put into a table (RFC 7541 §6.2.3).
const NEVER_INDEXED: u8 = 0x10;

/// Entries of the static table whose values anybody may guess: `accept` and its like,
/// `access-control-allow-origin`, `age`, `allow`, `cache-control`, `content-encoding`,
/// `content-language`, `content-length`, `content-type`, `date`, `expires`, `last-modified`,
/// `retry-after`, `server`, `strict-transport-security`, `user-agent`, `vary`, `via`.
const OPEN: u64 = {
    let names = [
        15, 16, 17, 18, 19, 20, 21, 22, 24, 26, 27, 28, 31, 33, 36, 44, 53, 54, 56, 58, 59, 60,
    ];
    let mut open = 0;
    let mut at = 0;
    while at < names.len() {
        open |= 1 << names[at];
        at += 1;
    }
    open
};
