//! Request lines.

use http::{Method, Version};
use memchr::{memchr, memrchr};

use super::request::RequestError;
use crate::message::is_token_byte;

/// The three parts of a request line.
pub(super) struct Line<'bytes> {
    pub(super) method: Method,
    pub(super) target: &'bytes [u8],
    pub(super) version: Version,
}

impl<'bytes> Line<'bytes> {
    /// Reads a line without its CRLF (RFC 9112 §3).
    pub(super) fn parse(line: &'bytes [u8]) -> Result<Self, RequestError> {
        // What most lines are.
        if let Some(target) = line.strip_prefix(b"GET ")
            && let Some(target) = target.strip_suffix(b" HTTP/1.1")
            && !target.is_empty()
        {
            return Ok(Self {
                method: Method::GET,
                target,
                version: Version::HTTP_11,
            });
        }
        check_method_so_far(line)?;
        let first = memchr(b' ', line).ok_or(RequestError::Line)?;
        // Where it is in every line that is right.
        let usual = line.len().checked_sub(" HTTP/1.1".len());
        let last = match usual {
            Some(usual) if line[usual] == b' ' => usual,
            Some(_) | None => memrchr(b' ', line).ok_or(RequestError::Line)?,
        };
        let version = version(&line[last + 1..])?;
        if first + 1 >= last {
            return Err(RequestError::Line);
        }
        Ok(Self {
            method: Method::from_bytes(&line[..first]).map_err(|_| RequestError::Line)?,
            target: &line[first + 1..last],
            version,
        })
    }
}

/// Tells another protocol from HTTP by its first bytes.
pub(super) fn check_method_so_far(head: &[u8]) -> Result<(), RequestError> {
    let start = &head[..head.len().min(MAX_METHOD + 1)];
    match start.iter().position(|&byte| !is_token_byte(byte)) {
        Some(end) if end > 0 && start[end] == b' ' => Ok(()),
        Some(_) => Err(RequestError::Line),
        None if start.len() > MAX_METHOD => Err(RequestError::MethodTooLong),
        None => Ok(()),
    }
}

/// A later minor version is read as the latest that we know (RFC 9110 §6.2).
fn version(text: &[u8]) -> Result<Version, RequestError> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if *major == b'1' {
                Ok(Version::HTTP_11)
            } else {
                Err(RequestError::Version)
            }
        }
        _ => Err(RequestError::Line),
    }
}

/// Bytes of a method. The longest that is registered has 17 (RFC 4437).
const MAX_METHOD: usize = 32;
