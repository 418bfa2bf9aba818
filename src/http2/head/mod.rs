//! Heads: decoded fields in, checked heads out (RFC 9113 §8), and back.
//!
//! Problem: what HTTP/2 carries in lengths and tables, HTTP/1.1 carries in lines. A value with a
//! line end in it, a name with a colon, a path with a space, two lengths: each is harmless here and
//! a second request there. So a head is held to what HTTP/1.1 could have said, and to the rules of
//! HTTP/2, before anybody sees it; what is in doubt is malformed.
//!
//! A reader takes each field as it comes out of its block and says at the end what the head is.
//! Beyond its limits, or once something was wrong, it keeps nothing more: the rest of the block is
//! still decoded, since the tables must stay in step, and leads nowhere.

mod field;
mod request;
mod response;
mod target;
mod trailers;
mod write;

pub use request::RequestReader;
pub use response::ResponseReader;
pub use trailers::TrailersReader;
pub use write::{write_request, write_response, write_trailers};

use crate::message::{RequestParts, ResponseParts};

/// A request head that was read and checked.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four things that a head says, each by itself"
)]
pub struct RequestHead {
    /// As HTTP/1.1 has it: the URI is path and query, or `*`, or for CONNECT the authority. There
    /// is exactly one `Host`, `:authority` or what stood in its place. Lines of `Cookie` are one.
    /// Fields of the connection are refused, and so are not there. The version is `HTTP_2`.
    pub parts: RequestParts,
    /// What `Content-Length` says. The engine holds the body to it.
    pub length: Option<u64>,
    /// Whether no body follows, not even an empty one.
    pub ends: bool,
    /// Whether the client may wait with its body for a 100 (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether the client takes trailers: `TE: trailers`.
    pub te_trailers: bool,
    /// What `:scheme` says: whether it is `https`.
    pub is_https: bool,
    /// `:protocol` of an extended CONNECT (RFC 8441). Its URI is path and query, as of a GET.
    pub protocol: Option<Box<[u8]>>,
}

/// A response head that was read and checked; also of an interim response.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and fields; the version is `HTTP_2`.
    pub parts: ResponseParts,
    /// What `Content-Length` says. The engine holds the body to it, but for answers without one.
    pub length: Option<u64>,
    /// Whether no body follows.
    pub ends: bool,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It has more bytes or lines than it may. The stream is whole: it may be answered (431).
    #[error("head too large")]
    TooLarge,
    /// It is well-formed, and expects what nobody can do. The stream is whole: it may be answered
    /// (417, RFC 9110 §10.1.1).
    #[error("unknown expectation")]
    Expectation,
    /// It is malformed (RFC 9113 §8.1.1): the stream is reset.
    #[error("{0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests;
