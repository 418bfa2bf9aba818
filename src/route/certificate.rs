//! What a client's certificate must say.
//!
//! It is looked for in the fields that tell endpoints of it: whatever a client sends under their
//! names is gone before any route is asked, so they hold what was verified here, or what a trusted
//! proxy says that it has verified.

use crate::config;
use crate::message::Fields;

use super::pattern::{PatternError, Value};

/// One thing that a certificate must say.
#[derive(Debug, Clone)]
pub(super) struct CertificateMatcher {
    fact: Fact,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Subject,
    San,
    SpiffeId,
    Fingerprint,
}

impl CertificateMatcher {
    /// All that a route asks for.
    pub(super) fn all(written: &config::CertificateMatch) -> Result<Box<[Self]>, PatternError> {
        let written = [
            (Fact::Subject, &written.subject),
            (Fact::San, &written.san),
            (Fact::SpiffeId, &written.spiffe_id),
            (Fact::Fingerprint, &written.fingerprint),
        ];
        let written = written.into_iter();
        let written = written.filter_map(|(fact, value)| Some((fact, value.as_ref()?)));
        let matchers = written.map(|(fact, value)| {
            let value = Value::new(value)?;
            Ok(Self { fact, value })
        });
        matchers.collect()
    }

    pub(super) fn matches(&self, headers: &Fields) -> bool {
        let mut lines = headers.get_all(self.fact.field());
        lines.any(|line| match self.fact {
            Fact::San => strings(line.as_bytes()).any(|name| self.value.admits(&name)),
            Fact::Subject | Fact::SpiffeId | Fact::Fingerprint => {
                self.value.admits(line.as_bytes())
            }
        })
    }
}

impl Fact {
    fn field(self) -> &'static str {
        match self {
            Self::Subject => "x-client-cert-subject",
            Self::San => "x-client-cert-san",
            Self::SpiffeId => "x-client-cert-spiffe-id",
            Self::Fingerprint => "x-client-cert-fingerprint",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::San => "san",
            Self::SpiffeId => "spiffe_id",
            Self::Fingerprint => "fingerprint",
        }
    }
}

impl std::fmt::Display for CertificateMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (setting, field) = (self.fact.setting(), self.fact.field());
        let value = &self.value;
        write!(
            f,
            "`client_certificate.{setting}` (field `{field}`) is not {value}"
        )
    }
}

/// The strings of a list (RFC 9651 §3.1 and §3.3.3), up to what is none.
fn strings(list: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !b" \t,".contains(byte))?;
        rest = rest[start..].strip_prefix(b"\"")?;
        let mut string = Vec::new();
        loop {
            let (&byte, behind) = rest.split_first()?;
            rest = behind;
            match byte {
                b'"' => return Some(string),
                b'\\' => {
                    let (&escaped, behind) = rest.split_first()?;
                    rest = behind;
                    string.push(escaped);
                }
                byte => string.push(byte),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_in_a_list() {
        let found = |list: &str| -> Vec<String> {
            let strings = strings(list.as_bytes());
            strings.map(|one| String::from_utf8(one).unwrap()).collect()
        };
        assert_eq!(
            found(r#""DNS:a", "URI:x\"y\\z" ,"#),
            ["DNS:a", r#"URI:x"y\z"#]
        );
        // Nothing of a string is taken for another one.
        assert_eq!(found(r#""URI:a\", \"DNS:b""#), [r#"URI:a", "DNS:b"#]);
        assert_eq!(found(r#""DNS:a", DNS:b, "DNS:c""#), ["DNS:a"]);
        assert_eq!(found(r#""DNS:a"#), [""; 0]);
        assert_eq!(found(""), [""; 0]);
    }
}
