//! What both sides read from field lines: values as slices of the head, `Connection`, `Upgrade`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Header;

use crate::http1::known::header_name;
use crate::http1::lines::{FieldError, is_token, offset};
use crate::http1::names::{Role, role};

/// The bytes of a head, as they were received and as they are kept: copied once, shared by the
/// target and all values.
pub(super) struct Source<'bytes> {
    received: &'bytes [u8],
    kept: Bytes,
}

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
    /// A member is not a token, or there are too many.
    pub(super) malformed: bool,
    named: Vec<&'bytes [u8]>,
}

impl<'bytes> Source<'bytes> {
    pub(super) fn new(received: &'bytes [u8]) -> Self {
        Self {
            received,
            // `Bytes` of its own making would look at each clone whether it is shared yet.
            kept: Bytes::from_owner(Box::<[u8]>::from(received)),
        }
    }

    /// The kept bytes of a part of the received ones.
    #[inline]
    pub(super) fn keep(&self, part: &[u8]) -> Bytes {
        if part.is_empty() {
            return Bytes::new();
        }
        let at = offset(self.received, part);
        self.kept.slice(at..at + part.len())
    }

    /// The value of a line.
    #[inline]
    pub(super) fn value(&self, line: &Header<'_>) -> Result<HeaderValue, FieldError> {
        HeaderValue::from_maybe_shared(self.keep(line.value)).map_err(|_| FieldError::Value)
    }

    /// The value of a `Content-Length` line that says `length`, without leading zeros.
    pub(super) fn length(&self, line: &Header<'_>, length: u64) -> Result<HeaderValue, FieldError> {
        if line.value.len() > 1 && line.value.starts_with(b"0") {
            Ok(HeaderValue::from(length))
        } else {
            self.value(line)
        }
    }

    /// Appends a line to a map, as it is.
    #[inline]
    pub(super) fn append(
        &self,
        headers: &mut HeaderMap,
        line: &Header<'_>,
    ) -> Result<(), FieldError> {
        let name = header_name(line.name.as_bytes())?;
        append(headers, name, self.value(line)?)
    }
}

impl<'bytes> Connection<'bytes> {
    /// Reads all `Connection` lines.
    pub(super) fn read(lines: &[Header<'bytes>]) -> Self {
        let mut connection = Self::default();
        for line in lines {
            let name = line.name.as_bytes();
            // The length alone tells nearly all others apart.
            if name.len() == "connection".len() && role(name) == Role::Connection {
                connection.line(line.value);
            }
        }
        connection
    }

    /// Whether a field ends here because it was named. What has a role of its own is not asked.
    pub(super) fn names(&self, name: &[u8]) -> bool {
        self.named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name))
    }

    fn line(&mut self, value: &'bytes [u8]) {
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
        } else if !is_token(member) || self.named.len() == MAX_NAMED {
            self.malformed = true;
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

/// A map with room for so many fields and for those that a proxy adds.
pub(super) fn map_for(fields: usize) -> Result<HeaderMap, FieldError> {
    HeaderMap::try_with_capacity(fields + ADDED).map_err(|_| FieldError::TooMany)
}

/// Appends a field to a map that may be full.
#[inline]
pub(super) fn append(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), FieldError> {
    match headers.try_append(name, value) {
        Ok(_) => Ok(()),
        Err(_) => Err(FieldError::TooMany),
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
pub(super) fn protocols(protocols: Vec<u8>) -> Option<HeaderValue> {
    if protocols.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(Bytes::from(protocols)).ok()
}

/// Fields that a proxy adds on the way: forwarding, `Via`, the request id, `Date`.
const ADDED: usize = 6;

/// Fields that one `Connection` may name. Two are usual; each costs a comparison for every field.
const MAX_NAMED: usize = 16;
