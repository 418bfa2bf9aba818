//! What is added to most messages, made once.

use http::HeaderName;

use super::fields::Fields;
use super::line::{Key, Line, SEPARATOR, short};
use super::names::{Role, role};
use super::value::Value;

/// A line that is made once and added often.
#[derive(Debug, Clone)]
pub struct PreparedLine {
    pub(super) text: Box<[u8]>,
    pub(super) line: Line,
}

/// A name that is made once and whose lines are added often.
#[derive(Debug, Clone)]
pub struct PreparedName {
    pub(super) name: HeaderName,
    /// The name and what stands behind it.
    pub(super) prefix: Box<[u8]>,
    pub(super) key: Key,
    pub(super) length: u16,
    pub(super) role: Role,
}

impl PreparedLine {
    /// The line of this name and value.
    pub fn new<'v>(name: &HeaderName, value: impl Into<Value<'v>>) -> Self {
        let mut fields = Fields::new();
        let (text, line) = fields.written(name.as_str().as_bytes(), value.into());
        Self {
            text: text.into(),
            line,
        }
    }
}

impl PreparedName {
    /// A name.
    pub fn new(name: &HeaderName) -> Self {
        let text = name.as_str().as_bytes();
        Self {
            name: name.clone(),
            prefix: [text, SEPARATOR].concat().into(),
            key: Key::of(text),
            length: short(text.len()),
            role: role(text),
        }
    }

    /// The name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }
}
