//! Reads what a proxy has sent: requests at the endpoint, responses at the client.
//!
//! It shares no code with the engine, and forgives nothing: what it cannot read should not have
//! been sent.

use std::fmt;

/// A field's name in small letters, and its value.
pub type Field = (String, Vec<u8>);

/// A message as it was received.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The start line, without its line end.
    pub line: Vec<u8>,
    /// The fields in their order.
    pub fields: Vec<Field>,
    /// The payload, as much of it as came.
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: Vec<Field>,
    /// Whether the message came to its end.
    pub is_whole: bool,
    /// Why it is no message, if it is none; then all of it is its body.
    pub strange: Option<Malformed>,
}

/// Why something is no message.
pub type Malformed = &'static str;

/// A message, and the bytes that it took.
pub type Read = Result<Taken<Message>, Malformed>;

/// Something that was read, and the bytes that it took; `None` while it is not whole.
pub type Taken<T> = Option<(T, usize)>;

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Message {
    /// What is no message.
    pub fn strange(why: Malformed, bytes: &[u8]) -> Self {
        let line = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        Self {
            line: line.trim_ascii_end().to_vec(),
            body: bytes.to_vec(),
            strange: Some(why),
            ..Self::default()
        }
    }

    /// The values of all fields of this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.0 == name)
            .map(|field| field.1.as_slice())
    }

    /// The first word of a request's line.
    pub fn method(&self) -> &[u8] {
        self.words().next().unwrap_or_default()
    }

    /// The second word of a request's line.
    pub fn target(&self) -> &[u8] {
        self.words().nth(1).unwrap_or_default()
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let digits = self.words().nth(1).unwrap_or_default();
        let text = std::str::from_utf8(digits).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.line.split(|&byte| byte == b' ')
    }

    fn framing(&self) -> Result<Option<Framing>, Malformed> {
        let lengths: Vec<&[u8]> = self.values("content-length").collect();
        let codings: Vec<&[u8]> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            ([length], []) => match number(length, 10) {
                Some(length) => Ok(Some(Framing::Length(length))),
                None => Err("the length is no number"),
            },
            _ => Err("framed in more than one way"),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |f: &mut fmt::Formatter<'_>, fields: &[Field]| {
            fields
                .iter()
                .try_for_each(|(name, value)| write!(f, "\n  {name}: {}", value.escape_ascii()))
        };
        write!(f, "{}", self.line.escape_ascii())?;
        lines(f, &self.fields)?;
        write!(f, "\n  [{}]", self.body.escape_ascii())?;
        lines(f, &self.trailers)?;
        f.write_str(if self.is_whole { "" } else { " cut" })?;
        self.strange
            .map_or(Ok(()), |why| write!(f, " strange: {why}"))
    }
}

/// Reads a request from the start of `bytes`; `None` while its head is not whole. The body may be
/// incomplete, and then takes all bytes.
pub fn read_request(bytes: &[u8]) -> Read {
    let Some((mut message, start)) = read_head(bytes)? else {
        return Ok(None);
    };
    let words: Vec<&[u8]> = message.words().collect();
    match words.as_slice() {
        [method, target, b"HTTP/1.1" | b"HTTP/1.0"] if !method.is_empty() && !target.is_empty() => {
        }
        _ => return Err("no request line"),
    }
    let framing = message.framing()?.unwrap_or(Framing::Length(0));
    let size = read_body(&mut message, framing, &bytes[start..], false)?;
    Ok(Some((message, start + size)))
}

/// Reads a response from the start of `bytes`; `None` while its head is not whole. `is_bodiless`
/// says that it answers HEAD, `is_end` that no more bytes will come.
pub fn read_response(bytes: &[u8], is_bodiless: bool, is_end: bool) -> Read {
    let Some((mut message, start)) = read_head(bytes)? else {
        return Ok(None);
    };
    let status = message.status();
    // To a client of HTTP/1.0 a server may answer in either version (RFC 9110 §6.2).
    let is_version = [&b"HTTP/1.1 "[..], b"HTTP/1.0 "]
        .iter()
        .any(|version| message.line.starts_with(version));
    if !is_version || !(100..600).contains(&status) {
        return Err("no status line");
    }
    let declared = message.framing()?;
    let framing = match status {
        100..200 | 204 if declared.is_some() => return Err("framed, but cannot have a body"),
        100..200 | 204 | 304 => Framing::Length(0),
        _ if is_bodiless => Framing::Length(0),
        _ => declared.unwrap_or(Framing::UntilClose),
    };
    let size = read_body(&mut message, framing, &bytes[start..], is_end)?;
    Ok(Some((message, start + size)))
}

fn read_head(bytes: &[u8]) -> Read {
    let mut message = Message::default();
    let Some((line, mut at)) = read_line(bytes)? else {
        return Ok(None);
    };
    message.line = line.to_vec();
    let fields = read_fields(&bytes[at..])?;
    let Some((fields, size)) = fields else {
        return Ok(None);
    };
    message.fields = fields;
    at += size;
    Ok(Some((message, at)))
}

/// Lines of fields and the empty one behind them.
fn read_fields(bytes: &[u8]) -> Result<Taken<Vec<Field>>, Malformed> {
    let mut fields = Vec::new();
    let mut at = 0;
    while let Some((line, size)) = read_line(&bytes[at..])? {
        at += size;
        if line.is_empty() {
            return Ok(Some((fields, at)));
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.ok_or("a field without colon")?);
        if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
            return Err("a name that is no token");
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        fields.push((name, value[1..].trim_ascii().to_vec()));
    }
    Ok(None)
}

/// A line without its CRLF, and the bytes that it took.
fn read_line(bytes: &[u8]) -> Result<Taken<&[u8]>, Malformed> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or("an LF alone")?;
    let is_strange = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
    if line.iter().any(is_strange) {
        return Err("a control byte");
    }
    Ok(Some((line, end + 1)))
}

/// Reads as much of a body as is there, and returns its size on the wire.
fn read_body(
    message: &mut Message,
    framing: Framing,
    bytes: &[u8],
    is_end: bool,
) -> Result<usize, Malformed> {
    match framing {
        Framing::Length(length) => {
            let size = length.min(bytes.len());
            message.body = bytes[..size].to_vec();
            message.is_whole = size == length;
            Ok(size)
        }
        Framing::UntilClose => {
            message.body = bytes.to_vec();
            message.is_whole = is_end;
            Ok(bytes.len())
        }
        Framing::Chunked => read_chunks(message, bytes),
    }
}

fn read_chunks(message: &mut Message, bytes: &[u8]) -> Result<usize, Malformed> {
    let mut at = 0;
    loop {
        let Some((line, size)) = read_line(&bytes[at..])? else {
            return Ok(bytes.len());
        };
        let length = number(line, 16).ok_or("no chunk size")?;
        at += size;
        if length == 0 {
            let Some((trailers, size)) = read_fields(&bytes[at..])? else {
                return Ok(bytes.len());
            };
            message.trailers = trailers;
            message.is_whole = true;
            return Ok(at + size);
        }
        let there = length.min(bytes.len() - at);
        message.body.extend_from_slice(&bytes[at..at + there]);
        at += there;
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Ok(bytes.len()),
            _ => return Err("no CRLF behind a chunk"),
        }
    }
}

/// Digits and nothing else.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let is_digit = |&byte: &u8| char::from(byte).is_digit(radix);
    let text = std::str::from_utf8(digits).ok()?;
    let value = usize::from_str_radix(text, radix).ok()?;
    digits.iter().all(is_digit).then_some(value)
}

/// Whether a token may have this byte (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
