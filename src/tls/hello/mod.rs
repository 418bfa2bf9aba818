//! The first message of a client, read for the name and the protocols that it asks for.
//!
//! Problem: who ends TLS elsewhere is found by what is said in the clear, and what is said must be
//! understood as the server behind will understand it: else a client reaches, by a name that is
//! read in two ways, what its name does not lead to. So the `ClientHello` is read strictly (RFC
//! 8446 §4.1.2 and §5.1, RFC 6066 §3, RFC 7301 §3.1), and what could be read in two ways is
//! refused. Values that nobody knows are passed over, among them those of GREASE (RFC 8701). Of an
//! encrypted `ClientHello` (ECH) it is the outer one that is read: the inner one is for the server
//! behind.
//!
//! Use: a [`HelloReader`] for each connection, which is shown all that was received so far, after
//! each read. It does no I/O, keeps none of the bytes, and looks at each record once.

/// Reads a `ClientHello`, however it is split.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Where the record begins that is not there wholly yet.
    at: usize,
    /// Bytes of the message in the records before it.
    before: usize,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The server's name, in lower case.
    pub server_name: Option<Box<str>>,
    /// The list of protocols as it came: each behind a byte of its length.
    alpn: Box<[u8]>,
}

/// Why no name can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins with something else.
    #[error("what the client sent is no TLS")]
    NotTls,
    /// It is TLS, but not as it must be.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(&'static str),
    /// It is sound, but asks for what is no name of a server: an address, or a dot at its end.
    #[error("the ClientHello asks for what is no name")]
    Unnamed,
    /// It is larger than any that is honest.
    #[error("the ClientHello is larger than 16 KiB, or in too many records")]
    TooLarge,
}

/// A part of a message that is read from its front.
#[derive(Debug, Clone, Copy)]
struct Part<'a>(&'a [u8]);

impl HelloReader {
    /// Reads all that was received so far, from the first byte on. `None` if more has to come; what
    /// comes behind the message is not looked at.
    pub fn read(&mut self, received: &[u8]) -> Result<Option<Hello>, Unreadable> {
        if first(received, 0).is_some_and(|byte| byte != HANDSHAKE)
            || first(received, 1).is_some_and(|byte| byte != MAJOR)
        {
            return Err(Unreadable::NotTls);
        }
        let length = message_length(received)?;
        while let Some(record) = Record::at(received, self.at)? {
            if record.end > LARGEST_RECEIVED {
                return Err(Unreadable::TooLarge);
            }
            // That of a message whose head is spread over records is known with its last byte.
            let needed = length.map_or(HEAD, |length| HEAD + length);
            let gathered = self.before + (record.end - record.begin);
            if length.is_some() && gathered > needed {
                return Err(Unreadable::Malformed("something follows it in its record"));
            }
            if received.len() < record.end {
                return Ok(None);
            }
            if length.is_some() && gathered == needed {
                return message(received, record.end).map(Some);
            }
            (self.at, self.before) = (record.end, gathered);
        }
        Ok(None)
    }
}

impl Hello {
    /// The protocols that the client offers, the dearest first.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut rest = Part(&self.alpn);
        std::iter::from_fn(move || rest.vector(1).filter(|name| !name.0.is_empty()))
            .map(|name| name.0)
    }

    fn parse(body: &[u8]) -> Option<Result<Self, Unreadable>> {
        let mut rest = Part(body);
        let version = rest.take(2)?;
        if version.0.first() != Some(&MAJOR) {
            return None;
        }
        rest.take(RANDOM)?;
        let session = rest.vector(1)?;
        let suites = rest.vector(2)?;
        let compressions = rest.vector(1)?;
        let sound = session.0.len() <= LONGEST_SESSION_ID
            && suites.0.len() >= 2
            && suites.0.len() % 2 == 0
            && !compressions.0.is_empty();
        if !sound {
            return None;
        }
        let mut extensions = Part(&[]);
        if !rest.0.is_empty() {
            extensions = rest.vector(2)?;
        }
        rest.0.is_empty().then(|| Self::of_extensions(extensions))
    }

    fn of_extensions(mut rest: Part<'_>) -> Result<Self, Unreadable> {
        let malformed = Unreadable::Malformed;
        let mut hello = Self {
            server_name: None,
            alpn: Box::default(),
        };
        let (mut kinds, mut is_unnamed) = (Vec::new(), false);
        while !rest.0.is_empty() {
            let extension = rest.number(2).zip(rest.vector(2));
            let Some((kind, content)) = extension else {
                return Err(malformed("an extension is cut off"));
            };
            kinds.push(kind);
            if kind == SERVER_NAME {
                let name = server_name(content).ok_or(malformed("server_name holds no name"))?;
                is_unnamed |= !is_host(name);
                hello.server_name = Some(name.to_ascii_lowercase().into());
            } else if kind == ALPN {
                let list = protocols(content).ok_or(malformed("the list of protocols is none"))?;
                hello.alpn = list.0.into();
            }
        }
        kinds.sort_unstable();
        if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(malformed("an extension stands twice"));
        }
        if is_unnamed {
            return Err(Unreadable::Unnamed);
        }
        Ok(hello)
    }
}

/// Where the payload of a record begins and ends.
struct Record {
    begin: usize,
    end: usize,
}

impl Record {
    /// The record whose head stands there; `None` if that is not there wholly.
    fn at(received: &[u8], at: usize) -> Result<Option<Self>, Unreadable> {
        let mut head = Part(received.get(at..).unwrap_or_default());
        let (Some(kind), Some(version), Some(length)) =
            (head.number(1), head.number(2), head.number(2))
        else {
            return Ok(None);
        };
        if kind != usize::from(HANDSHAKE) {
            return Err(Unreadable::Malformed("something comes in its midst"));
        }
        if version >> 8 != usize::from(MAJOR) {
            return Err(Unreadable::Malformed("a record has another version"));
        }
        if length == 0 {
            return Err(Unreadable::Malformed("a record is empty"));
        }
        if length > LARGEST_RECORD {
            return Err(Unreadable::Malformed("a record is too large"));
        }
        let begin = at + RECORD_HEAD;
        Ok(Some(Self {
            begin,
            end: begin + length,
        }))
    }
}

impl<'a> Part<'a> {
    fn take(&mut self, count: usize) -> Option<Self> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(Self(taken))
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken: Part<'a> = self.take(bytes)?;
        let add = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
        Some(taken.0.iter().fold(0, add))
    }

    /// What stands behind its length, which has so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Self> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

fn first(received: &[u8], at: usize) -> Option<u8> {
    received.get(at).copied()
}

/// The length of the message, which stands in its head; `None` if that is not there wholly.
fn message_length(received: &[u8]) -> Result<Option<usize>, Unreadable> {
    let (mut at, mut head) = (0, Vec::with_capacity(HEAD));
    while head.len() < HEAD {
        let Some(record) = Record::at(received, at)? else {
            return Ok(None);
        };
        let payload = &received[record.begin.min(received.len())..record.end.min(received.len())];
        head.extend_from_slice(&payload[..payload.len().min(HEAD - head.len())]);
        if head.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Unreadable::Malformed("it is another message"));
        }
        if received.len() < record.end {
            break;
        }
        at = record.end;
    }
    let mut head = Part(&head);
    let length = head.number(1).and_then(|_| head.number(3));
    if length.is_some_and(|length| length > LARGEST_MESSAGE) {
        return Err(Unreadable::TooLarge);
    }
    Ok(length)
}

/// Reads the message that the records up to there hold.
fn message(received: &[u8], end: usize) -> Result<Hello, Unreadable> {
    let mut whole = Vec::new();
    let mut at = 0;
    while let Some(record) = Record::at(&received[..end], at)? {
        if at == 0 && record.end == end {
            return parsed(&received[record.begin + HEAD..end]);
        }
        whole.extend_from_slice(&received[record.begin..record.end]);
        at = record.end;
    }
    parsed(&whole[HEAD..])
}

fn parsed(body: &[u8]) -> Result<Hello, Unreadable> {
    let malformed = Unreadable::Malformed("its parts do not fit");
    Hello::parse(body).unwrap_or(Err(malformed))
}

/// The one name of a list. Other types of names have never been defined, so where such an entry
/// ends nobody knows.
fn server_name(mut content: Part<'_>) -> Option<&str> {
    let mut list = content.vector(2)?;
    if list.number(1)? != HOST_NAME {
        return None;
    }
    let name = list.vector(2)?;
    let is_all = content.0.is_empty() && list.0.is_empty();
    let name = std::str::from_utf8(name.0).ok()?;
    (is_all && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
}

/// Whether it is a name of the DNS as RFC 6066 wants it: no address, and no dot at its end.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let hyphen_outside = label.starts_with('-') || label.ends_with('-');
        (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(sound) && !hyphen_outside
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME && name.split('.').all(is_label) && !is_number(last)
}

/// Whether a name that ends so could be taken for an address of IPv4.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The list of protocols, if it is one.
fn protocols(mut content: Part<'_>) -> Option<Part<'_>> {
    let list = content.vector(2)?;
    let mut rest = list;
    while !rest.0.is_empty() {
        rest.vector(1).filter(|name| !name.0.is_empty())?;
    }
    (content.0.is_empty() && !list.0.is_empty()).then_some(list)
}

/// The type of records that hold a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// The first byte of every version since SSL 3.0; the second says nothing (RFC 8446 §5.1).
const MAJOR: u8 = 3;
/// Type, version and length (RFC 8446 §5.1).
const RECORD_HEAD: usize = 5;
/// What one may hold (RFC 8446 §5.1).
const LARGEST_RECORD: usize = 1 << 14;

/// The type of the message (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
/// Type and length of a message (RFC 8446 §4).
const HEAD: usize = 4;
/// The limit of `BoringSSL`. Real ones, with keys of post-quantum exchanges and tickets, have some
/// 2 KiB.
const LARGEST_MESSAGE: usize = 1 << 14;
/// Room for a common message in records of one byte, and for the largest in records of six.
const LARGEST_RECEIVED: usize = 32 * 1024;

/// RFC 8446 §4.1.2.
const RANDOM: usize = 32;
/// RFC 8446 §4.1.2.
const LONGEST_SESSION_ID: usize = 32;

/// The extension's type (RFC 6066 §3).
const SERVER_NAME: usize = 0;
/// The name's type (RFC 6066 §3).
const HOST_NAME: usize = 0;
/// The extension's type (RFC 7301 §3.1).
const ALPN: usize = 16;

/// In text, without the dot at the end (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;
/// RFC 1035 §2.3.4.
const LONGEST_LABEL: usize = 63;

#[cfg(test)]
mod tests;
