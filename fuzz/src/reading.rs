//! How the engine's parser reads a client's bytes: where each request begins, and why it stops.
//!
//! It is asked only where a run has shown a difference, for the place and the reason; what is
//! accepted for a reason must be borne out by the bytes themselves, see [`crate::facts`].

use evenkeel::http1::{
    Decoded, Decoder, FrameError, Framing, Limits, RequestError, ResponseError, parse_request,
    parse_response, resume_request,
};
use http::Method;

/// Why the reading stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The bytes are over.
    End,
    /// A head is refused.
    Request(RequestError),
    /// The head of an answer is refused.
    Response(ResponseError),
    /// A body is refused.
    Body(FrameError),
}

/// Requests, one behind the other.
#[derive(Debug)]
pub struct Requests<'a> {
    /// Method and first byte of each whose head was read.
    pub heads: Vec<(Method, &'a [u8])>,
    /// What is left where the reading stopped: from the first byte of the message.
    pub rest: &'a [u8],
    /// Why it did.
    pub stop: Stop,
    /// Why it may in that head, before all of it is there.
    pub early: Vec<RequestError>,
}

/// Reads what a client sends.
pub fn requests(bytes: &[u8]) -> Requests<'_> {
    let mut rest = bytes;
    let mut heads = Vec::new();
    loop {
        // One empty line is dropped between requests, and the parser drops another.
        let start = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let head = match parse_request(start, LIMITS) {
            Ok(Some(head)) => head,
            Ok(None) => return stop(heads, rest, Stop::End),
            Err(error) => {
                return Requests {
                    early: early(start),
                    ..stop(heads, rest, Stop::Request(error))
                };
            }
        };
        heads.push((head.parts.method, start));
        match body(head.framing, &start[head.size..]) {
            Ok(Some(size)) => rest = &start[head.size + size..],
            Ok(None) => return stop(heads, rest, Stop::End),
            Err(error) => return stop(heads, rest, Stop::Body(error)),
        }
    }
}

/// Why the answer to `method` that begins with these bytes is refused, interim ones before it
/// skipped.
pub fn response(bytes: &[u8], method: &Method) -> (Stop, usize) {
    let mut at = 0;
    loop {
        let head = match parse_response(&bytes[at..], method, RESPONSE_LIMITS) {
            Ok(Some(head)) => head,
            Ok(None) => return (Stop::End, at),
            Err(error) => return (Stop::Response(error), at),
        };
        let is_interim = head.parts.status.is_informational() && head.parts.status != 101;
        if !is_interim {
            let stop =
                body(head.framing, &bytes[at + head.size..]).map_or_else(Stop::Body, |_| Stop::End);
            return (stop, at);
        }
        at += head.size;
    }
}

fn stop<'a>(heads: Vec<(Method, &'a [u8])>, rest: &'a [u8], stop: Stop) -> Requests<'a> {
    Requests {
        heads,
        rest,
        stop,
        early: Vec::new(),
    }
}

/// Why a head may be refused that comes in pieces: what shows first need not be what shows when all
/// of it is there.
fn early(bytes: &[u8]) -> Vec<RequestError> {
    let mut errors = Vec::new();
    for end in 1..=bytes.len() {
        for seen in [0, end - 1] {
            let read = resume_request(&bytes[..end], seen, LIMITS);
            errors.extend(read.err().filter(|error| !errors.contains(error)));
        }
    }
    errors
}

/// The size of a body; `None` if it is not whole.
fn body(framing: Framing, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let mut decoder = Decoder::new(framing);
    let mut at = 0;
    while !decoder.is_done() {
        match decoder.decode(&bytes[at..])? {
            Decoded::Data { skip, length } => at += skip + length,
            Decoded::End { consumed, .. } => return Ok(Some(at + consumed)),
            Decoded::More { consumed } if consumed == 0 || at + consumed == bytes.len() => {
                return Ok(None);
            }
            Decoded::More { consumed } => at += consumed,
        }
    }
    Ok(Some(at))
}

/// The defaults of a listener.
const LIMITS: Limits = Limits {
    head: 16 * 1024,
    fields: 100,
};

/// What is read from endpoints.
const RESPONSE_LIMITS: Limits = Limits {
    head: 32 * 1024,
    fields: 200,
};
