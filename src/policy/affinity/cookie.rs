//! The cookie of a tie: read, taken out, set (RFC 6265).

use std::fmt::Write as _;

use http::header;

use crate::config::{SameSite, Sticky};
use crate::message::{Fields, Value};
use crate::upstream::Mark;

/// The cookie that ties the clients of an upstream.
#[derive(Debug)]
pub(super) struct TieCookie {
    name: Box<str>,
    /// What stands behind its value.
    attributes: Box<str>,
    /// Whether it is for TLS only; `None`: where the request came over TLS.
    secure: Option<bool>,
}

impl TieCookie {
    pub(super) fn new(written: &Sticky) -> Self {
        let mut attributes = String::new();
        let path = written.path.as_deref().unwrap_or("/");
        // Writing to a string does not fail.
        let _ = write!(attributes, "; Path={path}");
        if let Some(domain) = &written.domain {
            let _ = write!(attributes, "; Domain={domain}");
        }
        if let Some(age) = written.max_age {
            let _ = write!(attributes, "; Max-Age={}", age.0.as_secs().max(1));
        }
        if written.http_only.unwrap_or(true) {
            attributes.push_str("; HttpOnly");
        }
        let same_site = written.same_site.unwrap_or_default();
        attributes.push_str(match same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        // Browsers refuse one that goes everywhere and is not for TLS.
        let secure = (same_site == SameSite::None).then_some(true);
        Self {
            name: written.cookie.as_deref().unwrap_or("evenkeel").into(),
            attributes: attributes.into(),
            secure: written.secure.or(secure),
        }
    }

    /// Takes it out of a request: it is ours, and endpoints may forward what they get. Of several
    /// the first that can be a mark counts.
    pub(super) fn take(&self, headers: &mut Fields) -> Option<Mark> {
        first(headers, &self.name)?;
        let (mut mark, mut rest) = (None, Vec::new());
        for (name, pair, value) in pairs(headers) {
            if name == self.name.as_bytes() {
                mark = mark.or_else(|| Mark::parse(value));
                continue;
            }
            if !rest.is_empty() {
                rest.extend_from_slice(b"; ");
            }
            rest.extend_from_slice(pair);
        }
        // Made of values, it is one.
        match Value::new(&rest).filter(|rest| !rest.is_empty()) {
            Some(rest) => headers.insert(&header::COOKIE, rest),
            None => headers.remove(header::COOKIE),
        }
        mark
    }

    /// Sets it in a response.
    pub(super) fn tell(&self, headers: &mut Fields, mark: Mark, is_secure: bool) {
        let mut cookie = format!("{}={mark}{}", self.name, self.attributes);
        if self.secure.unwrap_or(is_secure) {
            cookie.push_str("; Secure");
        }
        if let Some(cookie) = Value::new(cookie.as_bytes()) {
            headers.append(&header::SET_COOKIE, cookie);
        }
    }
}

/// The value of the first cookie of a name.
pub(super) fn first<'a>(headers: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let mut pairs = pairs(headers);
    let found = pairs.find(|(known, ..)| *known == name.as_bytes());
    found.map(|(_, _, value)| value)
}

/// A cookie's name, the pair as it was sent, and its value.
type Pair<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// All cookies of a request.
fn pairs(headers: &Fields) -> impl Iterator<Item = Pair<'_>> {
    let lines = headers.get_all("cookie");
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (&b""[..], pair),
        };
        (!pair.is_empty()).then_some((name.trim_ascii_end(), pair, value.trim_ascii_start()))
    })
}
