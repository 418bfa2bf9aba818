//! A request's method, as metrics tell it.

use http::Method;

/// A method as a label: from a closed list, so that no client can make series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodLabel(pub(super) &'static str);

impl MethodLabel {
    pub(super) fn of(method: &Method) -> Self {
        const KNOWN: [&str; 9] = [
            "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
        ];
        let name = method.as_str();
        Self(
            KNOWN
                .iter()
                .find(|known| **known == name)
                .copied()
                .unwrap_or("_OTHER"),
        )
    }
}
