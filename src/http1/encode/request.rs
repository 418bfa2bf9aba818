//! Request heads, towards an endpoint.

use http::{HeaderValue, Method, Uri};

use super::{CRLF, is_number, write_length, write_upgrade};
use crate::http1::frame::Framing;
use crate::message::{RequestParts, Role};

/// What a request says about its connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOptions<'a> {
    /// Protocols to ask for (RFC 9110 §7.8).
    pub upgrade: Option<&'a HeaderValue>,
    /// Whether trailers of the response are welcome (RFC 9110 §10.1.4).
    pub te_trailers: bool,
}

/// Appends the head of an HTTP/1.1 request.
///
/// The target is the path and query of the URI, or `*`; for CONNECT, its authority. The fields are
/// written in their order; those of the connection and of the framing that are there by mistake
/// are not. A `Content-Length` stays where it stands if it is that of `framing`. There is one
/// `Host`; if nobody has given the request one, it is empty, since HTTP/1.1 needs the field
/// (RFC 9110 §7.2). Nothing can end a request by closing, so
/// [`Framing::UntilClose`] is written as no body.
pub fn encode_request(
    out: &mut Vec<u8>,
    parts: &RequestParts,
    framing: Framing,
    options: RequestOptions<'_>,
) {
    let target = target(&parts.method, &parts.uri);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");

    let mut length = match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    };
    let mut has_host = false;
    parts.headers.write_to(out, |role, value| match role {
        Role::Host => !std::mem::replace(&mut has_host, true),
        Role::EndToEnd | Role::Expect => true,
        Role::ContentLength => length.take_if(|length| is_number(value, *length)).is_some(),
        Role::Connection | Role::TransferEncoding | Role::Te | Role::Upgrade | Role::Dropped => {
            false
        }
    });
    if !has_host {
        out.extend_from_slice(b"Host: \r\n");
    }
    if let Some(length) = length {
        write_length(out, length);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    write_connection(out, options);
    out.extend_from_slice(CRLF);
}

fn write_connection(out: &mut Vec<u8>, options: RequestOptions<'_>) {
    match (options.upgrade, options.te_trailers) {
        (None, false) => return,
        (None, true) => out.extend_from_slice(b"Connection: TE\r\n"),
        (Some(_), false) => out.extend_from_slice(b"Connection: upgrade\r\n"),
        (Some(_), true) => out.extend_from_slice(b"Connection: upgrade, TE\r\n"),
    }
    if let Some(protocols) = options.upgrade {
        write_upgrade(out, protocols);
    }
    if options.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
}

fn target<'uri>(method: &Method, uri: &'uri Uri) -> &'uri str {
    match uri.authority() {
        Some(authority) if *method == Method::CONNECT => authority.as_str(),
        Some(_) | None => uri.path_and_query().map_or("/", |path| path.as_str()),
    }
}
