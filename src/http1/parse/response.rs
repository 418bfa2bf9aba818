//! Response heads.

use http::{HeaderValue, Method, StatusCode, Version};

use super::fields::{Connection, add_protocols, keep, keep_length, protocols};
use super::{check_line_ends, first_line, line, may_be_complete};
use crate::http1::Limits;
use crate::http1::frame::{
    Declared, Framing, FramingError, Trailers, has_no_content, response_framing,
};
use crate::http1::lines::{FieldError, Lines};
use crate::message::{Fields, Place, ResponseParts, Role, role};

/// A response head that was read and checked; also an interim one (1xx).
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version and the end-to-end fields in the order of the wire.
    ///
    /// `Content-Length` is there where it says something: as the framing, or of the content that
    /// HEAD and 304 leave out. Fields of the connection are left out, except that a 426 keeps its
    /// `Upgrade` (RFC 9110 §15.5.22).
    pub parts: ResponseParts,
    /// Where the body ends.
    pub framing: Framing,
    /// What becomes of the trailers behind it.
    pub trailers: Trailers,
    /// Whether the connection can be used again once the body is over.
    pub persistent: bool,
    /// The protocol that a 101 switches to. Whether it was asked for is the caller's to check.
    pub upgrade: Option<Box<HeaderValue>>,
    /// Bytes of the head, up to and including the empty line.
    pub size: usize,
}

/// Why a response is refused. What it was meant to be cannot be known, so nothing of it may be
/// relayed, and the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// No status line of HTTP/1.0 or HTTP/1.1 (RFC 9112 §4).
    #[error("malformed status line")]
    Line,
    /// The status is not between 100 and 599 (RFC 9110 §15).
    #[error("status out of range")]
    Status,
    /// The head is longer than the limit.
    #[error("response head too large")]
    HeadTooLarge,
    /// `Connection` names more fields than are kept apart (RFC 9110 §7.6.1).
    #[error("Connection names too many fields")]
    Connection,
    /// A field line is malformed, or there are too many.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The framing is malformed or ambiguous.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// The parts of a status line that mean something.
struct Line {
    version: Version,
    status: StatusCode,
}

/// What is collected in the pass over the fields.
struct Draft<'bytes> {
    status: StatusCode,
    /// The answer to CONNECT that opens the tunnel, where framing fields are ignored
    /// (RFC 9110 §9.3.6).
    is_tunnel: bool,
    headers: Fields,
    connection: Connection<'bytes>,
    declared: Declared,
    protocols: Vec<u8>,
}

/// Reads the response head at the start of `bytes`, the answer to a request with `method`; `None`
/// while its end is not there.
pub fn parse_response(
    bytes: &[u8],
    method: &Method,
    limits: Limits,
) -> Result<Option<ResponseHead>, ResponseError> {
    resume_response(bytes, 0, method, limits)
}

/// As [`parse_response`], where an earlier call answered `None` to the first `seen` bytes.
pub fn resume_response(
    bytes: &[u8],
    seen: usize,
    method: &Method,
    limits: Limits,
) -> Result<Option<ResponseHead>, ResponseError> {
    let head = &bytes[..bytes.len().min(limits.head)];
    if seen == 0 || may_be_complete(head, seen) {
        match read(head, method, limits.fields) {
            Ok(Some(response)) => return Ok(Some(response)),
            // Told of a whole head only: it must not matter where its packets were cut.
            Err(error) if may_be_complete(head, 0) => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    check_incomplete(head, seen)?;
    if bytes.len() < limits.head {
        Ok(None)
    } else {
        Err(ResponseError::HeadTooLarge)
    }
}

/// Refuses what cannot become a head, as soon as that shows.
fn check_incomplete(head: &[u8], seen: usize) -> Result<(), ResponseError> {
    let start = head.len().min(PROTOCOL.len());
    if head[..start] != PROTOCOL[..start] {
        return Err(ResponseError::Line);
    }
    check_line_ends(head, seen)?;
    let Some(line) = first_line(head) else {
        return Ok(());
    };
    let line = line?;
    if line.next > seen {
        Line::parse(line.text)?;
    }
    Ok(())
}

/// Reads a head; `None` if its end is not there.
fn read(head: &[u8], method: &Method, limit: usize) -> Result<Option<ResponseHead>, ResponseError> {
    let Some(first) = first_line(head) else {
        return Ok(None);
    };
    let first = first?;
    let Line { version, status } = Line::parse(first.text)?;
    let block = &head[first.next..];
    let mut lines = Lines::new(block, limit);
    let mut draft = Draft {
        status,
        is_tunnel: *method == Method::CONNECT && status.is_success(),
        headers: Fields::new(),
        connection: Connection::default(),
        declared: Declared::default(),
        protocols: Vec::new(),
    };
    while let Some((name, place)) = lines.next_plain() {
        draft.take(block, name, place)?;
    }
    if !lines.is_at_end() && !may_be_complete(head, 0) {
        return Ok(None);
    }
    let others = lines.others()?;
    let block = &block[..others.size];
    for place in others.places {
        draft.take_other(block, place)?;
    }
    draft.headers.take_text(block);
    draft.end_here();
    let connection = draft.connection;
    if connection.too_many {
        return Err(ResponseError::Connection);
    }

    let declared = draft.declared;
    let framing = response_framing(method, version, status, declared)?;
    // Who declares a body where there is none may send it, and then it is no response.
    let is_clean =
        !has_no_content(status) || matches!(declared.length, None | Some(0)) && !declared.chunked;
    let is_11 = version == Version::HTTP_11;
    let switches = status == StatusCode::SWITCHING_PROTOCOLS && is_11 && connection.upgrade;

    Ok(Some(ResponseHead {
        parts: ResponseParts {
            status,
            version,
            headers: draft.headers,
        },
        framing,
        trailers: connection.trailers(),
        persistent: is_clean
            && framing != Framing::UntilClose
            && !connection.close
            && !connection.malformed
            && (is_11 || connection.keep_alive),
        upgrade: switches.then(|| protocols(draft.protocols)).flatten(),
        size: first.next + others.size,
    }))
}

impl Line {
    /// Reads a line without its CRLF. The reason is for people and is not kept; some servers leave
    /// out the space before an empty one (RFC 9112 §4).
    fn parse(line: &[u8]) -> Result<Self, ResponseError> {
        // What most lines are.
        if line == b"HTTP/1.1 200 OK" {
            return Ok(Self {
                version: Version::HTTP_11,
                status: StatusCode::OK,
            });
        }
        let (version, rest) = match line.strip_prefix(PROTOCOL) {
            Some([b'1', b' ', rest @ ..]) => (Version::HTTP_11, rest),
            Some([b'0', b' ', rest @ ..]) => (Version::HTTP_10, rest),
            Some(_) | None => return Err(ResponseError::Line),
        };
        let (digits, reason) = rest.split_first_chunk::<3>().ok_or(ResponseError::Line)?;
        let is_reason = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if !matches!(reason, [] | [b' ', ..])
            || !digits.iter().all(u8::is_ascii_digit)
            || !reason.iter().all(is_reason)
        {
            return Err(ResponseError::Line);
        }
        let status = StatusCode::from_bytes(digits).map_err(|_| ResponseError::Status)?;
        if status.as_u16() > 599 {
            return Err(ResponseError::Status);
        }
        Ok(Self { version, status })
    }
}

impl<'bytes> Draft<'bytes> {
    /// As [`Draft::take`], and not in line again.
    #[cold]
    fn take_other(&mut self, block: &'bytes [u8], place: Place) -> Result<(), ResponseError> {
        let (name, _) = line(block, place);
        self.take(block, name, place)
    }

    #[expect(
        clippy::inline_always,
        reason = "the compiler does not, at 300 instructions a request"
    )]
    #[inline(always)]
    fn take(
        &mut self,
        block: &'bytes [u8],
        name: &[u8],
        place: Place,
    ) -> Result<(), ResponseError> {
        let value = || line(block, place).1;
        let role = role(name);
        match role {
            Role::ContentLength | Role::TransferEncoding if self.is_tunnel => {}
            Role::ContentLength => {
                let length = self.declared.content_length(value())?;
                if !has_no_content(self.status) {
                    keep_length(&mut self.headers, block, place, length);
                }
            }
            Role::TransferEncoding => self.declared.transfer_encoding(value())?,
            Role::Upgrade => {
                add_protocols(&mut self.protocols, value());
                if self.status == StatusCode::UPGRADE_REQUIRED {
                    keep(&mut self.headers, block, place, role);
                }
            }
            Role::EndToEnd | Role::Host | Role::Expect => {
                keep(&mut self.headers, block, place, role);
            }
            Role::Connection => self.connection.line(value()),
            Role::Te | Role::Dropped => {}
        }
        Ok(())
    }

    /// Takes out what belongs to this connection, now that all is known that it says.
    fn end_here(&mut self) {
        self.connection
            .take_out_named(&mut self.headers, &[Role::Host, Role::Expect]);
        if self.status == StatusCode::UPGRADE_REQUIRED && !self.connection.upgrade {
            self.headers.remove_lines(|role, _| role == Role::Upgrade);
        }
    }
}

/// What every status line that we read begins with.
const PROTOCOL: &[u8] = b"HTTP/1.";
