//! The static table (RFC 7541 Appendix A), and where in it a name is.

use super::Field;

/// The entry of this index, the first having 1.
pub(super) fn field(index: usize) -> Option<Field<'static>> {
    FIELDS.get(index.checked_sub(1)?).copied()
}

/// The index of a name, in any case; pseudo fields are not looked for.
///
/// Length, first and last letter tell all names apart, so one of them remains to be compared.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let [first, .., last] = name else {
        return None;
    };
    let index = usize::from(PLACES[place(name.len(), *first, *last)]);
    let (known, _) = field(index)?;
    known.eq_ignore_ascii_case(name).then_some(index)
}

/// One of 128 places. Setting the bit makes letters small.
const fn place(length: usize, first: u8, last: u8) -> usize {
    let key = (length & 0xffff) << 16 | (first as usize | 0x20) << 8 | last as usize | 0x20;
    (key.wrapping_mul(MULTIPLIER) & 0xffff_ffff) >> 25
}

/// Found by trying: no two names have the same place.
const MULTIPLIER: usize = 0xaa86_c98f;

const PLACES: [u8; 128] = {
    let mut places = [0; 128];
    let mut index = FIRST_NAME;
    while index as usize <= LENGTH {
        let (name, _) = FIELDS[index as usize - 1];
        let place = place(name.len(), name[0], name[name.len() - 1]);
        assert!(places[place] == 0, "each name has a place of its own");
        places[place] = index;
        index += 1;
    }
    places
};

/// Entries.
pub(super) const LENGTH: usize = FIELDS.len();

/// Where pseudo fields end, and with them names that come more than once.
const FIRST_NAME: u8 = 15;

/// Names and values, from index 1 on.
const FIELDS: [Field<'static>; 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];
