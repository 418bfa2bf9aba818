//! Fields that a request must have.
//!
//! Where a field has several lines, one line that matches is enough: only the field's own
//! definition says whether its lines may be joined to a list (RFC 9110 §5.3).

use http::HeaderName;

use crate::message::Fields;

use super::pattern::Value;
use super::rule::RuleError;

/// A field and what it must hold.
#[derive(Debug, Clone)]
pub(super) struct FieldMatcher {
    name: HeaderName,
    value: Value,
}

impl FieldMatcher {
    pub(super) fn new(name: &str, value: &str) -> Result<Self, RuleError> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RuleError::Field {
            written: name.to_owned(),
        })?;
        let value = Value::new(value)?;
        Ok(Self { name, value })
    }

    pub(super) fn matches(&self, headers: &Fields) -> bool {
        let mut lines = headers.get_all(self.name.as_str());
        match &self.value {
            Value::Any => lines.next().is_some(),
            Value::Exact(value) => lines.any(|line| line.as_bytes() == value.as_bytes()),
            Value::Matching(pattern) => lines.any(|line| pattern.matches(line.as_bytes())),
        }
    }
}

impl std::fmt::Display for FieldMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "field `{}` is not {}", self.name, self.value)
    }
}
