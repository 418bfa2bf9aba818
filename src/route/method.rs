//! Methods: those that are written, or any but CONNECT.
//!
//! CONNECT is left out of "any", because it asks for a tunnel, not for a resource: only a rule that
//! allows tunnels or names the method takes it. Methods are case-sensitive (RFC 9110 §9.1).

use http::Method;

use super::rule::RuleError;

/// The methods of a rule.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    written: Box<[Method]>,
    connect: bool,
}

impl Methods {
    pub(super) fn new(written: &[String], connect: bool) -> Result<Self, RuleError> {
        let method = |name: &String| {
            Method::from_bytes(name.as_bytes()).map_err(|_| RuleError::Method {
                written: name.clone(),
            })
        };
        Ok(Self {
            written: written.iter().map(method).collect::<Result<_, _>>()?,
            connect,
        })
    }

    pub(super) fn matches(&self, method: &Method) -> bool {
        if *method == Method::CONNECT && self.connect {
            return true;
        }
        if self.written.is_empty() {
            return *method != Method::CONNECT;
        }
        self.written.contains(method)
    }

    /// Whether the rule names methods at all, which makes it more specific.
    pub(super) fn are_written(&self) -> bool {
        !self.written.is_empty()
    }
}

impl std::fmt::Display for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.written.is_empty() {
            return f.write_str("any method but CONNECT");
        }
        for (index, method) in self.written.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{method}")?;
        }
        Ok(())
    }
}
