//! Where a chunked body leaves its grammar, found without the engine's decoder (RFC 9112 §7.1).

use crate::facts::is_token;
use crate::wire::is_token_byte;

/// What is wrong with a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// A size is not 1 to 16 hexadecimal digits.
    Size,
    /// What stands behind a size is no extension.
    Extension,
    /// A line, or a chunk, does not end with CRLF.
    LineEnd,
    /// A trailer is no field.
    Trailer,
}

/// The first breach; `None` if there is none in what is there.
pub fn breach(bytes: &[u8]) -> Option<Breach> {
    match walk(bytes) {
        Ok(trailers) => breach_of_trailers(trailers),
        Err(breach) => Some(breach),
    }
}

/// What stands behind the last chunk; nothing while that is not there.
pub fn trailers(bytes: &[u8]) -> &[u8] {
    walk(bytes).unwrap_or_default()
}

/// Whether there is a line so long that its extension is longer than our limit.
pub fn has_long_line(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    lines.any(|line| line.len() > 256 && line.contains(&b';'))
}

/// Finds the end of the last chunk.
fn walk(mut bytes: &[u8]) -> Result<&[u8], Breach> {
    loop {
        let digits = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, rest) = bytes.split_at(digits);
        let is_ended = |byte: &u8| matches!(byte, b'\r' | b';' | b' ' | b'\t');
        if digits > 16
            || rest
                .first()
                .is_some_and(|byte| digits == 0 || !is_ended(byte))
        {
            return Err(Breach::Size);
        }
        let line = rest.iter().position(|&byte| byte == b'\n');
        let Some(end) = line else {
            // Half a line: a control byte shows already.
            let text = rest.strip_suffix(b"\r").unwrap_or(rest);
            let is_wrong = text.iter().any(is_control);
            return if is_wrong {
                Err(breach_of_line(text))
            } else {
                Ok(&[])
            };
        };
        let Some(text) = rest[..end].strip_suffix(b"\r") else {
            return Err(breach_of_line(&rest[..end]));
        };
        if !is_extension(text) {
            return Err(breach_of_line(text));
        }
        let size = std::str::from_utf8(size).unwrap_or_default();
        // 16 digits fit.
        let size = usize::from_str_radix(size, 16).unwrap_or(usize::MAX);
        bytes = &rest[end + 1..];
        if size == 0 {
            return Ok(bytes);
        }
        match bytes.get(size..).unwrap_or_default() {
            [] | [b'\r'] => return Ok(&[]),
            [b'\r', b'\n', rest @ ..] => bytes = rest,
            _ => return Err(Breach::LineEnd),
        }
    }
}

/// A line that is wrong has a CR or LF too many, or no extension.
fn breach_of_line(text: &[u8]) -> Breach {
    let end = text.iter().position(|&byte| byte == b'\r');
    match end {
        Some(end) if !is_extension(&text[..end]) => Breach::Extension,
        Some(_) => Breach::LineEnd,
        None => Breach::Extension,
    }
}

fn breach_of_trailers(mut bytes: &[u8]) -> Option<Breach> {
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let Some(line) = bytes[..end].strip_suffix(b"\r") else {
            return Some(Breach::Trailer);
        };
        if line.is_empty() {
            return None;
        }
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if !is_token(name) || name.len() == line.len() || line.iter().any(is_control) {
            return Some(Breach::Trailer);
        }
        bytes = &bytes[end + 1..];
    }
    None
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1)
fn is_extension(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(rest) = text.trim_ascii_start().strip_prefix(b";") else {
            return false;
        };
        let Some(rest) = token(rest.trim_ascii_start()) else {
            return false;
        };
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else {
            text = rest;
            continue;
        };
        let value = value.trim_ascii_start();
        let Some(rest) = token(value).or_else(|| quoted(value)) else {
            return false;
        };
        text = rest;
    }
    true
}

/// What stands behind a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (length > 0).then(|| &text[length..])
}

/// What stands behind a string in quotes.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        match rest {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', escaped, behind @ ..] if !is_control(escaped) => rest = behind,
            [byte, behind @ ..] if !is_control(byte) => rest = behind,
            _ => return None,
        }
    }
}

fn is_control(byte: &u8) -> bool {
    matches!(byte, 0..=8 | 10..=31 | 127)
}
