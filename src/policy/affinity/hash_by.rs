//! Keys: what requests are hashed by.

use std::net::IpAddr;

use http::HeaderName;

use super::cookie;
use crate::balance::{client_key, text_key};
use crate::message::{RequestParts, Value};
use crate::route::parameter;

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address, behind all trusted proxies.
    ClientAddress,
    /// The first field of a name.
    Field(HeaderName),
    /// The first cookie of a name.
    Cookie(Box<str>),
    /// The first parameter of a name in the query, as the form encoding means it.
    Query(Box<str>),
    /// The path as the endpoint gets it, without the query.
    Path,
}

impl HashBy {
    /// What is written; the client's address where that is nothing that there is, which the check
    /// of the configuration refuses.
    pub fn new(written: &str) -> Self {
        let (kind, name) = written.split_once(':').unwrap_or((written, ""));
        match (kind, HeaderName::try_from(name)) {
            ("field", Ok(name)) => Self::Field(name),
            ("cookie", _) => Self::Cookie(name.into()),
            ("query", _) => Self::Query(name.into()),
            ("path", _) => Self::Path,
            _ => Self::ClientAddress,
        }
    }

    /// The key of a request; `None` if it has nothing of the kind, or that is empty.
    pub fn key(&self, request: &RequestParts, client: Option<IpAddr>) -> Option<u64> {
        let text = |text: &[u8]| (!text.is_empty()).then(|| text_key(text));
        match self {
            Self::ClientAddress => client.map(client_key),
            Self::Field(name) => text(request.headers.get(name).map(Value::as_bytes)?),
            Self::Cookie(name) => text(cookie::first(&request.headers, name)?),
            Self::Query(name) => text(&parameter(request.uri.query(), name)?),
            Self::Path => text(request.uri.path().as_bytes()),
        }
    }
}
