//! The decoder of a body: which bytes of the input are payload, and where the body ends.

use http::HeaderMap;

use super::Framing;
use super::chunked::Chunked;
use crate::body::BodyError;

/// Finds the payload of one body in its bytes, however they are split.
///
/// Payload is never copied or kept; only trailers are, up to their bounds.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    trailers: Trailers,
}

/// What becomes of the trailers behind a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailers {
    /// Those that may travel on do.
    Kept,
    /// None travels on: `Connection` named fields, and what it names ends with its hop wherever it
    /// stands (RFC 9110 §7.6.1). Nobody is known to do that, so one is not told from another.
    Dropped,
}

/// What a step of the decoder found in the input.
#[derive(Debug)]
pub enum Decoded {
    /// Payload: `input[skip..skip + length]`; that much is consumed. `length` is not 0.
    Data {
        /// Bytes of framing before the payload.
        skip: usize,
        /// Bytes of payload.
        length: usize,
    },
    /// No payload until there is further input.
    More {
        /// Bytes that need not come again.
        consumed: usize,
    },
    /// The body is over; what follows belongs to the next message.
    End {
        /// Bytes of the body.
        consumed: usize,
        /// The trailers that may travel on, if any came.
        trailers: Option<HeaderMap>,
    },
}

/// Why a body cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The size of a chunk is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk extension is malformed (RFC 9112 §7.1.1).
    #[error("malformed chunk extension")]
    Extension,
    /// The extensions of a line, or of the body in relation to its payload, are too long.
    #[error("chunk extensions are too long")]
    ExtensionsTooLong,
    /// A chunk line or the payload of a chunk does not end with CRLF (RFC 9112 §7.1).
    #[error("a chunk does not end with CRLF")]
    ChunkEnd,
    /// A trailer line is malformed (RFC 9112 §7.1.2).
    #[error("malformed trailer")]
    Trailer,
    /// The trailers are too many or too long.
    #[error("trailers are too large")]
    TrailersTooLarge,
    /// The connection ended before the body did (RFC 9112 §8).
    #[error("the connection ended in the middle of the body")]
    Truncated,
}

#[derive(Debug)]
enum State {
    Done,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Decoder {
    /// A decoder at the first byte behind a head.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            trailers: Trailers::Kept,
        }
    }

    /// As [`Decoder::new`], with trailers as their head has it.
    pub fn with_trailers(framing: Framing, trailers: Trailers) -> Self {
        Self {
            trailers,
            ..Self::new(framing)
        }
    }

    /// Looks at the input that follows what was consumed so far. After an error the decoder is of
    /// no further use, and the connection neither.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, FrameError> {
        let mut decoded = match &mut self.state {
            State::Done => Decoded::End {
                consumed: 0,
                trailers: None,
            },
            State::UntilClose => payload(input.len()),
            State::Length(remaining) => {
                let length =
                    usize::try_from(*remaining).map_or(input.len(), |all| all.min(input.len()));
                *remaining -= length as u64;
                if *remaining == 0 {
                    self.state = State::Done;
                }
                payload(length)
            }
            State::Chunked(chunked) => chunked.decode(input)?,
        };
        if let Decoded::End { trailers, .. } = &mut decoded {
            self.state = State::Done;
            if self.trailers == Trailers::Dropped {
                *trailers = None;
            }
        }
        Ok(decoded)
    }

    /// How much of a body is still to come whose head said how long it is.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(remaining) => Some(remaining),
            State::UntilClose | State::Chunked(_) => None,
        }
    }

    /// How many of the next bytes are payload and nothing else; `None` if that must be read off
    /// them.
    pub fn unframed(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::UntilClose => Some(u64::MAX),
            State::Done | State::Chunked(_) => None,
        }
    }

    /// Takes in that so many of the [unframed](Self::unframed) bytes went another way.
    pub fn passed(&mut self, count: u64) {
        if let State::Length(remaining) = &mut self.state {
            *remaining = remaining.saturating_sub(count);
            if *remaining == 0 {
                self.state = State::Done;
            }
        }
    }

    /// Whether no byte of the body is missing.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The connection ended: whether the body is complete with that.
    pub fn end_of_input(&self) -> Result<(), FrameError> {
        match self.state {
            State::Done | State::UntilClose => Ok(()),
            State::Length(_) | State::Chunked(_) => Err(FrameError::Truncated),
        }
    }
}

impl From<FrameError> for BodyError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Truncated => Self::Truncated,
            FrameError::ChunkSize
            | FrameError::Extension
            | FrameError::ExtensionsTooLong
            | FrameError::ChunkEnd
            | FrameError::Trailer
            | FrameError::TrailersTooLarge => Self::Malformed,
        }
    }
}

/// Payload from the first byte of the input.
fn payload(length: usize) -> Decoded {
    if length == 0 {
        Decoded::More { consumed: 0 }
    } else {
        Decoded::Data { skip: 0, length }
    }
}
