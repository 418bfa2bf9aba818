//! HTTP/1.1 messages as a strict recipient reads them.
//!
//! Written from RFC 9112 and used for what the proxy sends, in both directions, so it forgives
//! nothing: a lone line feed or a space before a colon is a failure of the proxy, not something to
//! read around. Text is Latin-1, one character per byte, so that every byte can be compared.

use std::io::{ErrorKind, Read};

/// A start line and its fields, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// What came after a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) end: End,
}

/// How a body ended, which is how its recipient knows whether it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By its own framing, or because there was none.
    Framed,
    /// With the connection, as its framing says.
    Closed,
    /// With the connection, before its framing said so.
    Truncated,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Why no message could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection ended between messages.
    Closed,
    /// The connection ended within a head, of which this much was read.
    Truncated(String),
    /// Nothing came for as long as the socket's timeout.
    Silent(String),
    /// This is not HTTP/1.1.
    Malformed(String),
}

/// A source of messages, with what was read ahead.
#[derive(Debug)]
pub(crate) struct Wire<R> {
    source: R,
    buffer: Vec<u8>,
}

impl Head {
    /// Parses a head with its empty line.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Broken> {
        let text = text(bytes);
        let malformed = |why: &str| Broken::Malformed(format!("{why} in {text:?}"));
        let lines = text
            .strip_suffix("\r\n\r\n")
            .ok_or_else(|| malformed("no empty line"))?;
        if lines.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(malformed("a lone CR or LF, or a NUL"));
        }
        let mut lines = lines.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| parse_field(line).ok_or_else(|| malformed("a bad field")))
            .collect::<Result<_, _>>()?;
        Ok(Self { start, fields })
    }

    /// The values of every field with this name, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of the only field with this name.
    ///
    /// # Panics
    /// When there are several.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "several {name} in {self:?}");
        values.first().copied()
    }

    /// The elements of a field that is a list, in lower case.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.values(name)
            .iter()
            .flat_map(|value| value.split(','))
            .map(|element| element.trim().to_ascii_lowercase())
            .filter(|element| !element.is_empty())
            .collect()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Result<u16, Broken> {
        let mut parts = self.start.splitn(3, ' ');
        let version = parts.next().unwrap_or_default();
        let digits = parts.next().unwrap_or_default();
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || digits.len() != 3 {
            return Err(Broken::Malformed(format!("status line {:?}", self.start)));
        }
        digits
            .parse()
            .map_err(|_| Broken::Malformed(format!("status line {:?}", self.start)))
    }

    /// How long the body of this request is (RFC 9112 §6.3).
    pub(crate) fn request_framing(&self) -> Result<Framing, Broken> {
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    /// How long the body of this response to `method` is (RFC 9112 §6.3).
    pub(crate) fn response_framing(&self, method: &str) -> Result<Framing, Broken> {
        let status = self.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        Ok(self.framing()?.unwrap_or(Framing::UntilClose))
    }

    /// What the fields say. A sender that leaves room for doubt is wrong, so doubt is an error.
    fn framing(&self) -> Result<Option<Framing>, Broken> {
        let codings = self.values("transfer-encoding");
        let lengths = self.values("content-length");
        let doubt = || Broken::Malformed(format!("doubtful framing in {self:?}"));
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(None),
            (["chunked"], []) => Ok(Some(Framing::Chunked)),
            ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(Framing::Length(length.parse().map_err(|_| doubt())?)))
            }
            _ => Err(doubt()),
        }
    }
}

impl Body {
    /// The data as text.
    pub(crate) fn text(&self) -> String {
        text(&self.data)
    }
}

impl<R: Read> Wire<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
        }
    }

    /// Where it reads from.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// Where it reads from, on its own.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// Where it reads from, to write to it.
    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Head::parse(&bytes);
            }
            self.fill().map_err(|broken| match broken {
                Broken::Closed if !self.buffer.is_empty() => Broken::Truncated(text(&self.buffer)),
                other => other,
            })?;
        }
    }

    /// The body that follows a head.
    pub(crate) fn body(&mut self, framing: Framing) -> Result<Body, Broken> {
        let mut body = Body {
            data: Vec::new(),
            trailers: Vec::new(),
            end: End::Framed,
        };
        let ended = match framing {
            Framing::Length(length) => self.exactly(length, &mut body.data),
            Framing::Chunked => self.chunks(&mut body),
            Framing::UntilClose if self.rest(&mut body.data) => Err(Broken::Closed),
            Framing::UntilClose => Err(Broken::Truncated(String::new())),
        };
        match (ended, framing) {
            (Ok(()), _) => {}
            (Err(Broken::Closed), Framing::UntilClose) => body.end = End::Closed,
            (Err(Broken::Closed | Broken::Truncated(_)), _) => body.end = End::Truncated,
            (Err(other), _) => return Err(other),
        }
        Ok(body)
    }

    /// Everything until the connection ends, however it ends.
    pub(crate) fn remainder(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.rest(&mut all);
        all
    }

    /// At least one byte of what follows, without regard to messages.
    pub(crate) fn some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// This many bytes, without regard to messages.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        let mut data = Vec::new();
        self.exactly(length, &mut data)?;
        Ok(data)
    }

    fn exactly(&mut self, length: usize, data: &mut Vec<u8>) -> Result<(), Broken> {
        let wanted = data.len() + length;
        loop {
            let missing = wanted - data.len();
            data.extend(self.buffer.drain(..missing.min(self.buffer.len())));
            if data.len() == wanted {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// The next chunk of a body, as it comes. Empty at the end, which has been read then.
    pub(crate) fn chunk(&mut self) -> Result<Vec<u8>, Broken> {
        let mut data = Vec::new();
        if !self.piece(&mut data)? {
            self.trailers(&mut Vec::new())?;
        }
        Ok(data)
    }

    fn chunks(&mut self, body: &mut Body) -> Result<(), Broken> {
        while self.piece(&mut body.data)? {}
        self.trailers(&mut body.trailers)
    }

    /// Adds a chunk's data. Whether it was not the last one.
    fn piece(&mut self, data: &mut Vec<u8>) -> Result<bool, Broken> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16)
            .map_err(|_| Broken::Malformed(format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok(false);
        }
        self.exactly(size, data)?;
        let end = self.line()?;
        if !end.is_empty() {
            return Err(Broken::Malformed(format!("{end:?} after a chunk")));
        }
        Ok(true)
    }

    fn trailers(&mut self, trailers: &mut Vec<(String, String)>) -> Result<(), Broken> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            let field =
                parse_field(&line).ok_or_else(|| Broken::Malformed(format!("trailer {line:?}")))?;
            trailers.push(field);
        }
    }

    /// A line, without its end.
    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n") {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return match line.strip_suffix(b"\r\n") {
                    Some(line) => Ok(text(line)),
                    None => Err(Broken::Malformed(format!("line {:?}", text(&line)))),
                };
            }
            self.fill()?;
        }
    }

    /// Everything until the end, and whether that was an orderly one.
    fn rest(&mut self, data: &mut Vec<u8>) -> bool {
        data.append(&mut self.buffer);
        loop {
            match self.fill() {
                Ok(()) => data.append(&mut self.buffer),
                Err(Broken::Closed) => return true,
                Err(_) => return false,
            }
        }
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut piece = [0; 16 * 1024];
        loop {
            return match self.source.read(&mut piece) {
                Ok(0) => Err(Broken::Closed),
                Ok(length) => {
                    self.buffer.extend_from_slice(&piece[..length]);
                    Ok(())
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        Err(Broken::Silent(text(&self.buffer)))
                    }
                    // A reset is an end, but never an orderly one.
                    _ => Err(Broken::Truncated(text(&self.buffer))),
                },
            };
        }
    }
}

/// One character per byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Where `needle` starts.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

fn parse_field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    Some((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}
