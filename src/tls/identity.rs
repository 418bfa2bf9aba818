//! Who a client is, by the certificate that it showed.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::net::ClientCertificate;

/// What a certificate says whose chain has been judged. An error where it cannot be told: then
/// nobody may be let in by it.
pub(super) fn of(der: &[u8], whole: bool) -> io::Result<ClientCertificate> {
    if der.len() > LARGEST {
        return Err(io::Error::other("the client's certificate is too large"));
    }
    let malformed = |error| io::Error::other(format!("the client's certificate: {error}"));
    let certificate = Certificate::from_der(der).map_err(malformed)?;
    let certificate = certificate.tbs_certificate();
    // One that came with a ticket was judged when that was given, and may have expired since.
    let not_after = certificate.validity().not_after.to_unix_duration();
    if UNIX_EPOCH
        .checked_add(not_after)
        .is_some_and(|until| until < SystemTime::now())
    {
        return Err(io::Error::other("the client's certificate has expired"));
    }
    let names = certificate.get_extension::<SubjectAltName>();
    let names = names.map_err(malformed)?.map(|(_, names)| names.0);
    let names = names.unwrap_or_default();
    let mut spiffe_ids = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) if uri.as_str().starts_with(SPIFFE) => {
            Some(visible(uri.as_str(), '%'))
        }
        _ => None,
    });
    let (first, second) = (spiffe_ids.next(), spiffe_ids.next());
    let names: Box<[_]> = names.iter().filter_map(told).collect();
    Ok(ClientCertificate {
        subject: subject(&certificate.subject().to_string()),
        common_name: common_name(certificate.subject()),
        list_of_names: list(&names),
        names,
        spiffe_id: first.filter(|_| second.is_none()),
        fingerprint: hexadecimal(&Sha256::digest(der)),
        whole: whole.then(|| bytes(der)),
    })
}

/// The first common name; none where it is no text.
fn common_name(subject: &Name) -> Option<Box<str>> {
    let name = subject.common_name().ok()??;
    Some(name.value().into())
}

/// A space that ends it stands behind a mark as it is; in a field it would be lost.
fn subject(name: &str) -> Box<str> {
    match name.strip_suffix(r"\ ") {
        Some(start) => format!(r"{}\20", visible(start, '\\')).into(),
        None => visible(name, '\\'),
    }
}

/// A name with its kind in front; none for kinds that nobody asks for.
fn told(name: &GeneralName) -> Option<Box<str>> {
    let (kind, text) = match name {
        GeneralName::DnsName(name) => ("DNS", name.as_str().to_owned()),
        GeneralName::UniformResourceIdentifier(uri) => ("URI", uri.as_str().to_owned()),
        GeneralName::Rfc822Name(address) => ("email", address.as_str().to_owned()),
        GeneralName::IpAddress(address) => ("IP", ip_address(address.as_bytes())?),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::RegisteredId(_) => return None,
    };
    Some(visible(&format!("{kind}:{text}"), '%'))
}

fn ip_address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(octets).to_string())
}

/// The text with what a field or a log would trip over in hexadecimal digits behind a mark: `%` in
/// URIs and names (RFC 3986 §2.1), `\` in subjects (RFC 4514 §2.4).
fn visible(text: &str, mark: char) -> Box<str> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b' ' || byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "{mark}{byte:02X}");
        }
    }
    out.into()
}

/// A list of strings (RFC 9651 §3.1 and §3.3.3).
fn list(items: &[Box<str>]) -> Box<str> {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(", ");
        }
        let escaped = item.replace('\\', r"\\").replace('"', "\\\"");
        let _ = write!(out, "\"{escaped}\"");
    }
    out.into()
}

fn hexadecimal(bytes: &[u8]) -> Box<str> {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out.into()
}

/// A sequence of bytes (RFC 9651 §3.3.5): base64 between colons.
fn bytes(der: &[u8]) -> Box<str> {
    format!(":{}:", base64(der)).into()
}

/// Base64 with its padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let triple = [0, 1, 2].map(|place| chunk.get(place).copied().unwrap_or_default());
        let number = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
        for place in 0..4 {
            let digit = number >> (18 - 6 * place) & 0x3f;
            let digit = char::from(DIGITS[digit as usize]);
            out.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

/// What a URI of SPIFFE begins with.
const SPIFFE: &str = "spiffe://";

/// What stands in it is sent to endpoints with every request, and heads are not for books.
const LARGEST: usize = 16 * 1024;

/// Of base64 (RFC 4648 §4).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(facts: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        facts(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        certificate.der().to_vec()
    }

    #[test]
    fn what_came_with_a_ticket_may_have_expired_meanwhile() {
        let good = certificate(|params| params.not_after = date_time_ymd(2100, 1, 1));
        assert!(of(&good, false).is_ok());
        let expired = certificate(|params| params.not_after = date_time_ymd(2020, 1, 1));
        let error = of(&expired, false).unwrap_err();
        assert!(error.to_string().ends_with("has expired"), "{error}");
    }

    #[test]
    fn nobody_has_two_spiffe_ids() {
        let uri = |text: &str| SanType::URI(text.try_into().expect("ASCII"));
        let (one, other) = ("spiffe://a.test/one", "spiffe://a.test/two");
        let alone = certificate(|params| {
            params.subject_alt_names = vec![uri("https://a.test/"), uri(one)];
        });
        let both = certificate(|params| params.subject_alt_names = vec![uri(one), uri(other)]);
        let (alone, both) = (of(&alone, false).unwrap(), of(&both, false).unwrap());
        assert_eq!(alone.spiffe_id.as_deref(), Some(one));
        assert_eq!(both.spiffe_id, None);
        assert_eq!(both.names.len(), 2);
        let none = of(&certificate(|_| {}), false).unwrap();
        assert_eq!(
            (none.spiffe_id, &*none.list_of_names, none.whole),
            (None, "", None)
        );
    }

    #[test]
    fn what_is_no_certificate_lets_nobody_in() {
        assert!(of(b"no certificate", false).is_err());
        let large = certificate(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "a".repeat(LARGEST));
        });
        assert!(
            of(&large, false)
                .unwrap_err()
                .to_string()
                .ends_with("too large")
        );
    }

    #[test]
    fn bytes_are_base64() {
        for (bytes_in, text) in [
            ("", "::"),
            ("f", ":Zg==:"),
            ("fo", ":Zm8=:"),
            ("foo", ":Zm9v:"),
            ("foobar", ":Zm9vYmFy:"),
        ] {
            assert_eq!(&*bytes(bytes_in.as_bytes()), text);
        }
        assert_eq!(&*bytes(&[0xfb, 0xff, 0xfe]), ":+//+:");
    }

    #[test]
    fn what_a_field_would_trip_over_is_escaped() {
        assert_eq!(&*subject(r"CN=a\  b\ "), r"CN=a\  b\20");
        assert_eq!(&*visible("CN=a\r\nb\0ü", '\\'), r"CN=a\0D\0Ab\00\C3\BC");
        let items = [r#"URI:a"b\c"#.into(), "DNS:x".into()];
        assert_eq!(&*list(&items), r#""URI:a\"b\\c", "DNS:x""#);
    }
}
