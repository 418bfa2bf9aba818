//! Fields that are removed, set or added, in this order.
//!
//! Fields that frame a message or speak to the neighbour are not for editing: a `Content-Length`
//! that contradicts the body is how requests are smuggled, and `Connection` belongs to the engine.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::config;
use crate::message::Fields;

/// Edits of one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldEdits {
    remove: Box<[HeaderName]>,
    set: Box<[Field]>,
    add: Box<[Field]>,
}

type Field = (HeaderName, HeaderValue);

/// What is wrong with an edit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not a token (RFC 9110 §5.1).
    #[error("`{0}` is not the name of a field")]
    Name(String),
    /// A control character (RFC 9110 §5.5).
    #[error("the value of `{0}` has a character that no field may have")]
    Value(String),
    /// Framing or a field between neighbours.
    #[error("`{0}` is written by the proxy itself and cannot be edited")]
    Reserved(String),
    /// The host has its own setting.
    #[error("`host` is changed by `rewrite.host`")]
    Host,
}

impl FieldEdits {
    pub(super) fn new(written: &config::FieldEdits) -> Result<Self, EditError> {
        Ok(Self {
            remove: written
                .remove
                .iter()
                .map(|name| parse_name(name))
                .collect::<Result<_, _>>()?,
            set: parse_fields(&written.set)?,
            add: parse_fields(&written.add)?,
        })
    }

    pub(super) fn apply(&self, headers: &mut Fields) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value);
        }
        for (name, value) in &self.add {
            headers.append(name, value);
        }
    }
}

fn parse_fields(written: &BTreeMap<String, String>) -> Result<Box<[Field]>, EditError> {
    let field = |(name, value): (&String, &String)| {
        let value = HeaderValue::from_bytes(value.trim_ascii().as_bytes());
        let value = value.map_err(|_| EditError::Value(name.clone()))?;
        Ok((parse_name(name)?, value))
    };
    written.iter().map(field).collect()
}

fn parse_name(written: &str) -> Result<HeaderName, EditError> {
    let name = HeaderName::from_bytes(written.as_bytes())
        .map_err(|_| EditError::Name(written.to_owned()))?;
    if name == http::header::HOST {
        return Err(EditError::Host);
    }
    if RESERVED.contains(&name.as_str()) {
        return Err(EditError::Reserved(name.to_string()));
    }
    Ok(name)
}

/// Framing (RFC 9112 §6, RFC 9110 §6.6.2) and fields between neighbours (RFC 9110 §7.6.1).
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
