//! Request heads.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use memchr::memchr;

use super::fields::{Connection, add_protocols, keep, keep_length, members, protocols};
use super::line::{Line, check_method_so_far};
use super::target::Target;
use super::{check_line_ends, first_line, line, may_be_complete};
use crate::http1::Limits;
use crate::http1::frame::{Declared, Framing, FramingError, Trailers, request_framing};
use crate::http1::lines::{FieldError, Lines};
use crate::message::{Authority, Fields, Place, RequestParts, Role, role};

/// A request head that was read and checked.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and the end-to-end fields in the order of the wire.
    ///
    /// The URI is path and query, or `*`, or for CONNECT the authority. `Host` is the authority
    /// that counts, and there is exactly one, except in an HTTP/1.0 request that named none.
    /// `Content-Length` is there as the framing says. Fields of the connection are left out.
    pub parts: RequestParts,
    /// Where the body ends.
    pub framing: Framing,
    /// What becomes of the trailers behind it.
    pub trailers: Trailers,
    /// Whether the client means to go on after the response (RFC 9112 §9.3).
    pub persistent: bool,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// The protocols that the client asks to switch to, if it may (RFC 9110 §7.8).
    pub upgrade: Option<Box<HeaderValue>>,
    /// Whether the client keeps trailers (RFC 9110 §10.1.4).
    pub te_trailers: bool,
    /// Bytes of the head, up to and including the empty line.
    pub size: usize,
}

/// Why a request is refused. The bytes behind it mean nothing any more: the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request line is not method, target and version with one space between each
    /// (RFC 9112 §3).
    #[error("malformed request line")]
    Line,
    /// The method is longer than any that there is (RFC 9112 §3).
    #[error("method too long")]
    MethodTooLong,
    /// The target has none of the four forms, or a byte that no target has (RFC 9112 §3.2).
    #[error("malformed request target")]
    Target,
    /// The request line is longer than a head may be (RFC 9112 §3).
    #[error("request target too long")]
    TargetTooLong,
    /// Another major version of HTTP (RFC 9110 §15.6.6).
    #[error("HTTP version not supported")]
    Version,
    /// The head is longer than the limit (RFC 6585 §5).
    #[error("request head too large")]
    HeadTooLarge,
    /// A field line is malformed, or there are too many.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The framing is malformed or ambiguous.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// An HTTP/1.1 request without `Host` (RFC 9112 §3.2).
    #[error("no Host")]
    HostMissing,
    /// More than one `Host`, be it with the same value (RFC 9112 §3.2).
    #[error("more than one Host")]
    HostRepeated,
    /// `Host` is not a host and a port (RFC 9112 §3.2).
    #[error("malformed Host")]
    HostMalformed,
    /// A member of `Connection` is not a token, or there are too many (RFC 9110 §7.6.1).
    #[error("malformed Connection")]
    Connection,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("unknown expectation")]
    Expectation,
}

/// What is collected in the pass over the fields.
struct Draft<'bytes> {
    version: Version,
    /// The authority of the target, until a `Host` takes it.
    authority: Option<HeaderValue>,
    host: Host,
    headers: Fields,
    connection: Connection<'bytes>,
    declared: Declared,
    expects_continue: bool,
    te_trailers: bool,
    protocols: Vec<u8>,
}

/// What is known of the host that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Unsaid,
    /// The authority lacks its host.
    Empty,
    Said,
}

/// Reads the request head at the start of `bytes`; `None` while its end is not there.
///
/// Each call looks at all of `bytes`. That costs less than the read that brought them, except from
/// a peer that sends byte by byte; [`resume_request`] looks only at what is new.
pub fn parse_request(bytes: &[u8], limits: Limits) -> Result<Option<RequestHead>, RequestError> {
    resume_request(bytes, 0, limits)
}

/// As [`parse_request`], where an earlier call answered `None` to the first `seen` bytes.
pub fn resume_request(
    bytes: &[u8],
    seen: usize,
    limits: Limits,
) -> Result<Option<RequestHead>, RequestError> {
    let window = &bytes[..bytes.len().min(limits.head)];
    // One empty line is left over by old clients behind a body (RFC 9112 §2.2).
    let skipped = if window.starts_with(b"\r\n") { 2 } else { 0 };
    let head = &window[skipped..];
    let seen = seen.saturating_sub(skipped);
    if seen == 0 || may_be_complete(head, seen) {
        match read(head, limits.fields) {
            Ok(Some(mut request)) => {
                request.size += skipped;
                return Ok(Some(request));
            }
            // Told of a whole head only: it must not matter where its packets were cut.
            Err(error) if may_be_complete(head, 0) => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    check_incomplete(head, seen)?;
    if bytes.len() < limits.head {
        Ok(None)
    } else if memchr(b'\n', head).is_none() {
        Err(RequestError::TargetTooLong)
    } else {
        Err(RequestError::HeadTooLarge)
    }
}

/// Refuses what cannot become a head, as soon as that shows.
fn check_incomplete(head: &[u8], seen: usize) -> Result<(), RequestError> {
    if !matches!(head, [] | [b'\r']) {
        check_method_so_far(head)?;
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
fn read(head: &[u8], limit: usize) -> Result<Option<RequestHead>, RequestError> {
    let Some(first) = first_line(head) else {
        return Ok(None);
    };
    let first = first?;
    let line = Line::parse(first.text)?;
    let target = Target::parse(&line.method, keep_target(line.target))?;
    let block = &head[first.next..];
    let mut lines = Lines::new(block, limit);
    let mut draft = Draft::new(line.version, target.authority);
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
    draft.check_host(target.uri.path() == "*")?;
    let connection = draft.connection;
    if connection.malformed || connection.too_many {
        return Err(RequestError::Connection);
    }
    connection.take_out_named(&mut draft.headers, &[]);

    let framing = request_framing(line.version, draft.declared)?;
    let is_11 = line.version == Version::HTTP_11;
    let may_upgrade = is_11 && connection.upgrade;

    Ok(Some(RequestHead {
        parts: RequestParts {
            method: line.method,
            uri: target.uri,
            version: line.version,
            headers: draft.headers,
        },
        framing,
        trailers: connection.trailers(),
        persistent: !connection.close && (is_11 || connection.keep_alive),
        expect_continue: draft.expects_continue && framing.has_body(),
        upgrade: may_upgrade.then(|| protocols(draft.protocols)).flatten(),
        te_trailers: is_11 && draft.te_trailers,
        size: first.next + others.size,
    }))
}

impl RequestError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MethodTooLong | Self::Framing(FramingError::UnknownCoding) => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLarge | Self::Field(FieldError::TooMany) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Line
            | Self::Target
            | Self::Field(_)
            | Self::Framing(_)
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::Connection => StatusCode::BAD_REQUEST,
        }
    }
}

impl<'bytes> Draft<'bytes> {
    fn new(version: Version, authority: Option<HeaderValue>) -> Self {
        Self {
            version,
            authority,
            host: Host::Unsaid,
            headers: Fields::new(),
            connection: Connection::default(),
            declared: Declared::default(),
            expects_continue: false,
            te_trailers: false,
            protocols: Vec::new(),
        }
    }

    /// As [`Draft::take`], and not in line again.
    #[cold]
    fn take_other(&mut self, block: &'bytes [u8], place: Place) -> Result<(), RequestError> {
        let (name, _) = line(block, place);
        self.take(block, name, place)
    }

    #[expect(
        clippy::inline_always,
        reason = "the compiler does not, at 300 instructions a request"
    )]
    #[inline(always)]
    fn take(&mut self, block: &'bytes [u8], name: &[u8], place: Place) -> Result<(), RequestError> {
        let value = || line(block, place).1;
        let role = role(name);
        match role {
            Role::EndToEnd => keep(&mut self.headers, block, place, role),
            Role::Host => self.host(block, place)?,
            Role::ContentLength => {
                let length = self.declared.content_length(value())?;
                keep_length(&mut self.headers, block, place, length);
            }
            Role::TransferEncoding => self.declared.transfer_encoding(value())?,
            Role::Expect => self.expect(block, place)?,
            Role::Te => {
                let mut codings = members(value());
                self.te_trailers |= codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            Role::Upgrade => add_protocols(&mut self.protocols, value()),
            Role::Connection => self.connection.line(value()),
            Role::Dropped => {}
        }
        Ok(())
    }

    /// Every `Host` is checked, also the one that an absolute target replaces (RFC 9112 §3.2).
    fn host(&mut self, block: &[u8], place: Place) -> Result<(), RequestError> {
        if self.host != Host::Unsaid {
            return Err(RequestError::HostRepeated);
        }
        let (_, value) = line(block, place);
        let authority = Authority::parse(value).ok_or(RequestError::HostMalformed)?;
        if let Some(authority) = self.authority.take() {
            self.headers.take_text(block);
            self.headers.append(&header::HOST, &authority);
            self.host = Host::Said;
        } else {
            keep(&mut self.headers, block, place, Role::Host);
            self.host = if authority.host.is_empty() {
                Host::Empty
            } else {
                Host::Said
            };
        }
        Ok(())
    }

    /// A server ignores expectations of HTTP/1.0; sent on as they are they would become ours.
    fn expect(&mut self, block: &[u8], place: Place) -> Result<(), RequestError> {
        if self.version == Version::HTTP_10 {
            return Ok(());
        }
        let (_, value) = line(block, place);
        for expectation in members(value) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            self.expects_continue = true;
        }
        keep(&mut self.headers, block, place, Role::Expect);
        Ok(())
    }

    /// An empty `Host` says that the target has no authority; only `*` needs none here, since a
    /// path without a host cannot be routed (RFC 9110 §7.2).
    fn check_host(&mut self, is_asterisk: bool) -> Result<(), RequestError> {
        if self.host == Host::Unsaid {
            if self.version == Version::HTTP_11 {
                return Err(RequestError::HostMissing);
            }
            if let Some(authority) = self.authority.take() {
                self.headers.append(&header::HOST, &authority);
            }
        }
        if self.host == Host::Empty && !is_asterisk {
            return Err(RequestError::HostMalformed);
        }
        Ok(())
    }
}

/// The bytes of a target, to be kept.
fn keep_target(target: &[u8]) -> Bytes {
    match target {
        b"/" => Bytes::from_static(b"/"),
        target => Bytes::copy_from_slice(target),
    }
}
