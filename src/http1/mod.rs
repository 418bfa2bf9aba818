//! HTTP/1.1 on the wire, on both sides: bytes in, checked facts out; facts in, bytes out.
//!
//! Problem: a proxy and its neighbours must agree on where each message ends. Every disagreement is
//! a request that somebody smuggled. General parsers are lenient by design and leave what matters
//! to their caller.
//!
//! So `httparse` reads the tokens of field lines that are not plain, and nothing else; the start
//! lines, the framing, the limits, the persistence and the syntax of the fields that decide any of
//! them are ours. What RFC 9110 and RFC 9112 leave open is decided the strict way: what could be
//! read in two ways is refused. None of that does I/O, waits or reads a clock; only `receive`
//! and `send`, which hold the bytes between a message and its stream, touch a socket.
//!
//! Use, for each message: [`parse_request`] or [`parse_response`] until a head is there; a
//! [`Decoder`] over what follows it; [`encode_request`] or [`encode_response`] towards the other
//! side, then the body, in chunks where the framing says so.

mod encode;
mod frame;
mod lines;
mod parse;
mod receive;
mod send;

pub use encode::{
    RequestOptions, ResponseOptions, encode_chunk_head, encode_chunk_tail, encode_interim,
    encode_last_chunk, encode_request, encode_response,
};
pub use frame::{Decoded, Decoder, FrameError, Framing, FramingError, ResponseFraming, Trailers};
pub use lines::FieldError;
pub use parse::{
    RequestError, RequestHead, ResponseError, ResponseHead, parse_request, parse_response,
    resume_request, resume_response,
};
pub use receive::{Amount, Received, can_draw, poll_draw};
pub use send::{Outgoing, SendError};

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, from the first of the start line to the last of the empty line.
    pub head: usize,
    /// Field lines.
    pub fields: usize,
}

#[cfg(test)]
mod tests;
