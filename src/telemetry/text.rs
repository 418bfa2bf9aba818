//! Text by hand: timestamps, numbers and JSON strings, appended to a buffer of bytes.
//!
//! A log line through a general formatter costs more than the request that it tells of; these cost
//! about what copying the bytes costs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::message::quotable_end;
use crate::net::dotted;
use crate::time::since_epoch;

/// Writes times, and formats each second only once.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    /// `2026-01-02T03:04:05`, for `second`; empty before the first use.
    rfc3339: String,
    /// `02/Jan/2026:03:04:05 +0000`, for `second`; empty before the first use.
    combined: String,
}

impl Clock {
    /// Appends RFC 3339 in UTC with microseconds: `2026-01-02T03:04:05.000006Z`.
    pub(super) fn rfc3339(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = since_epoch(at);
        self.move_to(since.as_secs());
        out.extend_from_slice(self.rfc3339.as_bytes());
        let mut fraction = *b".000000Z";
        fraction[1..7].copy_from_slice(&six_digits(since.subsec_micros()));
        out.extend_from_slice(&fraction);
    }

    /// Appends the time as the Combined Log Format has it.
    pub(super) fn combined(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        self.move_to(since_epoch(at).as_secs());
        out.extend_from_slice(self.combined.as_bytes());
    }

    fn move_to(&mut self, second: u64) {
        if second == self.second && !self.rfc3339.is_empty() {
            return;
        }
        let seconds = i64::try_from(second).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        self.second = second;
        self.rfc3339 = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.combined = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    }
}

/// A time in RFC 3339, in UTC with microseconds: `2026-01-02T03:04:05.000006Z`.
pub fn rfc3339(at: SystemTime) -> String {
    let mut out = Vec::with_capacity(27);
    Clock::default().rfc3339(&mut out, at);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends a whole number.
pub(super) fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a duration in seconds with microseconds: `0.001234`.
pub(super) fn seconds(out: &mut Vec<u8>, duration: Duration) {
    let mut text = *b"0.000000";
    if fraction(&mut text, duration) {
        out.extend_from_slice(&text);
    } else {
        number(out, duration.as_secs());
        out.extend_from_slice(&text[1..]);
    }
}

/// Writes the microseconds of a duration over a `0.000000`. Whether they are all of it.
#[inline]
pub(super) fn fraction(zero: &mut [u8; 8], duration: Duration) -> bool {
    zero[2..].copy_from_slice(&six_digits(duration.subsec_micros()));
    duration.as_secs() == 0
}

/// Appends an address; an IPv4 address that came over an IPv6 socket as what it is.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        // Who came by a Unix socket has none, and nobody else this one.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => out.extend_from_slice(b"unix:"),
        IpAddr::V4(address) => {
            let (text, length) = dotted(address);
            out.extend_from_slice(&text[..length]);
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// Appends the inside of a JSON string (RFC 8259 §7).
pub(super) fn json_str(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        json_escaped(out, text);
    }
}

/// Appends the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
pub(super) fn json_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        json_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends bytes as nginx and Apache do within the quotes of a log line: what could end the field
/// or the line, and what a terminal could obey, as `\xHH`.
pub(super) fn hex_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for byte in bytes {
        if is_plain(&[*byte]) {
            out.push(*byte);
        } else {
            out.extend_from_slice(b"\\x");
            hex(out, *byte);
        }
    }
}

/// Whether these bytes are printable ASCII that needs no escape anywhere.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    quotable_end(bytes) == bytes.len()
}

fn json_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..b' ' | DELETE => {
                out.extend_from_slice(b"\\u00");
                hex(out, byte);
            }
            other => out.push(other),
        }
    }
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    let digit = |value: u8| HEX[usize::from(value & 15)];
    out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
}

/// The six digits of a number below a million.
fn six_digits(value: u32) -> [u8; 6] {
    let pair = |value: u32| &TWO_DIGITS[(value % 100) as usize];
    let mut digits = [0; 6];
    digits[..2].copy_from_slice(pair(value / 10_000));
    digits[2..4].copy_from_slice(pair(value / 100));
    digits[4..].copy_from_slice(pair(value));
    digits
}

const HEX: &[u8; 16] = b"0123456789abcdef";

const DELETE: u8 = 0x7f;

/// `00` to `99`.
const TWO_DIGITS: [[u8; 2]; 100] = {
    let mut table = [[b'0'; 2]; 100];
    let mut index = 1;
    while index < table.len() {
        table[index] = match table[index - 1] {
            [tens, b'9'] => [tens + 1, b'0'],
            [tens, ones] => [tens, ones + 1],
        };
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = vec![b'"'];
        json_bytes(&mut out, bytes);
        out.push(b'"');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_byte_survives_json_or_is_replaced() {
        for byte in 0..=u8::MAX {
            let read = json(&[b'a', byte, b'z']);
            let expected = String::from_utf8_lossy(&[b'a', byte, b'z']).into_owned();
            assert_eq!(read, expected, "byte {byte:#x}");
        }
        assert_eq!(json("søk ✓ 𝄞".as_bytes()), "søk ✓ 𝄞");
        assert_eq!(json(b"cut \xe2\x9c"), "cut \u{fffd}");
    }

    #[test]
    fn what_needs_no_escape_is_told() {
        for byte in 0..=u8::MAX {
            let needs_none = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            assert_eq!(is_plain(&[byte]), needs_none, "{byte:#x}");
        }
        assert!(is_plain(b"Mozilla/5.0 (X11; Linux x86_64) ~[]{}|'<>"));
    }

    #[test]
    fn strings_take_the_same_way_as_bytes() {
        for text in ["plain", "qu\"ote", "tab\tand\nnewline\0", "ünïcode \u{7f}"] {
            let (mut from_text, mut from_bytes) = (Vec::new(), Vec::new());
            json_str(&mut from_text, text);
            json_bytes(&mut from_bytes, text.as_bytes());
            assert_eq!(from_text, from_bytes);
        }
    }

    #[test]
    fn a_field_of_the_combined_format_cannot_be_left() {
        let mut out = Vec::new();
        hex_escaped(&mut out, b"a\"b\\c\nd\x1b[0m\xff");
        assert_eq!(out, br"a\x22b\x5cc\x0ad\x1b[0m\xff");
    }

    #[test]
    fn times_are_those_of_a_calendar() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (4_102_444_800, 0, "2100-01-01T00:00:00.000000Z"),
        ];
        let mut clock = Clock::default();
        for (seconds, nanos, expected) in cases {
            let mut out = Vec::new();
            clock.rfc3339(&mut out, UNIX_EPOCH + Duration::new(seconds, nanos));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        clock.combined(&mut out, UNIX_EPOCH + Duration::from_secs(951_782_407));
        assert_eq!(out, b"29/Feb/2000:00:00:07 +0000");
        assert!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)).starts_with("1970-"));
    }

    #[test]
    fn numbers_and_addresses() {
        let mut out = Vec::new();
        seconds(&mut out, Duration::from_micros(1_234));
        out.push(b' ');
        seconds(&mut out, Duration::from_secs(75));
        out.push(b' ');
        address(&mut out, "::ffff:10.0.0.255".parse().unwrap());
        out.push(b' ');
        address(&mut out, "2001:db8::1".parse().unwrap());
        assert_eq!(out, b"0.001234 75.000000 10.0.0.255 2001:db8::1");
    }
}
