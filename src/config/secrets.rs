//! Which values of a configuration are secret, so that nothing prints them.

use std::collections::BTreeSet;

/// Paths of the values that are never shown: those that came from `${file:…}`, and credentials in
/// fields that are known to carry them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    paths: BTreeSet<String>,
}

impl Secrets {
    /// Whether the value at a path (`route.api.request_headers.set.authorization`) is secret.
    pub fn contains(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Marks the value at a path.
    pub(super) fn insert(&mut self, path: String) {
        self.paths.insert(path);
    }
}

/// Whether a header field carries a credential by its nature.
pub(super) fn is_credential(field: &str) -> bool {
    CREDENTIAL_FIELDS
        .iter()
        .any(|name| name.eq_ignore_ascii_case(field))
}

/// What is printed in a secret's place.
pub(super) const MASK: &str = "***";

/// RFC 9110 §11.6.2 and §11.7.2, RFC 6265 §4, and the name that API gateways agree on.
const CREDENTIAL_FIELDS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
];
