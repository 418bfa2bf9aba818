//! Bytes as people write them: what a health check sends, and what it expects.
//!
//! Text stands for itself, with `\n`, `\r`, `\t`, `\0`, `\\` and `\x41` for what cannot be typed.
//! Behind `hex:` stand the digits of all bytes, spaces among them where they help.

use std::str::FromStr;

/// What an answer has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OctetPattern {
    /// Bytes in a row, of which some may be any.
    bytes: Vec<Option<u8>>,
    /// Whether they may be anywhere, instead of at the beginning.
    anywhere: bool,
}

/// The bytes that are written.
pub fn octets(text: &str) -> Result<Vec<u8>, String> {
    let whole: Option<Vec<u8>> = parse(text)?.into_iter().collect();
    let whole = whole.ok_or("`??` stands for any byte, and something has to be sent")?;
    if whole.is_empty() {
        return Err("there is nothing to send".to_owned());
    }
    Ok(whole)
}

impl OctetPattern {
    /// Whether an answer holds it.
    pub fn matches(&self, answer: &[u8]) -> bool {
        let at = |part: &[u8]| {
            let pairs = part.iter().zip(&self.bytes);
            pairs
                .into_iter()
                .all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte))
        };
        if self.anywhere {
            answer.windows(self.bytes.len()).any(at)
        } else {
            answer.get(..self.bytes.len()).is_some_and(at)
        }
    }
}

impl FromStr for OctetPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inside = text.strip_prefix("contains:");
        let bytes = parse(inside.unwrap_or(text))?;
        if bytes.is_empty() {
            return Err("every answer has nothing in it".to_owned());
        }
        Ok(Self {
            bytes,
            anywhere: inside.is_some(),
        })
    }
}

fn parse(text: &str) -> Result<Vec<Option<u8>>, String> {
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => hex(digits)?,
        None => escaped(text)?.into_iter().map(Some).collect(),
    };
    if text.contains('\0') {
        return Err("a byte of zero is written as `\\0`".to_owned());
    }
    if bytes.len() > LONGEST {
        return Err(format!(
            "at most {LONGEST} bytes, which every network carries"
        ));
    }
    Ok(bytes)
}

fn hex(text: &str) -> Result<Vec<Option<u8>>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks(2) {
        bytes.push(match pair {
            ['?', '?'] => None,
            [high, low] => Some(byte(*high, *low)?),
            _ => return Err("a byte has two digits, and the last has one".to_owned()),
        });
    }
    Ok(bytes)
}

fn byte(high: char, low: char) -> Result<u8, String> {
    let digit = |c: char| {
        let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digit.ok_or_else(|| format!("`{}` is no hexadecimal digit", c.escape_default()))
    };
    Ok(digit(high)? << 4 | digit(low)?)
}

fn escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => match (rest.next(), rest.next()) {
                (Some(high), Some(low)) => byte(high, low)?,
                _ => return Err("`\\x` needs two digits".to_owned()),
            },
            Some(other) => return Err(format!("`\\{}` is unknown", other.escape_default())),
            None => return Err("it ends within `\\`".to_owned()),
        });
    }
    Ok(bytes)
}

/// What is not parted on its way anywhere: 1280, the least of IPv6, less its headers.
const LONGEST: usize = 1_232;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_digits_are_bytes() {
        assert_eq!(octets("ping").unwrap(), b"ping");
        assert_eq!(octets(r"a\x00\xfF\n\\").unwrap(), b"a\0\xff\n\\");
        assert_eq!(octets("hex: 12ab 00").unwrap(), [0x12, 0xab, 0]);
        for wrong in ["", "hex:", "hex:1", "hex:zz", r"\q", r"\x1", "\\", "hex:??"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
        assert!(octets(&"a".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn an_answer_begins_with_or_contains() {
        let matches =
            |pattern: &str, answer: &[u8]| pattern.parse::<OctetPattern>().unwrap().matches(answer);
        assert!(matches("po", b"pong"));
        assert!(!matches("po", b"p"));
        assert!(!matches("po", b"a pong"));
        assert!(matches("contains:po", b"a pong"));
        assert!(!matches("contains:po", b"o"));
        assert!(matches("hex:12 ?? 80", b"\x12\x00\x80\x01"));
        assert!(!matches("hex:12 ?? 80", b"\x12\x00\x81"));
        assert!(matches("contains:hex:??80", b"\x12\x00\x80"));
        assert!("contains:".parse::<OctetPattern>().is_err());
    }
}
