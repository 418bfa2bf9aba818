//! The authority: `uri-host [ ":" port ]` (RFC 3986 §3.2.2, RFC 9110 §7.2).

use std::net::Ipv6Addr;

use super::scan::host_end;

/// A host and a port that are well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'text> {
    /// A name, an IPv4 address, an IPv6 address in brackets, or nothing.
    pub(crate) host: &'text [u8],
    /// The digits behind the colon; none is allowed (RFC 3986 §3.2.3).
    pub(crate) port: Option<&'text [u8]>,
}

impl<'text> Authority<'text> {
    /// Reads an authority; userinfo is not part of one (RFC 9110 §4.2.4).
    pub(crate) fn parse(text: &'text [u8]) -> Option<Self> {
        let plain = host_end(text);
        // What most are.
        let port = match &text[plain..] {
            [] => Some(None),
            [b':', port @ ..] if is_port(port) => Some(Some(port)),
            _ => None,
        };
        if let Some(port) = port {
            let host = &text[..plain];
            return Some(Self { host, port });
        }
        let (host, rest) = if text.first() == Some(&b'[') {
            let end = text.iter().position(|&byte| byte == b']')? + 1;
            let (host, rest) = text.split_at(end);
            is_ipv6(&host[1..end - 1]).then_some((host, rest))?
        } else {
            let is_strange = |&byte: &u8| !NAME_BYTES[usize::from(byte)];
            let strange = text[plain..].iter().position(is_strange);
            let plain = strange.map_or(text.len(), |at| plain + at);
            let escaped = match text.get(plain) {
                Some(b'%') => text[plain..]
                    .iter()
                    .take_while(|&&byte| byte != b':')
                    .count(),
                Some(_) | None => 0,
            };
            let (host, rest) = text.split_at(plain + escaped);
            (escaped == 0 || is_registered_name(host)).then_some((host, rest))?
        };
        let port = match rest.split_first() {
            None => None,
            Some((b':', port)) => Some(is_port(port).then_some(port)?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }
}

/// RFC 3986 also has room for literals of later versions of IP; there are none, so none can be
/// reached, and zone identifiers mean something on the sender's machine only.
fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `*( unreserved / pct-encoded / sub-delims )`; covers IPv4 addresses.
fn is_registered_name(text: &[u8]) -> bool {
    if text.iter().all(|&byte| NAME_BYTES[usize::from(byte)]) {
        return true;
    }
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match (byte, behind) {
            (b'%', [high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                behind
            }
            _ if NAME_BYTES[usize::from(byte)] => behind,
            _ => return false,
        };
    }
    true
}

/// Digits of a number that a port can have.
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// Bytes of a name that stand for themselves: `unreserved / sub-delims`.
const NAME_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_mark = matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_delimiter = matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        bytes[byte as usize] = byte.is_ascii_alphanumeric() || is_mark || is_delimiter;
        byte += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::Authority;

    fn authority<'a>(host: &'a str, port: Option<&'a str>) -> Authority<'a> {
        Authority {
            host: host.as_bytes(),
            port: port.map(str::as_bytes),
        }
    }

    #[test]
    fn well_formed() {
        let cases = [
            ("", "", None),
            ("a", "a", None),
            ("example.org", "example.org", None),
            ("A_b~c-d.e!$&'()*+,;=", "A_b~c-d.e!$&'()*+,;=", None),
            ("a%20b", "a%20b", None),
            ("a:80", "a", Some("80")),
            ("a:", "a", Some("")),
            ("a:00080", "a", Some("00080")),
            ("a:65535", "a", Some("65535")),
            (":80", "", Some("80")),
            ("127.0.0.1:1", "127.0.0.1", Some("1")),
            ("[::1]", "[::1]", None),
            ("[2001:db8::a]:443", "[2001:db8::a]", Some("443")),
            ("[::ffff:1.2.3.4]:", "[::ffff:1.2.3.4]", Some("")),
        ];
        for (text, host, port) in cases {
            let expected = Some(authority(host, port));
            assert_eq!(Authority::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn malformed() {
        let cases: &[&[u8]] = &[
            b"a b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"u@h",
            b"u:p@h",
            b"a\\b",
            b"a\"b",
            b"<a>",
            b"a|b",
            b"a^b",
            b"{a}",
            b"h:80a",
            b"h:+80",
            b"h:-1",
            b"h: 80",
            b"h:99999",
            b"h:65536",
            b"h:80:80",
            b"a%2",
            b"a%zz",
            b"[::1",
            b"::1",
            b"[]",
            b"[v1.a]",
            b"[::1%25eth0]",
            b"[::1]a",
            b"h\xc3\xa9",
        ];
        for text in cases {
            assert_eq!(Authority::parse(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(Authority::parse(b"a\0b"), None);
    }
}
