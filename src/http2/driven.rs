//! What a connection tells its owner, and is told.

use std::io;

use super::error::{Abuse, ErrorCode};
use super::head::{HeadError, RequestHead};
use super::stream::Stream;

/// What the owner of a connection has to act on.
#[derive(Debug)]
pub enum Driven {
    /// A client asks. The stream counts against the limit until it is dropped.
    Request(Box<RequestHead>, Stream),
    /// What a client asks cannot be served. Unless the head is malformed the stream is there to
    /// answer on, else it has been reset.
    Refused(HeadError, Option<Stream>),
    /// The connection has ended: all streams know, and nothing more is to be sent.
    Ended(Ended),
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// In order: the other end closed it, or both had nothing more to say.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// The other end broke the protocol, and was told so. The text says how.
    Refused(ErrorCode, &'static str),
    /// The other end did too much of this, and was told so.
    Abused(Abuse),
}

/// What a connection waits for, for its owner's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The preface and the first SETTINGS of the other end.
    Beginning,
    /// The rest of a head.
    Head,
    /// Nothing: there are streams.
    Busy,
    /// A stream: there is none.
    Idle,
    /// The other end, to take our last words. They have little time.
    Ending,
}

/// How a stream is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// `:scheme` is `https`, not `http`.
    pub is_https: bool,
    /// No body follows.
    pub ends: bool,
    /// How long the body is, if that is known.
    pub length: Option<u64>,
    /// Whether trailers of the response are kept: `TE: trailers`.
    pub te_trailers: bool,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<&'a [u8]>,
}

/// Why no stream can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There are as many as the other end allows.
    #[error("the connection has as many streams as it may have")]
    Full,
    /// It has ended or is about to.
    #[error("the connection is about to end")]
    Ending,
}

/// Bytes of bodies that have moved.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// To the other end.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

/// Streams that the other end holds up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HeldUp {
    /// Those of which it takes nothing.
    pub responses: usize,
    /// Those whose request it has begun and not ended, but for conversations.
    pub requests: usize,
}
