//! Field lines: the tokens of a block of fields that ends with an empty line.
//!
//! `httparse` reads the names and values; it takes a lone LF for the end of a line, which RFC 9112
//! §2.2 permits and which has let requests through that the next hop read differently. Here every
//! line ends with CRLF.
//!
//! Nearly every line is *plain*: a name of letters, digits and `-`, a colon, one space, a value of
//! visible ASCII without white space around it, CRLF. Such a line can be read in one way only, so
//! it is told without `httparse`, in a third of the instructions. From the first line on that is
//! not plain, `httparse` reads the rest.

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memchr_iter;

use crate::message::{LONGEST_NAME, Place, name_end, value_end};

/// What is wrong with a field line, on either side or in a trailer section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A CR or LF stands alone (RFC 9112 §2.2).
    #[error("a CR or LF stands alone")]
    LineEnd,
    /// No colon, an empty name or one longer than 65,535 bytes, a byte that no token has, a space
    /// before the colon, a folded line (RFC 9112 §5.1, §5.2).
    #[error("malformed field line")]
    Name,
    /// A control byte in a value (RFC 9110 §5.5).
    #[error("control byte in a field value")]
    Value,
    /// More lines than the limit.
    #[error("too many fields")]
    TooMany,
}

/// Room for the tokens of one block: on the stack for an ordinary head, on the heap for a long one.
pub(super) struct Slots<'bytes> {
    few: [Header<'bytes>; FEW],
    many: Vec<Header<'bytes>>,
}

/// A block of field lines that was read.
pub(super) struct Block<'slots, 'bytes> {
    pub(super) lines: &'slots [Header<'bytes>],
    /// Bytes of the block, its empty line included.
    pub(super) size: usize,
}

/// The lines of a block: first those that are plain, one after the other, then the others.
#[derive(Debug)]
pub(super) struct Lines<'bytes> {
    bytes: &'bytes [u8],
    /// Behind the lines that were read.
    at: usize,
    /// Lines that may still come.
    left: usize,
}

/// What follows the plain lines of a block.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) places: Vec<Place>,
    /// Bytes of the block, its empty line included.
    pub(super) size: usize,
}

impl<'bytes> Lines<'bytes> {
    /// The lines at the start of `bytes`; at most `limit` of them.
    pub(super) fn new(bytes: &'bytes [u8], limit: usize) -> Self {
        Self {
            bytes,
            at: 0,
            left: limit,
        }
    }

    /// The next line and its name, if it is plain.
    #[expect(
        clippy::inline_always,
        reason = "the compiler does not, at 700 instructions a request"
    )]
    #[inline(always)]
    pub(super) fn next_plain(&mut self) -> Option<(&'bytes [u8], Place)> {
        let left = self.left.checked_sub(1)?;
        let line = self.bytes.get(self.at..)?;
        let name_length = name_end(line);
        let (name, behind) = line.split_at_checked(name_length)?;
        let [b':', b' ', value @ ..] = behind else {
            return None;
        };
        let value_length = value_end(value);
        let is_plain = match value.get(..value_length + CRLF.len())? {
            [] | [b' ', ..] | [.., b' ', b'\r', b'\n'] => false,
            [.., b'\r', b'\n'] => (1..=LONGEST_NAME).contains(&name_length),
            _ => false,
        };
        if !is_plain {
            return None;
        }
        let place = Place {
            name: self.at,
            name_length,
            value: self.at + name_length + SEPARATOR.len(),
            value_length,
            is_plain: true,
        };
        self.at = place.value + value_length + CRLF.len();
        self.left = left;
        Some((name, place))
    }

    /// Whether the plain lines were all, and the empty line stands next.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes[self.at..].starts_with(CRLF)
    }

    /// The lines from the first on that is not plain, of a block that is there to its end; nearly
    /// always there are none.
    pub(super) fn others(&self) -> Result<Others, FieldError> {
        if self.is_at_end() {
            return Ok(Others {
                places: Vec::new(),
                size: self.at + CRLF.len(),
            });
        }
        self.read_others()
    }

    #[cold]
    fn read_others(&self) -> Result<Others, FieldError> {
        let mut slots = Slots::new();
        let block = slots.read(&self.bytes[self.at..], self.left)?;
        let place = |line| place(self.bytes, line);
        Ok(Others {
            places: block.lines.iter().map(place).collect(),
            size: self.at + block.size,
        })
    }
}

impl From<httparse::Error> for FieldError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderValue => Self::Value,
            httparse::Error::NewLine => Self::LineEnd,
            httparse::Error::TooManyHeaders => Self::TooMany,
            httparse::Error::HeaderName
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Self::Name,
        }
    }
}

impl<'bytes> Slots<'bytes> {
    pub(super) fn new() -> Self {
        Self {
            few: [EMPTY_HEADER; FEW],
            many: Vec::new(),
        }
    }

    /// Reads a block that is wholly within `bytes`, at most `limit` lines of it; what stands behind
    /// its empty line is left alone.
    pub(super) fn read(
        &mut self,
        bytes: &'bytes [u8],
        limit: usize,
    ) -> Result<Block<'_, 'bytes>, FieldError> {
        let few = &mut self.few[..limit.min(FEW)];
        let read = match httparse::parse_headers(bytes, few) {
            Err(httparse::Error::TooManyHeaders) if limit > FEW => {
                // Not the limit: that is the operator's, and no head has more fields than lines.
                let lines = memchr_iter(b'\n', bytes).take(limit).count();
                self.many = vec![EMPTY_HEADER; lines];
                httparse::parse_headers(bytes, &mut self.many)?
            }
            read => read?,
        };
        let Status::Complete((size, lines)) = read else {
            // The caller saw CRLF CRLF, so the block has an end: it is not made of lines.
            return Err(FieldError::Name);
        };
        // Each line begins behind a CRLF, and so does the empty one that ends the block.
        let Some(end) = bytes[..size].strip_suffix(b"\r\n") else {
            return Err(FieldError::LineEnd);
        };
        if lines.iter().any(|line| line.name.len() > LONGEST_NAME) {
            return Err(FieldError::Name);
        }
        let starts = lines.iter().map(|line| offset(bytes, line.name.as_bytes()));
        let mut starts = starts.chain([end.len()]);
        if starts.all(|at| at == 0 || bytes[..at].ends_with(b"\r\n")) {
            Ok(Block { lines, size })
        } else {
            Err(FieldError::LineEnd)
        }
    }
}

/// Where a line is in its block.
fn place(block: &[u8], line: &Header<'_>) -> Place {
    let name = offset(block, line.name.as_bytes());
    let behind_name = name + line.name.len();
    // An empty value is a slice of nowhere.
    let value = if line.value.is_empty() {
        behind_name + SEPARATOR.len()
    } else {
        offset(block, line.value)
    };
    let is_separated = block.get(behind_name..value) == Some(SEPARATOR);
    Place {
        name,
        name_length: line.name.len(),
        value,
        value_length: line.value.len(),
        is_plain: is_separated && block[value + line.value.len()..].starts_with(CRLF),
    }
}

/// Where in `whole` its part `part` begins.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// Lines that need no allocation. Browsers send 10 to 25; each slot costs two stores.
const FEW: usize = 32;

const SEPARATOR: &[u8] = b": ";

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests;
