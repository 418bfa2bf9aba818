//! What a request is for: its path, and who is to answer it (RFC 9113 §8.3.1).

use bytes::Bytes;
use http::uri::{self, PathAndQuery};
use http::{Method, Uri};

use super::HeadError;
use crate::message::Authority;

/// Path and query as the target of the request; `*` is the server itself, and for OPTIONS only.
pub(super) fn path(method: &Method, path: Bytes) -> Result<Uri, HeadError> {
    if path.len() > MAX_PATH {
        return Err(HeadError::TooLarge);
    }
    // `http::Uri` takes UTF-8, which no target has, and cuts a fragment off.
    let is_in = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'#';
    let is_path = match path.as_ref() {
        b"*" => *method == Method::OPTIONS,
        [b'/', rest @ ..] => rest.iter().all(is_in),
        _ => false,
    };
    if !is_path {
        return Err(MALFORMED_PATH);
    }
    let path = PathAndQuery::from_maybe_shared(path).map_err(|_| MALFORMED_PATH)?;
    Ok(Uri::from(path))
}

/// Host and port as the target of CONNECT, both needed (RFC 9113 §8.5).
pub(super) fn tunnel(text: &[u8]) -> Result<Uri, HeadError> {
    let authority = authority(text)?;
    if authority.port.is_none_or(<[u8]>::is_empty) {
        return Err(HeadError::Malformed("CONNECT without a port"));
    }
    let authority = uri::Authority::from_maybe_shared(Bytes::copy_from_slice(text))
        .map_err(|_| MALFORMED_AUTHORITY)?;
    Ok(Uri::from(authority))
}

/// A host, which is not empty, and a port if there is one; no userinfo.
pub(super) fn authority(text: &[u8]) -> Result<Authority<'_>, HeadError> {
    Authority::parse(text)
        .filter(|authority| !authority.host.is_empty())
        .ok_or(MALFORMED_AUTHORITY)
}

/// Whether two authorities mean the same: a port that is not said is that of the scheme
/// (RFC 3986 §6.2.3).
pub(super) fn is_same(one: Authority<'_>, other: Authority<'_>, is_https: Option<bool>) -> bool {
    let usual = is_https.map_or(0, |is_https| if is_https { 443 } else { 80 });
    let port = |authority: Authority<'_>| {
        let digits = authority.port.unwrap_or_default().iter();
        // An authority has no port that is no number; leading zeros may stand there.
        let number = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        let is_said = authority.port.is_some_and(|digits| !digits.is_empty());
        if is_said { number } else { usual }
    };
    one.host.eq_ignore_ascii_case(other.host) && port(one) == port(other)
}

const MALFORMED_PATH: HeadError = HeadError::Malformed("malformed :path");

const MALFORMED_AUTHORITY: HeadError = HeadError::Malformed("malformed :authority or host");

/// Bytes of a path and query; `http::Uri` holds no more.
const MAX_PATH: usize = u16::MAX as usize - 2;
