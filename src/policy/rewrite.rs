//! The path and the host under which an endpoint is asked.
//!
//! Replacing a prefix follows the Gateway API's `ReplacePrefixMatch`: what remains of the path is
//! joined to the new prefix with exactly one slash. The query is kept, and the result always
//! starts with `/`. Targets that have no path (`*`, CONNECT) are left alone.

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, header};

use crate::config;
use crate::message::RequestParts;
use crate::route::path;

/// What becomes of a target and a host.
#[derive(Debug, Clone, Default)]
pub(super) struct Rewrite {
    /// The new prefix, without trailing slash.
    prefix: Option<Box<str>>,
    /// Whether the new prefix was written with a trailing slash, which it keeps where
    /// nothing remains.
    slash: bool,
    host: Option<HeaderValue>,
}

/// What is wrong with a rewrite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// Both would decide what the path begins with.
    #[error("`strip_prefix` and `replace_prefix` exclude each other")]
    Both,
    /// Of `replace_prefix`.
    #[error(
        "the prefix `{0}` is not a path: it starts with `/` and has neither query nor dot segments"
    )]
    Prefix(String),
    /// Of `host`.
    #[error("`{0}` is not a host")]
    Host(String),
}

/// The target would have more bytes than any target may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten target is too long")]
pub struct TooLong;

impl Rewrite {
    pub(super) fn new(written: &config::Rewrite) -> Result<Self, RewriteError> {
        let strip = written.strip_prefix.unwrap_or(false);
        let prefix = match (&written.replace_prefix, strip) {
            (Some(_), true) => return Err(RewriteError::Both),
            (Some(prefix), false) => Some(check_prefix(prefix)?),
            (None, true) => Some(""),
            (None, false) => None,
        };
        let host = written.host.as_deref().map(check_host).transpose()?;
        Ok(Self {
            prefix: prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix).into()),
            slash: prefix.is_some_and(|prefix| prefix.ends_with('/')),
            host,
        })
    }

    pub(super) fn apply(&self, parts: &mut RequestParts, matched: usize) -> Result<(), TooLong> {
        if let Some(prefix) = &self.prefix
            && parts.uri.path().starts_with('/')
        {
            parts.uri = self.target(prefix, &parts.uri, matched)?;
        }
        if let Some(host) = &self.host {
            parts.headers.insert(&header::HOST, host);
        }
        Ok(())
    }

    fn target(&self, prefix: &str, uri: &Uri, matched: usize) -> Result<Uri, TooLong> {
        let rest = uri.path().get(matched..).unwrap_or_default();
        let has_slash = if rest.is_empty() {
            !self.slash && !prefix.is_empty()
        } else {
            rest.starts_with('/')
        };
        let slash = if has_slash { "" } else { "/" };
        let query = uri.query();
        let mark = if query.is_some() { "?" } else { "" };
        let target = [prefix, slash, rest, mark, query.unwrap_or_default()].concat();
        // Both parts were valid in a target before, so only the length can be wrong now.
        PathAndQuery::from_maybe_shared(Bytes::from(target))
            .map(Uri::from)
            .map_err(|_| TooLong)
    }
}

fn check_prefix(written: &str) -> Result<&str, RewriteError> {
    let is_path = written.is_empty() || written.starts_with('/');
    let is_clean = !written.contains(['?', '#']) && !path::is_ambiguous(written);
    let parses = written.is_empty() || written.parse::<PathAndQuery>().is_ok();
    if is_path && is_clean && parses && written.is_ascii() {
        Ok(written)
    } else {
        Err(RewriteError::Prefix(written.to_owned()))
    }
}

/// A host, with a port or without; no user information.
fn check_host(written: &str) -> Result<HeaderValue, RewriteError> {
    let wrong = || RewriteError::Host(written.to_owned());
    let authority: http::uri::Authority = written.parse().map_err(|_| wrong())?;
    let has_port = authority.as_str().len() > authority.host().len();
    if written.contains('@') || has_port && authority.port_u16().is_none() {
        return Err(wrong());
    }
    HeaderValue::from_str(written).map_err(|_| wrong())
}
