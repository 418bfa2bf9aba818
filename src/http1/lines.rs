//! Field lines: the tokens of a block of fields that ends with an empty line.
//!
//! `httparse` reads the names and values; it takes a lone LF for the end of a line, which RFC 9112
//! §2.2 permits and which has let requests through that the next hop read differently. Here every
//! line ends with CRLF.

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memchr_iter;

/// What is wrong with a field line, on either side or in a trailer section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A CR or LF stands alone (RFC 9112 §2.2).
    #[error("a CR or LF stands alone")]
    LineEnd,
    /// No colon, an empty name, a byte that no token has, a space before the colon, a folded line
    /// (RFC 9112 §5.1, §5.2).
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
        let starts = lines.iter().map(|line| offset(bytes, line.name.as_bytes()));
        let mut starts = starts.chain([end.len()]);
        if starts.all(|at| at == 0 || bytes[..at].ends_with(b"\r\n")) {
            Ok(Block { lines, size })
        } else {
            Err(FieldError::LineEnd)
        }
    }
}

/// Where in `whole` its part `part` begins.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// Whether all bytes are those of a token, and there is one (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a token may have this byte (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

const TOKEN_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_mark = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        bytes[byte as usize] = byte.is_ascii_alphanumeric() || is_mark;
        byte += 1;
    }
    bytes
};

/// Lines that need no allocation. Browsers send 10 to 25; each slot costs two stores.
const FEW: usize = 32;
