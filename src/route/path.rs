//! Paths: a prefix on segment borders, `=` an exact path, `~` a regular expression.
//!
//! **Prefixes** follow the Gateway API's `PathPrefix`: `/v1` takes `/v1`, `/v1/` and `/v1/users`
//! but not `/v10`. One trailing slash of the pattern is ignored, so `/v1/` means the same.
//!
//! **Escapes.** What is forwarded is what came, byte for byte (RFC 9110 §7.7). For comparison, two
//! spellings that RFC 3986 §6.2.2 declares the same are the same: `/%61dmin` is `/admin` and
//! `%c3` is `%C3`. Otherwise whoever guards `/admin` with a route is passed by in the other
//! spelling. Escapes of reserved characters are data and stay: `/v1%2Fusers` is one segment, here
//! as for the endpoint.
//!
//! **Ambiguity.** What a path means with dot segments in it depends on who resolves them, so they
//! are not resolved but refused: see [`is_ambiguous`].

use std::borrow::Cow;

use super::pattern::Pattern;
use super::rule::{RuleError, count};

/// A path as written in a rule.
#[derive(Debug, Clone)]
pub(super) struct PathPattern {
    written: Box<str>,
    kind: PathKind,
}

/// The three kinds; exact paths and prefixes in the spelling of [`Spelling::plain`].
#[derive(Debug, Clone)]
pub(super) enum PathKind {
    /// Without its trailing slash, so that `/` is empty.
    Prefix(Box<str>),
    Matching(Pattern),
    Exact(Box<str>),
}

/// How specific a path is; the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathRank {
    /// Length of the prefix.
    Prefix(usize),
    /// Length of the expression's text.
    Matching(usize),
    Exact,
}

/// A request's path as it came, and in the spelling in which it is compared.
#[derive(Debug)]
pub(super) struct Spelling<'a> {
    raw: &'a str,
    plain: Cow<'a, str>,
}

impl PathPattern {
    pub(super) fn new(written: &str) -> Result<Self, RuleError> {
        let kind = if let Some(expression) = written.strip_prefix('~') {
            PathKind::Matching(Pattern::new(expression)?)
        } else if let Some(path) = written.strip_prefix('=') {
            check(written, path)?;
            PathKind::Exact(Spelling::of(path).plain.into())
        } else {
            check(written, written)?;
            let plain = Spelling::of(written).plain;
            PathKind::Prefix(plain.strip_suffix('/').unwrap_or(&plain).into())
        };
        Ok(Self {
            written: written.into(),
            kind,
        })
    }

    /// Bytes of the path as it came that the pattern takes; `None` if it does not match.
    pub(super) fn matched(&self, path: &Spelling<'_>) -> Option<usize> {
        let plain = path.plain();
        match &self.kind {
            PathKind::Prefix(prefix) => {
                is_prefix(prefix, plain).then(|| path.raw_length(prefix.len()))
            }
            PathKind::Matching(pattern) => pattern
                .matched_prefix(plain)
                .map(|end| path.raw_length(end)),
            PathKind::Exact(exact) => (**exact == *plain).then_some(path.raw.len()),
        }
    }

    pub(super) fn rank(&self) -> PathRank {
        match &self.kind {
            PathKind::Prefix(prefix) => PathRank::Prefix(prefix.len()),
            PathKind::Matching(pattern) => PathRank::Matching(pattern.written().len()),
            PathKind::Exact(_) => PathRank::Exact,
        }
    }

    pub(super) fn kind(&self) -> &PathKind {
        &self.kind
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }
}

impl std::fmt::Display for PathRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The root is empty here, but a person counts its slash.
            Self::Prefix(length) => write!(f, "prefix of {}", count((*length).max(1), "byte")),
            Self::Matching(length) => write!(f, "regular expression of {}", count(*length, "byte")),
            Self::Exact => f.write_str("exact path"),
        }
    }
}

impl<'a> Spelling<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        Self {
            raw,
            plain: plain(raw),
        }
    }

    /// Unreserved characters unescaped and the hexadecimal digits of other escapes in upper case
    /// (RFC 3986 §6.2.2.1, §6.2.2.2). A broken escape stays as it is.
    pub(super) fn plain(&self) -> &str {
        &self.plain
    }

    pub(super) fn raw(&self) -> &'a str {
        self.raw
    }

    /// How many bytes of the path as it came became the first `length` bytes of the plain one.
    pub(super) fn raw_length(&self, length: usize) -> usize {
        if let Cow::Borrowed(_) = self.plain {
            return length;
        }
        let bytes = self.raw.as_bytes();
        (0..length).fold(0, |at, _| match escaped(&bytes[at.min(bytes.len())..]) {
            Some(byte) if is_unreserved(byte) => at + 3,
            _ => at + 1,
        })
    }
}

/// Whether different servers would take the path for different resources, so that no route may be
/// chosen for it and 400 is the answer. True for
///
/// * dot segments, plain (`/../`) or escaped (`/%2e%2e/`), also with the parameters that servlet
///   containers cut off (`/..;/`) and beside an escaped slash or backslash (`/..%2f`);
/// * escapes of NUL, CR and LF, at which some servers end the path or the line;
/// * a backslash, which is not a character of a path at all and which some servers take for `/`.
pub fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Most paths have none of these and are done here.
    let Some(first) = memchr::memchr3(b'.', b'%', b'\\', bytes) else {
        return false;
    };
    let start = memchr::memrchr(b'/', &bytes[..first]).map_or(0, |slash| slash + 1);
    let mut segment = Segment::default();
    let mut rest = &bytes[start..];
    while let Some(&byte) = rest.first() {
        let (byte, length) = escaped(rest).map_or((byte, 1), |byte| (byte, 3));
        match byte {
            b'\\' if length == 1 => return true,
            0 | b'\r' | b'\n' => return true,
            b'/' | b'\\' if segment.is_dots() => return true,
            b'/' | b'\\' => segment = Segment::default(),
            byte => segment.push(byte),
        }
        rest = &rest[length..];
    }
    segment.is_dots()
}

/// As much of a segment as it takes to tell whether it is a dot segment.
#[derive(Default)]
struct Segment {
    dots: usize,
    other: bool,
    parameters: bool,
}

impl Segment {
    fn push(&mut self, byte: u8) {
        match byte {
            b';' => self.parameters = true,
            _ if self.parameters => {}
            b'.' => self.dots += 1,
            _ => self.other = true,
        }
    }

    fn is_dots(&self) -> bool {
        !self.other && (1..=2).contains(&self.dots)
    }
}

/// Whether a prefix without trailing slash ends where a segment of the path does.
fn is_prefix(prefix: &str, path: &str) -> bool {
    if prefix.is_empty() {
        return true;
    }
    match path.as_bytes().strip_prefix(prefix.as_bytes()) {
        Some(rest) => rest.first().is_none_or(|&byte| byte == b'/'),
        None => false,
    }
}

fn check(written: &str, path: &str) -> Result<(), RuleError> {
    let wrong = |reason| RuleError::Path {
        written: written.to_owned(),
        reason,
    };
    if !path.starts_with('/') {
        return Err(wrong("a path starts with `/`"));
    }
    if path.contains(['?', '#']) {
        return Err(wrong("a path has neither query nor fragment; see `query`"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(
            "characters other than visible ASCII come escaped, as in `%C3%A9`",
        ));
    }
    if is_ambiguous(path) {
        return Err(wrong(
            "requests with dot segments, backslashes or escaped NUL, CR, LF are refused, so it \
             could never match",
        ));
    }
    Ok(())
}

fn plain(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let mut plain = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let length = match escaped(escape.as_bytes()) {
            Some(byte) if is_unreserved(byte) => {
                plain.push(char::from(byte));
                3
            }
            Some(_) => {
                plain.push_str(&escape[..3].to_ascii_uppercase());
                3
            }
            None => {
                plain.push('%');
                1
            }
        };
        rest = &escape[length..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The byte that an escape at the beginning of the bytes stands for.
pub(super) fn escaped(bytes: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
