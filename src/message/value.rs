//! Values of fields.

use http::HeaderValue;
use memchr::memchr3;

use super::scan::value_end;

/// A value that cannot end its line: it has neither CR nor LF nor NUL (RFC 9110 §5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// These bytes as a value; `None` if they would end the line.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        memchr3(b'\r', b'\n', 0, bytes)
            .is_none()
            .then_some(Self(bytes))
    }

    /// These bytes as the value of a field line has them; `None` if they have a control byte other
    /// than a tab, or white space around them (RFC 9110 §5.5).
    #[inline]
    pub(crate) fn of_field(bytes: &'a [u8]) -> Option<Self> {
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let is_in = |&byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let plain = value_end(bytes);
        let is_field =
            bytes[plain..].iter().all(is_in) && !is_blank(bytes.first()) && !is_blank(bytes.last());
        is_field.then_some(Self(bytes))
    }

    /// Visible ASCII, as the caller knows.
    pub(crate) fn of_ascii(bytes: &'a [u8]) -> Self {
        debug_assert!(bytes.iter().all(u8::is_ascii_graphic), "visible ASCII");
        Self(bytes)
    }

    /// What was checked when it became a line.
    pub(super) fn of_line(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text; `None` if it has bytes other than visible ASCII, spaces and tabs.
    pub fn to_str(self) -> Option<&'a str> {
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        if self.0.iter().all(is_text) {
            std::str::from_utf8(self.0).ok()
        } else {
            None
        }
    }

    /// A copy that belongs to nobody.
    pub fn to_header_value(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.0).ok()
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a HeaderValue> for Value<'a> {
    fn from(value: &'a HeaderValue) -> Self {
        Self(value.as_bytes())
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}
