//! Heads out: blocks of fields, to be put into frames.
//!
//! Pseudo fields, framing and what belongs to a connection are written from facts, as for HTTP/1.1,
//! and never from the fields. Names and values are of types that hold no CR, LF or NUL.

use http::{HeaderMap, Method, StatusCode, header};

use super::field::has_no_content;
use crate::http2::driven::Opening;
use crate::http2::hpack::{Encoder, Pseudo, write_field, write_pseudo, write_status};
use crate::message::{
    Fields, RequestParts, ResponseParts, Role, Value, header_name_is_forbidden_in_trailers,
};

/// Appends the block of a request.
///
/// `:authority` is the first `Host`, and left out where that is empty or not there; for CONNECT it
/// is the URI's. A `Content-Length` stays where it stands if it is that of `opening`.
pub fn write_request(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    parts: &RequestParts,
    opening: &Opening<'_>,
) {
    encoder.begin(out);
    write_pseudo_fields(out, parts, opening);
    let mut length = opening.length;
    write_fields(out, &parts.headers, |role, value| match role {
        Role::EndToEnd | Role::Expect => true,
        Role::ContentLength => length.take_if(|length| is_number(value, *length)).is_some(),
        Role::Host
        | Role::Connection
        | Role::TransferEncoding
        | Role::Te
        | Role::Upgrade
        | Role::Dropped => false,
    });
    write_length(out, length);
    if opening.te_trailers {
        write_field(out, b"te", b"trailers");
    }
}

/// Appends the block of a response, or of an interim one. The caller lets no 101 come here.
///
/// `length` is that of the body, if it is known. A `Content-Length` stays where it stands if it is
/// that, and as it is where no body follows but could have: `bodiless`, and 304.
pub fn write_response(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    parts: &ResponseParts,
    length: Option<u64>,
    bodiless: bool,
) {
    debug_assert!(
        parts.status != StatusCode::SWITCHING_PROTOCOLS,
        "HTTP/2 switches to nothing"
    );
    let has_none = has_no_content(parts.status);
    let bodiless = bodiless || has_none || parts.status == StatusCode::NOT_MODIFIED;
    let mut length = length.filter(|_| !bodiless);
    let mut keeps_length = bodiless && !has_none;
    encoder.begin(out);
    write_status(out, parts.status);
    write_fields(out, &parts.headers, |role, value| match role {
        Role::EndToEnd | Role::Host | Role::Expect => true,
        Role::ContentLength if std::mem::take(&mut keeps_length) => true,
        Role::ContentLength => length.take_if(|length| is_number(value, *length)).is_some(),
        Role::Connection | Role::TransferEncoding | Role::Te | Role::Upgrade | Role::Dropped => {
            false
        }
    });
    write_length(out, length);
}

/// Appends the block of trailers, without those that have no place there. `false` if none are left,
/// and nothing was appended.
pub fn write_trailers(encoder: &mut Encoder, out: &mut Vec<u8>, trailers: &HeaderMap) -> bool {
    let mut some = false;
    for (name, value) in trailers {
        if header_name_is_forbidden_in_trailers(name) {
            continue;
        }
        if !std::mem::replace(&mut some, true) {
            encoder.begin(out);
        }
        write_field(out, name.as_str().as_bytes(), value.as_bytes().trim_ascii());
    }
    some
}

fn write_pseudo_fields(out: &mut Vec<u8>, parts: &RequestParts, opening: &Opening<'_>) {
    let is_connect = opening.protocol.is_some() || parts.method == Method::CONNECT;
    let is_tunnel = is_connect && opening.protocol.is_none();
    let method = if is_connect {
        "CONNECT"
    } else {
        parts.method.as_str()
    };
    write_pseudo(out, Pseudo::Method, method.as_bytes());
    if let Some(protocol) = opening.protocol {
        write_pseudo(out, Pseudo::Protocol, protocol);
    }
    if !is_tunnel {
        let scheme: &[u8] = if opening.is_https { b"https" } else { b"http" };
        write_pseudo(out, Pseudo::Scheme, scheme);
    }
    let target = parts.uri.authority().filter(|_| is_tunnel);
    let authority = if let Some(authority) = target {
        authority.as_str().as_bytes()
    } else {
        let host = parts.headers.get(header::HOST);
        host.map_or(&[][..], Value::as_bytes)
    };
    if !authority.is_empty() {
        write_pseudo(out, Pseudo::Authority, authority);
    }
    if !is_tunnel {
        let path = parts.uri.path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        write_pseudo(out, Pseudo::Path, path.as_bytes());
    }
}

/// White space around a value, which only we ourselves can have put there, would make the message
/// malformed (RFC 9113 §8.2.1).
fn write_fields(out: &mut Vec<u8>, fields: &Fields, mut keep: impl FnMut(Role, Value<'_>) -> bool) {
    for (name, value, role) in fields.with_roles() {
        if keep(role, value) {
            write_field(out, name, value.as_bytes().trim_ascii());
        }
    }
}

/// Whether a value is this number, written plainly.
fn is_number(value: Value<'_>, number: u64) -> bool {
    value.as_bytes() == itoa::Buffer::new().format(number).as_bytes()
}

fn write_length(out: &mut Vec<u8>, length: Option<u64>) {
    if let Some(length) = length {
        let mut digits = itoa::Buffer::new();
        write_field(out, b"content-length", digits.format(length).as_bytes());
    }
}
