//! What both sides read from field lines: `Connection`, `Content-Length`, `Upgrade`.

use bytes::Bytes;
use http::{HeaderValue, header};

use super::line;
use crate::http1::frame::Trailers;
use crate::message::{Fields, Place, Role, is_token};

/// What `Connection` says (RFC 9110 §7.6.1, RFC 9112 §9.3, §9.6).
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a member that is there or not, in any combination"
)]
pub(super) struct Connection<'bytes> {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// A member is not a token.
    pub(super) malformed: bool,
    /// There are too many members: which fields end here is not known.
    pub(super) too_many: bool,
    named: Vec<&'bytes [u8]>,
}

impl<'bytes> Connection<'bytes> {
    /// Takes out the lines that end here because they were named. What has a role of its own is
    /// not asked, but for these.
    pub(super) fn take_out_named(&self, fields: &mut Fields, also: &[Role]) {
        if !self.named.is_empty() {
            fields.remove_lines(|role, name| {
                (role == Role::EndToEnd || also.contains(&role)) && self.names(name)
            });
        }
    }

    fn names(&self, name: &[u8]) -> bool {
        self.named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name))
    }

    /// What becomes of trailers, which may be named like fields. `TE` is a field only.
    pub(super) fn trailers(&self) -> Trailers {
        let mut named = self.named.iter();
        if self.malformed || named.any(|name| !name.eq_ignore_ascii_case(b"te")) {
            Trailers::Dropped
        } else {
            Trailers::Kept
        }
    }

    /// Takes a `Connection` line.
    pub(super) fn line(&mut self, value: &'bytes [u8]) {
        // What nearly every line says, and nothing else.
        match value {
            b"keep-alive" => self.keep_alive = true,
            b"close" => self.close = true,
            _ => members(value).for_each(|member| self.member(member)),
        }
    }

    fn member(&mut self, member: &'bytes [u8]) {
        if member.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if member.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if member.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if !is_token(member) {
            self.malformed = true;
        } else if self.named.len() == MAX_NAMED {
            self.too_many = true;
        } else {
            self.named.push(member);
        }
    }
}

/// The members of a comma-separated list, without empty ones (RFC 9110 §5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Keeps a line of a block.
#[expect(
    clippy::inline_always,
    reason = "the compiler does not, at 400 instructions a request"
)]
#[inline(always)]
pub(super) fn keep(fields: &mut Fields, block: &[u8], place: Place, role: Role) {
    if place.is_plain {
        fields.keep(block, place, role);
    } else {
        fields.keep_rewritten(block, place, role);
    }
}

/// Keeps a `Content-Length` line that says `length`, without leading zeros.
pub(super) fn keep_length(fields: &mut Fields, block: &[u8], place: Place, length: u64) {
    let (_, value) = line(block, place);
    if value.len() > 1 && value.starts_with(b"0") {
        fields.take_text(block);
        fields.append(&header::CONTENT_LENGTH, &HeaderValue::from(length));
    } else {
        keep(fields, block, place, Role::ContentLength);
    }
}

/// Appends the protocols of an `Upgrade` line to those of earlier lines (RFC 9110 §7.8).
///
/// Protocols that would make the rest of the connection HTTP again are left out: the other side
/// would answer requests that nobody checked (RFC 9113 §3.1 has withdrawn `h2c` besides).
pub(super) fn add_protocols(protocols: &mut Vec<u8>, value: &[u8]) {
    for member in members(value) {
        let (name, version) = match member.iter().position(|&byte| byte == b'/') {
            Some(at) => (&member[..at], Some(&member[at + 1..])),
            None => (member, None),
        };
        let is_http = [&b"h2c"[..], b"h2", b"http"]
            .iter()
            .any(|http| name.eq_ignore_ascii_case(http));
        if is_http || !is_token(name) || !version.is_none_or(is_token) {
            continue;
        }
        if !protocols.is_empty() {
            protocols.extend_from_slice(b", ");
        }
        protocols.extend_from_slice(member);
    }
}

/// The value of `Upgrade` with the protocols that were added; `None` without any.
pub(super) fn protocols(protocols: Vec<u8>) -> Option<Box<HeaderValue>> {
    if protocols.is_empty() {
        return None;
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from(protocols)).ok()?;
    Some(Box::new(value))
}

/// Fields that one `Connection` may name. Two are usual; each costs a comparison for every field.
const MAX_NAMED: usize = 16;
