//! Facts about the bytes of a message, found without the engine's parser and without its rules.
//!
//! A difference is accepted only if what is said of it is true of the bytes. Everything here reads
//! leniently: a line ends with an LF, a name with a colon.

use std::fmt;

use crate::wire::is_token_byte;

/// A field's name and its value.
pub type Line<'a> = (&'a [u8], &'a [u8]);

/// A head, taken apart at its line ends.
pub struct Loose<'a> {
    /// The start line.
    pub line: &'a [u8],
    /// Names as they stand, up to the colon, and values without the space around them.
    pub fields: Vec<Line<'a>>,
    /// All of it, up to the empty line or the end, and what stands before it.
    pub head: &'a [u8],
    /// What stands behind the head.
    pub body: &'a [u8],
    /// Line ends before the start line, as bytes.
    pub before: usize,
}

impl<'a> Loose<'a> {
    /// Takes a message apart.
    pub fn new(bytes: &'a [u8]) -> Self {
        let before = bytes.iter().take_while(|&&byte| is_line_end(byte)).count();
        let mut at = before;
        let mut lines = Vec::new();
        while at < bytes.len() {
            let size = bytes[at..].iter().position(|&byte| byte == b'\n');
            let size = size.map_or(bytes.len() - at, |end| end + 1);
            let line = bytes[at..at + size]
                .strip_suffix(b"\n")
                .unwrap_or(&bytes[at..at + size]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += size;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        Self {
            line: lines.next().unwrap_or_default(),
            fields: lines.map(field).collect(),
            head: &bytes[..at],
            body: &bytes[at..],
            before,
        }
    }

    /// The values of all fields of this name.
    pub fn values<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + 'n {
        let is_it = move |field: &&Line<'_>| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(is_it).map(|field| field.1)
    }

    /// How many fields have this name.
    pub fn count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// The members of the lists of this name.
    pub fn members<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + 'n {
        let members = self
            .values(name)
            .flat_map(|value| value.split(|&byte| byte == b','));
        members
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Whether `Connection` names fields that end here.
    pub fn names_fields(&self) -> bool {
        let options = ["close", "keep-alive", "te", "upgrade"];
        let is_option = |member: &[u8]| {
            options
                .iter()
                .any(|option| member.eq_ignore_ascii_case(option.as_bytes()))
        };
        self.members("connection").any(|member| !is_option(member))
    }

    /// The words of the start line.
    pub fn words(&self) -> Vec<&'a [u8]> {
        self.line.split(|&byte| byte == b' ').collect()
    }

    /// Whether a line ends otherwise than with CRLF, or has a CR within.
    pub fn has_lone_line_end(&self) -> bool {
        has_lone_line_end(self.head)
    }

    /// Whether the start line has this method.
    pub fn is_method(&self, method: &[u8]) -> bool {
        self.words().first() == Some(&method)
    }

    /// The target of the start line.
    pub fn target(&self) -> &'a [u8] {
        self.words().get(1).copied().unwrap_or_default()
    }

    /// Whether the start line says this version.
    pub fn is_version(&self, version: &[u8]) -> bool {
        self.words().last().is_some_and(|word| *word == version)
    }

    /// Whether a field's name is no token: it is empty, has a space, or the line is folded.
    pub fn has_strange_name(&self) -> bool {
        self.fields.iter().any(|field| !is_token(field.0))
    }

    /// Whether a value has a control byte (RFC 9110 §5.5).
    pub fn has_control_byte(&self) -> bool {
        let is_control = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
        self.fields
            .iter()
            .any(|field| field.1.iter().any(is_control))
    }
}

impl fmt::Debug for Loose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}[{}]",
            self.head.escape_ascii(),
            self.body.escape_ascii()
        )
    }
}

/// Whether a CR or LF stands alone in these bytes, of which the last may be a CR.
pub fn has_lone_line_end(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'\r' => bytes.get(at + 1).is_some_and(|&next| next != b'\n'),
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => false,
    })
}

/// Whether this is a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether a `Host` is a name or an address, with a port or without (RFC 9112 §3.2, RFC 3986 §3.2).
pub fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let is_name = |host: &str| {
        let escapes = host.split('%').skip(1);
        let is_escape = |text: &str| {
            text.get(..2)
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
        !host.is_empty() && host.bytes().all(is_allowed) && escapes.into_iter().all(is_escape)
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_literal = literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_ok());
    let is_port = port.is_empty()
        || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_port && (is_literal || is_name(host))
}

/// What an absolute target of HTTP names before its path.
pub fn authority(target: &[u8]) -> Option<&[u8]> {
    let start = target.windows(3).position(|part| part == b"://")?;
    let is_http = [&b"http"[..], b"https"]
        .iter()
        .any(|scheme| target[..start].eq_ignore_ascii_case(scheme));
    let rest = &target[start + 3..];
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?')).next();
    authority.filter(|_| is_http)
}

/// Whether servers read this path in different ways (RFC 3986 §3.3, §6.2.2): it has a segment of
/// dots, plain or escaped; an escape of NUL, CR or LF; or a backslash.
pub fn is_ambiguous_path(target: &[u8]) -> bool {
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let text = String::from_utf8_lossy(path).to_ascii_lowercase();
    if ["\\", "%00", "%0d", "%0a"]
        .iter()
        .any(|escape| text.contains(escape))
    {
        return true;
    }
    let plain = text
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace("%3b", ";");
    let mut segments = plain.split('/').map(|segment| segment.split(';').next());
    segments.any(|segment| matches!(segment, Some("." | "..")))
}

/// Whether a name is one of those that tell who asks, however it is spelt: a proxy at the edge
/// removes them (RFC 7239 §8.1).
pub fn tells_who_asks(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric();
    let plain: String = name
        .chars()
        .map(|letter| if is_letter(letter) { letter } else { '-' })
        .collect();
    let family = [
        "forwarded",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-real-ip",
    ];
    family.contains(&plain.as_str()) || plain == "x-request-id" || plain.starts_with("x-forwarded")
}

fn field(line: &[u8]) -> Line<'_> {
    match line.iter().position(|&byte| byte == b':') {
        Some(colon) => (&line[..colon], trim(&line[colon + 1..])),
        // Without one, there is no name.
        None => (&[], line),
    }
}

/// Without the spaces around it, which a CR is not (RFC 9110 §5.6.3).
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let value = &value[start..];
    let end = value.iter().rev().take_while(|byte| is_space(byte)).count();
    &value[..value.len() - end]
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
