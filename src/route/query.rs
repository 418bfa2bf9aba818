//! Query parameters that a request must have.
//!
//! Names and values are compared as the form encoding means them: percent-escapes decoded and `+`
//! as a space. Of a parameter that is repeated the first counts, as the Gateway API recommends.

use std::borrow::Cow;

use super::path::escaped;
use super::pattern::Value;
use super::rule::RuleError;

/// A parameter and what it must hold.
#[derive(Debug, Clone)]
pub(super) struct QueryMatcher {
    name: Box<str>,
    value: Value,
}

impl QueryMatcher {
    pub(super) fn new(name: &str, value: &str) -> Result<Self, RuleError> {
        Ok(Self {
            name: name.into(),
            value: Value::new(value)?,
        })
    }

    pub(super) fn matches(&self, query: Option<&str>) -> bool {
        let Some(value) = written(query, &self.name) else {
            return false;
        };
        match &self.value {
            Value::Any => true,
            Value::Exact(exact) => decoded(value).eq(exact.bytes()),
            Value::Matching(pattern) => pattern.matches(&decode(value)),
        }
    }
}

impl std::fmt::Display for QueryMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "query parameter `{}` is not {}", self.name, self.value)
    }
}

/// The value of the first parameter of a name in a query, decoded.
pub fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    written(query, name).map(decode)
}

/// The same as it is written.
fn written<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let parameters = query.unwrap_or_default().split('&');
    let found = parameters
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(known, _)| decoded(known).eq(name.bytes()));
    found.map(|(_, value)| value)
}

/// The bytes that a name or value stands for, one by one, so that comparing allocates nothing. A
/// broken escape stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let (byte, after) = match escaped(rest) {
            Some(byte) => (byte, &rest[3..]),
            None if first == b'+' => (b' ', after),
            None => (first, after),
        };
        rest = after;
        Some(byte)
    })
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains(['%', '+']) {
        decoded(text).collect()
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}
