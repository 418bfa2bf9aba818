//! What a header of version 2 says beside addresses: types, lengths and values (§2.2.1 ff.).

use super::crc32c::checksum;
use super::read::Unreadable;

/// TLVs, each whole, without those that are about the header itself (`PP2_TYPE_CRC32C` and
/// `PP2_TYPE_NOOP`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tlvs {
    bytes: Box<[u8]>,
}

/// The type and the value of one.
pub type Tlv<'a> = (u8, &'a [u8]);

/// A type of TLV that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The protocol that was agreed on in TLS (§2.2.1).
    Alpn = 0x01,
    /// The name that was asked for (§2.2.2).
    Authority = 0x02,
    /// The checksum of the header (§2.2.3).
    Crc32c = 0x03,
    /// Room, to be ignored (§2.2.4).
    Noop = 0x04,
    /// What tells the connection from all others (§2.2.5).
    UniqueId = 0x05,
    /// How the client speaks TLS (§2.2.6).
    Ssl = 0x20,
}

impl Tlvs {
    /// The type and the value of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Tlv<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (tlv, behind) = first(rest)?;
            rest = behind;
            Some(tlv)
        })
    }

    /// The value of the first of a type.
    pub fn find(&self, kind: Kind) -> Option<&[u8]> {
        let mut all = self.iter();
        all.find_map(|(one, value)| (one == kind as u8).then_some(value))
    }

    /// Whether they say that the client speaks TLS with whoever has written them (`PP2_CLIENT_SSL`,
    /// §2.2.6).
    pub fn tell_of_tls(&self) -> bool {
        let ssl = self.find(Kind::Ssl);
        let client = ssl.and_then(<[u8]>::first);
        client.is_some_and(|client| client & CLIENT_SSL != 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Reads the TLVs at the end of a whole block, and checks the block against its checksum, if it has
/// one.
pub(super) fn read(block: &[u8], tlvs: &[u8]) -> Result<Tlvs, Unreadable> {
    let mut kept = Vec::with_capacity(tlvs.len());
    let (mut rest, mut sum) = (tlvs, None);
    while !rest.is_empty() {
        let Some(((kind, value), behind)) = first(rest) else {
            return Err(Unreadable::Malformed("a TLV is cut off"));
        };
        if kind == Kind::Crc32c as u8 {
            let at = block.len() - behind.len() - value.len();
            let length = value.len();
            if length != SUM || sum.replace(at).is_some() {
                return Err(Unreadable::Malformed("its checksum is none"));
            }
        } else if kind != Kind::Noop as u8 {
            write(&mut kept, kind, value);
        }
        rest = behind;
    }
    if let Some(at) = sum {
        let (before, behind) = (&block[..at], &block[at + SUM..]);
        // It was 0 while it was computed.
        let computed = checksum(&[before, &[0; SUM], behind]);
        if block[at..at + SUM] != computed.to_be_bytes() {
            return Err(Unreadable::Malformed("its checksum does not fit"));
        }
    }
    Ok(Tlvs { bytes: kept.into() })
}

/// The type and the value of the first TLV, and what stands behind it.
fn first(bytes: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let [kind, high, low, rest @ ..] = bytes else {
        return None;
    };
    let length = u16::from_be_bytes([*high, *low]);
    let (value, behind) = rest.split_at_checked(length.into())?;
    Some(((*kind, value), behind))
}

/// Writes a TLV. What is longer than one can be is left out.
pub(super) fn write(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if let Ok(length) = u16::try_from(value.len()) {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// `PP2_CLIENT_SSL`: the client speaks TLS.
pub(super) const CLIENT_SSL: u8 = 0x01;

/// Bytes of a checksum.
pub(super) const SUM: usize = 4;

/// Bytes before a value: its type and its length.
pub(super) const PREFIX: usize = 3;
