//! Heads of messages, as they pass from one side to the other.
//!
//! The interface between a connection that speaks HTTP and what happens to a request: a head and a
//! [`Body`](crate::body::Body) in, a head and a body out. The heads are those of `http`, but
//! for their fields: a proxy passes nearly all of them on as they came, so [`Fields`] keeps
//! the received text and where each line is in it, and builds no map. `ARCHITECTURE.md` says
//! what that saves.

mod authority;
mod decoded;
mod fields;
mod line;
mod names;
mod prepared;
mod recycle;
mod scan;
mod token;
mod value;

use http::{Method, StatusCode, Uri, Version};

pub(crate) use authority::Authority;
pub use fields::Fields;
pub(crate) use fields::Place;
pub(crate) use line::LONGEST_NAME;
pub use names::{
    ATTEMPT, CLIENT_CERT, CLIENT_CERT_CHAIN, REQUEST_ID, Role,
    header_name_is_forbidden_in_trailers, header_name_is_hop_by_hop, name_is_spelt,
    name_tells_of_certificate, name_tells_who_asks, role,
};
pub use prepared::{PreparedLine, PreparedName};
pub(crate) use scan::{name_end, quotable_end, value_end};
pub(crate) use token::{is_token, is_token_byte};
pub use value::Value;

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestParts {
    /// The method.
    pub method: Method,
    /// The target: path and query, or `*`, or for CONNECT the authority.
    pub uri: Uri,
    /// The version in which it came.
    pub version: Version,
    /// The fields.
    pub headers: Fields,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseParts {
    /// The status.
    pub status: StatusCode,
    /// The version in which it came.
    pub version: Version,
    /// The fields.
    pub headers: Fields,
}

impl From<http::request::Parts> for RequestParts {
    fn from(parts: http::request::Parts) -> Self {
        Self {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: Fields::from(&parts.headers),
        }
    }
}

impl From<http::response::Parts> for ResponseParts {
    fn from(parts: http::response::Parts) -> Self {
        Self {
            status: parts.status,
            version: parts.version,
            headers: Fields::from(&parts.headers),
        }
    }
}

#[cfg(test)]
mod tests;
