//! What the other end is told of a client before anything else.
//!
//! A connection to an endpoint may carry what several requests of one client ask, but only of that
//! client: so an introduction can be compared with the one that a connection began with. What is
//! different in each (an id) takes no part in that and stands at the end.

use super::tlv::{self, Kind, PREFIX, SUM, Tlvs};
use super::{Addresses, LONGEST, Origin, Version, crc32c, v1, v2};

/// A header that is to be sent.
#[derive(Debug, Clone)]
pub struct Introduction {
    version: Version,
    /// Without what is added at the end.
    bytes: Box<[u8]>,
    id: Option<Box<[u8]>>,
}

/// What there is to be told. Version 1 has room for the origin only.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// For whom the connection is.
    pub origin: Origin,
    /// The protocol that was agreed on in TLS with the client.
    pub alpn: Option<&'a [u8]>,
    /// The name that the client asked for in TLS.
    pub authority: Option<&'a [u8]>,
    /// How the client speaks TLS with us, if it does.
    pub tls: Option<TlsFacts<'a>>,
    /// What the proxy in front has said. What we know ourselves takes the place of its own kind.
    pub received: Option<&'a Tlvs>,
    /// A name for the connection, unless the proxy in front has given it one. One of more than 128
    /// bytes is left out (§2.2.5).
    pub unique_id: Option<&'a [u8]>,
}

/// How a client speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsFacts<'a> {
    /// The version: `TLSv1.3`.
    pub version: &'a str,
    /// The suite by the name that OpenSSL has for it.
    pub cipher: Option<&'a str>,
    /// Whether it has shown a certificate, which was verified.
    pub has_certificate: bool,
    /// The common name of that certificate's subject.
    pub common_name: Option<&'a str>,
}

impl Introduction {
    /// Of a client.
    pub fn new(version: Version, told: &Told<'_>) -> Self {
        let (mut bytes, mut has_id) = (Vec::new(), true);
        match version {
            Version::V1 => v1::write(&mut bytes, told.origin),
            Version::V2 => {
                v2::write(&mut bytes, told.origin);
                has_id = told.write_tlvs(&mut bytes);
            }
        }
        let fits = |id: &&[u8]| !has_id && !id.is_empty() && id.len() <= LONGEST_ID;
        Self {
            version,
            bytes: bytes.into(),
            id: told.unique_id.filter(fits).map(Into::into),
        }
    }

    /// Of ourselves: nobody has asked for this connection.
    pub fn of_ourselves(version: Version) -> Self {
        Self::of(version, Origin::Proxy)
    }

    /// Of a client at these addresses, about whom nothing else is known.
    pub fn of_addresses(version: Version, addresses: Addresses) -> Self {
        Self::of(version, Origin::Client(addresses))
    }

    /// One of whom nothing else is told.
    fn of(version: Version, origin: Origin) -> Self {
        let told = Told {
            origin,
            alpn: None,
            authority: None,
            tls: None,
            received: None,
            unique_id: None,
        };
        Self::new(version, &told)
    }

    /// Whether another one says the same, but for its id.
    pub fn is_like(&self, other: &Self) -> bool {
        self.told() == other.told()
    }

    /// What it says, but for its id.
    pub fn told(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it, as it is sent.
    pub fn finished(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        if self.version == Version::V1 {
            return bytes;
        }
        if let Some(id) = &self.id {
            tlv::write(&mut bytes, Kind::UniqueId as u8, id);
        }
        tlv::write(&mut bytes, Kind::Crc32c as u8, &[0; SUM]);
        v2::set_length(&mut bytes);
        let sum = crc32c::checksum(&[&bytes]);
        let at = bytes.len() - SUM;
        bytes[at..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

impl Told<'_> {
    /// Writes all but what is added at the end. Whether an id is among it.
    fn write_tlvs(&self, out: &mut Vec<u8>) -> bool {
        let (mut own, mut has_id) = (Vec::new(), false);
        for (kind, value) in [(Kind::Alpn, self.alpn), (Kind::Authority, self.authority)] {
            // Names and protocols have no more (RFC 1035 §2.3.4, RFC 7301 §3.1).
            if let Some(value) = value.filter(|value| value.len() <= LONGEST_TEXT) {
                tlv::write(out, kind as u8, value);
                own.push(kind as u8);
            }
        }
        if let Some(tls) = &self.tls {
            tlv::write(out, Kind::Ssl as u8, &tls.value());
            own.push(Kind::Ssl as u8);
        }
        let room = LONGEST - ADDED;
        for (kind, value) in self.received.into_iter().flat_map(Tlvs::iter) {
            // What does not fit is left out: the other end may take no more than we do.
            if !own.contains(&kind) && out.len() + PREFIX + value.len() <= room {
                tlv::write(out, kind, value);
                has_id |= kind == Kind::UniqueId as u8;
            }
        }
        has_id
    }
}

impl TlsFacts<'_> {
    /// `pp2_tlv_ssl` (§2.2.6).
    fn value(&self) -> Vec<u8> {
        let mut client = CLIENT_SSL;
        if self.has_certificate {
            // On which connection of its session it was shown is not told apart.
            client |= CLIENT_CERT_CONN | CLIENT_CERT_SESS;
        }
        let mut value = vec![client];
        let verify = u32::from(!self.has_certificate);
        value.extend_from_slice(&verify.to_be_bytes());
        for (kind, text) in [
            (SUBTYPE_VERSION, Some(self.version)),
            (SUBTYPE_CN, self.common_name),
            (SUBTYPE_CIPHER, self.cipher),
        ] {
            if let Some(text) = text.filter(|text| text.len() <= LONGEST_TEXT) {
                tlv::write(&mut value, kind, text.as_bytes());
            }
        }
        value
    }
}

/// `PP2_CLIENT_SSL`: the client speaks TLS.
const CLIENT_SSL: u8 = 0x01;
/// `PP2_CLIENT_CERT_CONN`: it has shown a certificate on this connection.
const CLIENT_CERT_CONN: u8 = 0x02;
/// `PP2_CLIENT_CERT_SESS`: or on one before in the same session.
const CLIENT_CERT_SESS: u8 = 0x04;

/// `PP2_SUBTYPE_SSL_VERSION`.
const SUBTYPE_VERSION: u8 = 0x21;
/// `PP2_SUBTYPE_SSL_CN`.
const SUBTYPE_CN: u8 = 0x22;
/// `PP2_SUBTYPE_SSL_CIPHER`.
const SUBTYPE_CIPHER: u8 = 0x23;

/// §2.2.5.
const LONGEST_ID: usize = 128;

/// More than any name or protocol has.
const LONGEST_TEXT: usize = 255;

/// Room for what is added at the end: an id and the checksum.
const ADDED: usize = PREFIX + LONGEST_ID + PREFIX + SUM;
