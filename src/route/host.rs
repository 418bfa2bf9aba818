//! Hosts: an exact name, `*.example.com` for every name below, or any.
//!
//! Names are compared without regard to case (RFC 4343), to a port, or to the dot that makes a name
//! absolute: `API.example.com.:443` is `api.example.com`.

use super::rule::RuleError;

/// The longest name that DNS knows (RFC 1035 §2.3.4); a longer host can match no pattern but "any".
pub(super) const LONGEST_NAME: usize = 255;

/// A host as written in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    /// The name below which everything matches, in lower case, without `*.`.
    Below(Box<str>),
    /// The name, in lower case.
    Exact(Box<str>),
}

/// How specific a host that matched is; the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostRank {
    Any,
    /// Length of the name below which it matched.
    Below(usize),
    Exact,
}

impl HostPattern {
    pub(super) fn new(written: &str) -> Result<Self, RuleError> {
        let wrong = |reason| RuleError::Host {
            written: written.to_owned(),
            reason,
        };
        if written == "*" {
            return Ok(Self::Any);
        }
        let lower = written
            .strip_suffix('.')
            .unwrap_or(written)
            .to_ascii_lowercase();
        let (name, below) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        check_name(name, below).map_err(wrong)?;
        Ok(if below {
            Self::Below(name.into())
        } else {
            Self::Exact(name.into())
        })
    }

    /// How the pattern matches a host that [`bare`] and lower case have been applied to.
    pub(super) fn rank(&self, host: &str) -> Option<HostRank> {
        match self {
            Self::Any => Some(HostRank::Any),
            Self::Exact(name) => (**name == *host).then_some(HostRank::Exact),
            Self::Below(name) => {
                let label = host.strip_suffix(&**name)?.strip_suffix('.')?;
                (!label.is_empty()).then_some(HostRank::Below(name.len()))
            }
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// A host without its port and its trailing dot: `[::1]:80` is `[::1]`, `a.example.:80` is
/// `a.example`.
pub fn bare(authority: &str) -> &str {
    // The colon of a port is the last, and not one inside brackets.
    let mark = authority
        .bytes()
        .rposition(|byte| byte == b':' || byte == b']');
    let host = match mark {
        Some(mark) if authority.as_bytes()[mark] == b':' => &authority[..mark],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// A host in lower case. The buffer is used only for a host that is not so already; `None` if it
/// is longer than any name.
pub(super) fn lower<'a>(host: &'a str, buffer: &'a mut [u8; LONGEST_NAME]) -> Option<&'a str> {
    if host.len() > LONGEST_NAME {
        return None;
    }
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(host);
    }
    let copy = buffer.get_mut(..host.len())?;
    copy.copy_from_slice(host.as_bytes());
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).ok()
}

fn check_name(name: &str, below: bool) -> Result<(), &'static str> {
    if name.len() > LONGEST_NAME {
        return Err("longer than the 255 bytes of a name");
    }
    if let Some(inner) = name.strip_prefix('[') {
        let literal = inner.strip_suffix(']').filter(|_| !below);
        return match literal.map(str::parse::<std::net::Ipv6Addr>) {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err("not an IPv6 address in brackets"),
        };
    }
    if name.contains('*') {
        return Err("`*` may only stand for the first labels, as in `*.example.com`");
    }
    if name.contains(':') {
        return Err("a host has no port; the listener has one");
    }
    if !name.is_ascii() {
        return Err("write an international name in its ASCII form (`xn--…`)");
    }
    if name.split('.').any(str::is_empty) {
        return Err("it has an empty label");
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.split('.').flat_map(str::bytes).all(is_name_byte) {
        Ok(())
    } else {
        Err("it has a character that no host has")
    }
}
