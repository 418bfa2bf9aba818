//! What a field's name means to the wire.
//!
//! One pass over the fields decides for each whether it ends here (RFC 9110 §7.6.1), frames the
//! message or travels on. Length and first byte settle nearly every name without a comparison.

use http::HeaderName;

/// What a hop does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    EndToEnd,
    Host,
    ContentLength,
    Expect,
    Connection,
    TransferEncoding,
    Te,
    Upgrade,
    /// Hop-by-hop by custom, without a meaning for us: `Keep-Alive`, `Proxy-Connection`,
    /// `HTTP2-Settings`.
    Dropped,
}

/// The role of a name, in any case.
pub(super) fn role(name: &[u8]) -> Role {
    // Setting this bit makes a letter small; a byte that becomes one by mistake fails the
    // comparison below.
    let first = name.first().map_or(0, |byte| byte | 0x20);
    let (known, role) = match (name.len(), first) {
        (2, b't') => ("te", Role::Te),
        (4, b'h') => ("host", Role::Host),
        (6, b'e') => ("expect", Role::Expect),
        (7, b'u') => ("upgrade", Role::Upgrade),
        (10, b'c') => ("connection", Role::Connection),
        (10, b'k') => ("keep-alive", Role::Dropped),
        (14, b'c') => ("content-length", Role::ContentLength),
        (14, b'h') => ("http2-settings", Role::Dropped),
        (16, b'p') => ("proxy-connection", Role::Dropped),
        (17, b't') => ("transfer-encoding", Role::TransferEncoding),
        _ => return Role::EndToEnd,
    };
    if name.eq_ignore_ascii_case(known.as_bytes()) {
        role
    } else {
        Role::EndToEnd
    }
}

/// Whether a field of this name belongs to one connection and never travels on, even where no
/// `Connection` names it (RFC 9110 §7.6.1).
pub fn header_name_is_hop_by_hop(name: &HeaderName) -> bool {
    match role(name.as_str().as_bytes()) {
        Role::Connection | Role::TransferEncoding | Role::Te | Role::Upgrade | Role::Dropped => {
            true
        }
        Role::EndToEnd | Role::Host | Role::ContentLength | Role::Expect => false,
    }
}

/// Whether a field of this name has no place behind a body: it would frame, route, authenticate or
/// reinterpret a message that was already acted upon (RFC 9110 §6.5.1).
pub fn header_name_is_forbidden_in_trailers(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.starts_with("x-forwarded-") || name.starts_with("proxy-") || name.starts_with("if-") {
        return true;
    }
    FORBIDDEN_IN_TRAILERS.contains(&name)
}

/// Framing and routing; modifiers of a request; credentials; control data of a response; what says
/// how to read the content; what a proxy vouches for.
const FORBIDDEN_IN_TRAILERS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "authentication-info",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "content-encoding",
    "content-range",
    "content-type",
    "forwarded",
    "via",
    "x-real-ip",
    "x-request-id",
];
