//! Response heads, towards a client.

use http::{HeaderValue, StatusCode, Version, header};

use super::{CRLF, is_number, write_length, write_upgrade};
use crate::http1::frame::{ResponseFraming, has_no_content};
use crate::message::{ResponseParts, Role};

/// What a response says about its connection.
#[derive(Debug, Clone, Copy)]
pub struct ResponseOptions<'a> {
    /// The version of the request.
    pub version: Version,
    /// Whether the connection closes after the response.
    pub close: bool,
    /// The protocol that a 101 switches to (RFC 9110 §7.8).
    pub upgrade: Option<&'a HeaderValue>,
    /// Whether an HTTP/1.0 client that asked for it keeps its connection (RFC 9112 §9.3).
    pub keep_alive_1_0: bool,
}

/// Appends the head of a response.
///
/// The version is that of the server, HTTP/1.1, whatever the client's (RFC 9110 §2.5). The fields
/// are written in their order; those of the connection and of the framing that are there by
/// mistake are not. A `Content-Length` stays where it stands if it is that of `framing`, and as it
/// is where no body follows but could have.
pub fn encode_response(
    out: &mut Vec<u8>,
    parts: &ResponseParts,
    framing: ResponseFraming,
    options: ResponseOptions<'_>,
) {
    debug_assert!(
        framing != ResponseFraming::Chunked || options.version == Version::HTTP_11,
        "an HTTP/1.0 client cannot read chunks"
    );
    let framing = if has_no_content(parts.status) || parts.status == StatusCode::NOT_MODIFIED {
        ResponseFraming::Bodiless
    } else {
        framing
    };
    write_status_line(out, parts.status);
    write_fields(out, parts, framing);
    if framing == ResponseFraming::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    write_connection(out, parts, framing, options);
    out.extend_from_slice(CRLF);
}

/// Appends an interim response (1xx except 101); HTTP/1.0 clients must not get one
/// (RFC 9110 §15.2).
pub fn encode_interim(out: &mut Vec<u8>, parts: &ResponseParts) {
    debug_assert!(parts.status.is_informational(), "an interim status");
    write_status_line(out, parts.status);
    write_fields(out, parts, ResponseFraming::Bodiless);
    out.extend_from_slice(CRLF);
}

impl Default for ResponseOptions<'_> {
    fn default() -> Self {
        Self {
            version: Version::HTTP_11,
            close: false,
            upgrade: None,
            keep_alive_1_0: false,
        }
    }
}

/// The space before the reason is part of the syntax, also before none (RFC 9112 §4).
fn write_status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(CRLF);
}

fn write_fields(out: &mut Vec<u8>, parts: &ResponseParts, framing: ResponseFraming) {
    let mut length = match framing {
        ResponseFraming::Length(length) => Some(length),
        ResponseFraming::Bodiless | ResponseFraming::Chunked | ResponseFraming::UntilClose => None,
    };
    let mut keeps_length = framing == ResponseFraming::Bodiless && !has_no_content(parts.status);
    parts.headers.write_to(out, |role, value| match role {
        Role::EndToEnd | Role::Host | Role::Expect => true,
        Role::ContentLength if std::mem::take(&mut keeps_length) => true,
        Role::ContentLength => length.take_if(|length| is_number(value, *length)).is_some(),
        Role::Upgrade => parts.status == StatusCode::UPGRADE_REQUIRED,
        Role::Connection | Role::TransferEncoding | Role::Te | Role::Dropped => false,
    });
    if let Some(length) = length {
        write_length(out, length);
    }
}

fn write_connection(
    out: &mut Vec<u8>,
    parts: &ResponseParts,
    framing: ResponseFraming,
    options: ResponseOptions<'_>,
) {
    let is_10 = options.version == Version::HTTP_10;
    let closes = options.close
        || framing == ResponseFraming::UntilClose
        || (is_10 && !options.keep_alive_1_0);
    let upgrades = options.upgrade.is_some() || is_upgrade_required(parts);
    out.extend_from_slice(match (closes, upgrades) {
        (true, true) => b"Connection: close, upgrade\r\n",
        (true, false) => b"Connection: close\r\n",
        (false, true) => b"Connection: upgrade\r\n",
        (false, false) if is_10 => b"Connection: keep-alive\r\n",
        (false, false) => b"",
    });
    if let Some(protocol) = options.upgrade {
        write_upgrade(out, protocol);
    }
}

/// Whether the response says which protocols it wants; that field is of the connection and travels
/// on all the same (RFC 9110 §15.5.22).
fn is_upgrade_required(parts: &ResponseParts) -> bool {
    parts.status == StatusCode::UPGRADE_REQUIRED && parts.headers.contains_key(header::UPGRADE)
}
