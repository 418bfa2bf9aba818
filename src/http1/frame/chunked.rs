//! The chunked coding, read byte by byte between the payloads (RFC 9112 §7.1).
//!
//! Everything but payload is bounded, since an endless extension or trailer is the classic way to
//! keep a proxy busy for nothing. Extensions are checked and dropped; trailers that may travel on
//! come out at the end.

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::{Decoded, FrameError};
use crate::http1::lines::{FieldError, Slots};
use crate::message::{header_name_is_forbidden_in_trailers, is_token_byte};

/// The state of one chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    step: Step,
    /// The size of the chunk so far while its digits are read, then the payload that is missing.
    size: u64,
    /// Digits of the size.
    digits: u8,
    /// Extension bytes of this line.
    line: u16,
    /// Extension bytes of the body that its payload has not made up for.
    extensions: u32,
    /// The trailer section so far.
    trailers: Vec<u8>,
    /// Where its last line begins.
    trailer_line: usize,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Size,
    Extension(Extension),
    /// The LF of the line with the size.
    SizeEnd,
    Payload,
    /// The CR behind the payload.
    PayloadReturn,
    /// The LF behind the payload.
    PayloadEnd,
    Trailers,
}

/// A place in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// White space was seen, so only a semicolon may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// White space was seen behind a name.
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    /// Behind a backslash.
    Escaped,
    AfterQuoted,
}

impl Chunked {
    pub(super) fn decode(&mut self, input: &[u8]) -> Result<Decoded, FrameError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.step {
                Step::Payload => return Ok(self.payload(at, input.len() - at)),
                Step::Trailers => return self.trailers(at, &input[at..]),
                Step::Size
                | Step::Extension(_)
                | Step::SizeEnd
                | Step::PayloadReturn
                | Step::PayloadEnd => self.step = self.after(byte)?,
            }
            at += 1;
        }
        Ok(Decoded::More { consumed: at })
    }

    /// The step behind a byte that is neither payload nor trailer.
    fn after(&mut self, byte: u8) -> Result<Step, FrameError> {
        match (self.step, byte) {
            (Step::Size, b'\r') if self.digits > 0 => Ok(Step::SizeEnd),
            (Step::Size, b';' | b' ' | b'\t') if self.digits > 0 => {
                self.line = 0;
                self.extension(Extension::AfterQuoted, byte)
            }
            (Step::Size, _) => self.digit(byte),
            (Step::Extension(place), _) => self.extension(place, byte),
            (Step::SizeEnd, b'\n') => Ok(self.begin_payload()),
            (Step::PayloadReturn, b'\r') => Ok(Step::PayloadEnd),
            (Step::PayloadEnd, b'\n') => Ok(Step::Size),
            (
                Step::SizeEnd
                | Step::PayloadReturn
                | Step::PayloadEnd
                | Step::Payload
                | Step::Trailers,
                _,
            ) => Err(FrameError::ChunkEnd),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Step, FrameError> {
        let digit = char::from(byte).to_digit(16).ok_or(FrameError::ChunkSize)?;
        if self.digits == MAX_DIGITS {
            return Err(FrameError::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(Step::Size)
    }

    fn begin_payload(&mut self) -> Step {
        self.digits = 0;
        if self.size == 0 {
            return Step::Trailers;
        }
        let allowance = u32::try_from(self.size / PAYLOAD_PER_EXTENSION).unwrap_or(u32::MAX);
        self.extensions = self.extensions.saturating_sub(allowance);
        Step::Payload
    }

    fn payload(&mut self, skip: usize, available: usize) -> Decoded {
        let length = usize::try_from(self.size).map_or(available, |all| all.min(available));
        self.size -= length as u64;
        if self.size == 0 {
            self.step = Step::PayloadReturn;
        }
        Decoded::Data { skip, length }
    }

    /// The step behind a byte of an extension, or behind its end.
    fn extension(&mut self, place: Extension, byte: u8) -> Result<Step, FrameError> {
        self.line += 1;
        self.extensions += 1;
        if self.line > MAX_EXTENSIONS_OF_LINE || self.extensions > MAX_EXTENSIONS {
            return Err(FrameError::ExtensionsTooLong);
        }
        extension_after(place, byte).ok_or(FrameError::Extension)
    }

    /// Takes lines of the trailer section, up to its empty line.
    fn trailers(&mut self, at: usize, mut input: &[u8]) -> Result<Decoded, FrameError> {
        let before = input.len();
        while !input.is_empty() {
            let end = memchr(b'\n', input).map(|at| at + 1);
            let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
            if self.trailers.len() + piece.len() > MAX_TRAILERS {
                return Err(FrameError::TrailersTooLarge);
            }
            self.trailers.extend_from_slice(piece);
            input = rest;
            if end.is_none() {
                break;
            }
            let line = &self.trailers[self.trailer_line..];
            if !line.ends_with(b"\r\n") {
                return Err(FrameError::Trailer);
            }
            if line.len() == 2 {
                return Ok(Decoded::End {
                    consumed: at + before - input.len(),
                    trailers: read_trailers(&self.trailers)?,
                });
            }
            self.trailer_line = self.trailers.len();
        }
        Ok(Decoded::More {
            consumed: at + before,
        })
    }
}

/// The trailers of a map that may be written behind a body.
pub(in crate::http1) fn trailers_to_write(
    trailers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    trailers
        .iter()
        .filter(|(name, _)| !header_name_is_forbidden_in_trailers(name))
}

/// The step behind one byte of an extension, by the grammar alone; `None` where it
/// has no such byte.
fn extension_after(place: Extension, byte: u8) -> Option<Step> {
    use Extension::{
        AfterName, AfterQuoted, BeforeName, BeforeSemicolon, BeforeValue, Escaped, Name, Quoted,
        Token,
    };
    let next = match (place, byte) {
        (Name | Token | AfterQuoted, b'\r') => return Some(Step::SizeEnd),
        (BeforeSemicolon | Name | AfterName | Token | AfterQuoted, b';') => BeforeName,
        (Name | AfterName, b'=') => BeforeValue,
        (Name, b' ' | b'\t') => AfterName,
        (Token | AfterQuoted, b' ' | b'\t') => BeforeSemicolon,
        (BeforeSemicolon | BeforeName | AfterName | BeforeValue, b' ' | b'\t') => place,
        (BeforeName | Name, _) if is_token_byte(byte) => Name,
        (BeforeValue | Token, _) if is_token_byte(byte) => Token,
        (Quoted, b'"') => AfterQuoted,
        (Quoted, b'\\') => Escaped,
        (BeforeValue, b'"') | (Quoted | Escaped, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
        _ => return None,
    };
    Some(Step::Extension(next))
}

/// The fields of a whole trailer section, without those that have no place there.
fn read_trailers(section: &[u8]) -> Result<Option<HeaderMap>, FrameError> {
    let mut slots = Slots::new();
    let block = slots
        .read(section, MAX_TRAILER_FIELDS)
        .map_err(|error| match error {
            FieldError::TooMany => FrameError::TrailersTooLarge,
            FieldError::LineEnd | FieldError::Name | FieldError::Value => FrameError::Trailer,
        })?;
    let mut trailers = HeaderMap::new();
    for line in block.lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| FrameError::Trailer)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| FrameError::Trailer)?;
        if !header_name_is_forbidden_in_trailers(&name) {
            trailers.append(name, value);
        }
    }
    Ok((!trailers.is_empty()).then_some(trailers))
}

/// Digits of a chunk size: what fits 64 bits.
const MAX_DIGITS: u8 = 16;

/// Extension bytes of one line. Nobody uses more than a signature of 64 digits.
const MAX_EXTENSIONS_OF_LINE: u16 = 256;

/// Extension bytes of a body beyond what its payload makes up for.
const MAX_EXTENSIONS: u32 = 8 * 1024;

/// Payload bytes that make up for one extension byte, so that a long stream may have extensions but
/// no body may be made of them.
const PAYLOAD_PER_EXTENSION: u64 = 16;

/// Bytes of a trailer section.
const MAX_TRAILERS: usize = 8 * 1024;

/// Fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;
