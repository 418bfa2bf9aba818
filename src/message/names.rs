//! What a field's name means to the wire.
//!
//! One pass over the fields decides for each whether it ends here (RFC 9110 §7.6.1), frames the
//! message or travels on. Length and first byte settle nearly every name without a comparison.

use http::HeaderName;

/// What a hop does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It travels on.
    EndToEnd,
    /// `Host`: whom the request is for.
    Host,
    /// `Content-Length`: frames the message.
    ContentLength,
    /// `Expect`: for whoever takes the body.
    Expect,
    /// `Connection`: what belongs to this connection.
    Connection,
    /// `Transfer-Encoding`: frames the message.
    TransferEncoding,
    /// `TE`: how this connection's response may be coded.
    Te,
    /// `Upgrade`: what this connection may become.
    Upgrade,
    /// Hop-by-hop by custom, without a meaning for us: `Keep-Alive`, `Proxy-Connection`,
    /// `HTTP2-Settings`.
    Dropped,
}

/// The role of a name, in any case.
#[expect(
    clippy::inline_always,
    reason = "the compiler does not, at 400 instructions a request"
)]
#[inline(always)]
pub fn role(name: &[u8]) -> Role {
    // Setting this bit makes a letter small; a byte that becomes one by mistake fails the
    // comparison below.
    let first = name.first().map_or(0, |byte| byte | 0x20);
    match (name.len(), first) {
        (2, b't') if is(name, b"te", b"TE") => Role::Te,
        (4, b'h') if is(name, b"host", b"Host") => Role::Host,
        (6, b'e') if is(name, b"expect", b"Expect") => Role::Expect,
        (7, b'u') if is(name, b"upgrade", b"Upgrade") => Role::Upgrade,
        (10, b'c') if is(name, b"connection", b"Connection") => Role::Connection,
        (10, b'k') if is(name, b"keep-alive", b"Keep-Alive") => Role::Dropped,
        (14, b'c') if is(name, b"content-length", b"Content-Length") => Role::ContentLength,
        (14, b'h') if is(name, b"http2-settings", b"HTTP2-Settings") => Role::Dropped,
        (16, b'p') if is(name, b"proxy-connection", b"Proxy-Connection") => Role::Dropped,
        (17, b't') if is(name, b"transfer-encoding", b"Transfer-Encoding") => {
            Role::TransferEncoding
        }
        _ => Role::EndToEnd,
    }
}

/// Whether a name is this one. The usual spellings are compared in words, any other by letters.
#[inline]
fn is<const N: usize>(name: &[u8], small: &[u8; N], usual: &[u8; N]) -> bool {
    name == small || name == usual || name.eq_ignore_ascii_case(small)
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

/// Whether a field of this name tells an application who asks: those of `X-Forwarded`, those that
/// frameworks and CDNs take the client's address from, and those of certificates; however its
/// dashes are spelt.
pub fn name_tells_who_asks(name: &[u8]) -> bool {
    begins_with(name, FORWARDED_FAMILY)
        && !name
            .get(FORWARDED_FAMILY.len())
            .is_some_and(u8::is_ascii_alphabetic)
        || FAMILY.iter().any(|member| name_is_spelt(name, member))
        || name_is_spelt(name, ATTEMPT.as_bytes())
        || name_tells_of_certificate(name)
}

/// Whether a field of this name tells of a client's certificate: `X-Client-Cert` and all that
/// begins with it and a separator, `Client-Cert` and `Client-Cert-Chain` (RFC 9440); however its
/// dashes are spelt.
pub fn name_tells_of_certificate(name: &[u8]) -> bool {
    let ends = name
        .get(CERTIFICATE_FAMILY.len())
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    ends && begins_with(name, CERTIFICATE_FAMILY)
        || [CLIENT_CERT, CLIENT_CERT_CHAIN]
            .iter()
            .any(|other| name_is_spelt(name, other.as_bytes()))
}

/// Whether a name is the other one, if every byte that is neither letter nor digit is a dash: CGI
/// and its children turn one or all of them into `_`.
pub fn name_is_spelt(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && begins_with(name, other)
}

fn begins_with(name: &[u8], start: &[u8]) -> bool {
    let same = |(&byte, &other): (&u8, &u8)| {
        byte.to_ascii_lowercase() == other || other == b'-' && !byte.is_ascii_alphanumeric()
    };
    name.len() >= start.len() && name.iter().zip(start).all(same)
}

/// `X-Forwarded` and all that begins with it and a separator: `-For`, `-Proto`, `-Ssl`, …
const FORWARDED_FAMILY: &[u8] = b"x-forwarded";

/// Those outside that family that frameworks and CDNs take the client's address from.
const FAMILY: [&[u8]; 5] = [
    b"forwarded",
    b"true-client-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-real-ip",
];

/// Which attempt a request is: not who asks, and believed from the same.
pub const ATTEMPT: &str = "evenkeel-attempt";

/// Of the request, ours to set.
pub const REQUEST_ID: &[u8] = b"x-request-id";

/// The certificate itself (RFC 9440 §2.2).
pub const CLIENT_CERT: &str = "client-cert";

/// Those that lead from it to its authority (RFC 9440 §2.3).
pub const CLIENT_CERT_CHAIN: &str = "client-cert-chain";

/// What we tell of it.
const CERTIFICATE_FAMILY: &[u8] = b"x-client-cert";

/// Whether a field of this name has no place behind a body: it would frame, route, authenticate or
/// reinterpret a message that was already acted upon (RFC 9110 §6.5.1).
pub fn header_name_is_forbidden_in_trailers(name: &HeaderName) -> bool {
    let name = name.as_str();
    let bytes = name.as_bytes();
    if name_tells_who_asks(bytes) || name_is_spelt(bytes, REQUEST_ID) {
        return true;
    }
    if name.starts_with("proxy-") || name.starts_with("if-") {
        return true;
    }
    FORBIDDEN_IN_TRAILERS.contains(&name)
}

/// Framing and routing; modifiers of a request; credentials; control data of a response; what says
/// how to read the content; the way of the message.
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
    "via",
];
