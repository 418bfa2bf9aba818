//! Heads as HPACK writes them (RFC 7541): without a table of its own when it writes, and with all
//! of it when it reads.

use super::super::message::text;

/// The names and values of a head, in order.
pub(crate) type Fields = Vec<(String, String)>;

/// Fields as literals that nobody puts into a table, in plain text.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

/// One field as a literal that the other end has to put into its table.
pub(crate) fn indexed_literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut block = vec![0x40];
    string(&mut block, name.as_ref());
    string(&mut block, value.as_ref());
    block
}

/// A number behind `pattern`, which leaves this many bits of its byte (RFC 7541 §5.1).
pub(crate) fn number(pattern: u8, bits: u32, value: usize) -> Vec<u8> {
    let full = (1 << bits) - 1;
    if value < full {
        return vec![pattern | u8::try_from(value).expect("less than a byte")];
    }
    let mut bytes = vec![pattern | u8::try_from(full).expect("less than a byte")];
    let mut rest = value - full;
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
    bytes
}

fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    block.extend(number(0, 7, bytes.len()));
    block.extend_from_slice(bytes);
}

/// What reads the heads of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The newest first.
    table: Vec<(String, String)>,
    limit: usize,
}

impl Decoder {
    /// With a table of the size that both ends begin with.
    pub(crate) fn new() -> Self {
        Self {
            table: Vec::new(),
            limit: 4096,
        }
    }

    /// The fields of a block.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Result<Fields, String> {
        let mut fields = Fields::new();
        let mut rest = Reader(block);
        while let Some(&first) = rest.0.first() {
            if first & 0x80 != 0 {
                let index = rest.number(7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.limit = rest.number(5)?;
                self.evict();
            } else {
                let is_kept = first & 0x40 != 0;
                let index = rest.number(if is_kept { 6 } else { 4 })?;
                let name = match index {
                    0 => rest.string()?,
                    index => self.entry(index)?.0,
                };
                let field = (name, rest.string()?);
                if is_kept {
                    self.table.insert(0, field.clone());
                    self.evict();
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        let place = index.checked_sub(1).ok_or("index 0")?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let entry = self.table.get(place - STATIC.len());
        entry
            .cloned()
            .ok_or_else(|| format!("index {index} is not there"))
    }

    fn evict(&mut self) {
        let size = |table: &[(String, String)]| {
            let sizes = table.iter();
            sizes.map(|(n, v)| n.len() + v.len() + 32).sum::<usize>()
        };
        while size(&self.table) > self.limit {
            self.table.pop();
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (&first, rest) = self.0.split_first().ok_or("the block ends too early")?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self, bits: u32) -> Result<usize, String> {
        let full = (1 << bits) - 1;
        let mut value = usize::from(self.byte()?) & full;
        if value < full {
            return Ok(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number without end".to_owned())
    }

    fn string(&mut self) -> Result<String, String> {
        let is_huffman = self.0.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = self.number(7)?;
        let bytes = self.0.get(..length).ok_or("a string ends too early")?;
        self.0 = &self.0[length..];
        if is_huffman {
            huffman(bytes).map(|bytes| text(&bytes))
        } else {
            Ok(text(bytes))
        }
    }
}

/// The text behind a Huffman code (RFC 7541 §5.2).
fn huffman(bytes: &[u8]) -> Result<Vec<u8>, String> {
    // Codes of one length follow each other; `ordered` has all symbols in that order.
    let mut ordered: Vec<usize> = (0..LENGTHS.len()).collect();
    ordered.sort_by_key(|&symbol| (LENGTHS[symbol], symbol));
    let mut out = Vec::new();
    let (mut code, mut length) = (0_u32, 0_u8);
    // The first code of the present length, and its place.
    let (mut first, mut place) = (0_u32, 0_usize);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| (byte >> shift) & 1))
    {
        code = code << 1 | u32::from(bit);
        first <<= 1;
        length += 1;
        if length > 30 {
            return Err("a code that nothing has".to_owned());
        }
        let count = LENGTHS
            .iter()
            .map(|bits| usize::from(*bits == length))
            .sum();
        let offset = (code - first) as usize;
        if offset < count {
            let byte = u8::try_from(ordered[place + offset]);
            out.push(byte.map_err(|_| "the end within a string")?);
            (code, length, first, place) = (0, 0, 0, 0);
        } else {
            first += u32::try_from(count).expect("257 symbols");
            place += count;
        }
    }
    // Less than a byte of ones may be left.
    if length > 7 || code != (1 << length) - 1 {
        return Err("bad padding".to_owned());
    }
    Ok(out)
}

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How many bits each byte has, and the end last; codes follow from that, since they are canonical.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
