//! The request target in its four forms (RFC 9112 §3.2).

use bytes::Bytes;
use http::uri::{self, PathAndQuery};
use http::{HeaderValue, Method, Uri};
use memchr::{memchr, memmem};

use super::request::RequestError;
use crate::message::Authority;

/// A target as it travels on.
#[derive(Debug)]
pub(super) struct Target {
    /// Path and query; `*`; for CONNECT, the authority.
    pub(super) uri: Uri,
    /// The authority that the target itself names, which wins over `Host` (RFC 9112 §3.2.2).
    pub(super) authority: Option<HeaderValue>,
}

impl Target {
    pub(super) fn parse(method: &Method, text: Bytes) -> Result<Self, RequestError> {
        // `http::Uri` takes UTF-8, which no target has, and cuts a fragment off; it refuses control
        // bytes and spaces itself, and authorities are read more strictly below.
        if !text.is_ascii() || memchr(b'#', &text).is_some() {
            return Err(RequestError::Target);
        }
        if text.len() > MAX_TARGET {
            return Err(RequestError::TargetTooLong);
        }
        if *method == Method::CONNECT {
            return authority_form(text);
        }
        match text.as_ref() {
            [b'/', ..] => Ok(Self {
                uri: path(text)?,
                authority: None,
            }),
            b"*" if *method == Method::OPTIONS => Ok(Self {
                uri: Uri::from(PathAndQuery::from_static("*")),
                authority: None,
            }),
            _ => absolute_form(method, &text),
        }
    }
}

/// `host:port`, both needed (RFC 9112 §3.2.3).
fn authority_form(text: Bytes) -> Result<Target, RequestError> {
    let authority = Authority::parse(&text).ok_or(RequestError::Target)?;
    if authority.host.is_empty() || authority.port.is_none_or(<[u8]>::is_empty) {
        return Err(RequestError::Target);
    }
    let value = value(text.clone())?;
    let authority = uri::Authority::from_maybe_shared(text).map_err(|_| RequestError::Target)?;
    Ok(Target {
        uri: Uri::from(authority),
        authority: Some(value),
    })
}

/// `http://` or `https://`, a host that is not empty, and no userinfo (RFC 9110 §4.2).
fn absolute_form(method: &Method, text: &Bytes) -> Result<Target, RequestError> {
    let scheme = memmem::find(text, b"://").ok_or(RequestError::Target)?;
    if ![&b"http"[..], b"https"]
        .iter()
        .any(|known| text[..scheme].eq_ignore_ascii_case(known))
    {
        return Err(RequestError::Target);
    }
    let start = scheme + b"://".len();
    let length = text[start..]
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(text.len() - start);
    let end = start + length;
    match Authority::parse(&text[start..end]) {
        Some(authority) if !authority.host.is_empty() => {}
        Some(_) | None => return Err(RequestError::Target),
    }
    let uri = match text[end..].first() {
        // Nothing behind the authority of OPTIONS means the server itself (RFC 9112 §3.2.4).
        None if *method == Method::OPTIONS => Uri::from(PathAndQuery::from_static("*")),
        None => Uri::from(PathAndQuery::from_static("/")),
        Some(b'/') => path(text.slice(end..))?,
        Some(_) => path(Bytes::from([b"/", &text[end..]].concat()))?,
    };
    Ok(Target {
        uri,
        authority: Some(value(text.slice(start..end))?),
    })
}

fn path(text: Bytes) -> Result<Uri, RequestError> {
    let path = PathAndQuery::from_maybe_shared(text).map_err(|_| RequestError::Target)?;
    Ok(Uri::from(path))
}

fn value(text: Bytes) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_maybe_shared(text).map_err(|_| RequestError::Target)
}

/// Bytes of a target; `http::Uri` holds no more, the slash that an empty path gets included.
const MAX_TARGET: usize = u16::MAX as usize - 2;
