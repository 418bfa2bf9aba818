//! Header blocks in.

use super::table::Table;
use super::{Field, huffman, integer, static_table};

/// Decodes the header blocks of one end of a connection, in the order in which they came.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The size that we announced: `SETTINGS_HEADER_TABLE_SIZE`.
    limit: usize,
}

/// Why a block cannot be decoded. The connection ends with `COMPRESSION_ERROR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HpackError {
    /// It ends within a field.
    Truncated,
    /// An integer has more than 32 bits, or more bytes than such a one needs (RFC 7541 §5.1).
    Integer,
    /// An index that neither table has (RFC 7541 §2.3.3).
    Index,
    /// EOS, or padding that is not the beginning of EOS or too long (RFC 7541 §5.2).
    Huffman,
    /// A size of the table that is above the limit, or that stands where it must not
    /// (RFC 7541 §4.2, §6.3).
    TableSize,
}

/// A name or a value of a literal.
enum Text<'block> {
    /// As it stands, in the block or in the static table.
    Plain(&'block [u8]),
    /// Copied or decoded: the bytes of the scratch from here to there.
    Scratch(usize, usize),
}

/// Name and value of a literal.
type Literal<'block> = (Text<'block>, Text<'block>);

impl Decoder {
    /// A decoder for an end that was told of this `SETTINGS_HEADER_TABLE_SIZE`. Before the first
    /// entry it holds no memory.
    pub fn new(limit: usize) -> Self {
        Self {
            table: Table::new(limit),
            limit,
        }
    }

    /// Decodes a whole block and hands on each field, name and value. `scratch` is memory for what
    /// has to be decoded first; it has no more than 8/5 of the block's bytes, or an entry's more.
    pub fn decode(
        &mut self,
        block: &[u8],
        scratch: &mut Vec<u8>,
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), HpackError> {
        let mut rest = self.sizes(block)?;
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                0x80.. => {
                    let index = integer::read(first, 7, &mut rest)?;
                    let (name, value) = self.field(index)?;
                    take(name, value);
                }
                0x40.. => {
                    let (name, value) = self.literal(first, 6, &mut rest, scratch)?;
                    let (name, value) = (name.of(scratch), value.of(scratch));
                    take(name, value);
                    self.table.insert(name, value);
                }
                0x20.. => return Err(HpackError::TableSize),
                // Without indexing, or never: what we send on is not indexed either way.
                _ => {
                    let (name, value) = self.literal(first, 4, &mut rest, scratch)?;
                    take(name.of(scratch), value.of(scratch));
                }
            }
        }
        Ok(())
    }

    /// Takes the sizes that a block begins with: the smallest that there was since the last block,
    /// then the last one (RFC 7541 §4.2).
    fn sizes<'block>(&mut self, block: &'block [u8]) -> Result<&'block [u8], HpackError> {
        let mut rest = block;
        for _ in 0..MAX_SIZES {
            let Some((&first @ 0x20..0x40, behind)) = rest.split_first() else {
                break;
            };
            rest = behind;
            let size = integer::read(first, 5, &mut rest)?;
            if size > self.limit {
                return Err(HpackError::TableSize);
            }
            self.table.resize(size);
        }
        Ok(rest)
    }

    /// Reads a literal whose index has so many bits of the first byte.
    fn literal<'block>(
        &self,
        first: u8,
        prefix: u8,
        rest: &mut &'block [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Literal<'block>, HpackError> {
        scratch.clear();
        let name = match integer::read(first, prefix, rest)? {
            0 => string(rest, scratch)?,
            index => self.name(index, scratch)?,
        };
        let value = string(rest, scratch)?;
        Ok((name, value))
    }

    /// The name of an entry. One of the dynamic table is copied: it may go to make room for the
    /// very entry that refers to it (RFC 7541 §4.4).
    fn name(&self, index: usize, scratch: &mut Vec<u8>) -> Result<Text<'static>, HpackError> {
        if let Some((name, _)) = static_table::field(index) {
            return Ok(Text::Plain(name));
        }
        let (name, _) = self.field(index)?;
        scratch.extend_from_slice(name);
        Ok(Text::Scratch(0, name.len()))
    }

    fn field(&self, index: usize) -> Result<Field<'_>, HpackError> {
        let dynamic = || {
            let index = index.checked_sub(static_table::LENGTH + 1)?;
            self.table.field(index)
        };
        static_table::field(index)
            .or_else(dynamic)
            .ok_or(HpackError::Index)
    }

    /// Bytes of memory that the table holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.table.memory()
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

impl HpackError {
    /// What the other end is told.
    pub fn why(self) -> &'static str {
        match self {
            Self::Truncated => "a header block ends within a field",
            Self::Integer => "an integer in a header block is too large",
            Self::Index => "an index in a header block has no entry",
            Self::Huffman => "a header block has malformed Huffman code",
            Self::TableSize => "a header block changes the table's size as it must not",
        }
    }
}

impl<'block> Text<'block> {
    fn of<'text>(&self, scratch: &'text [u8]) -> &'text [u8]
    where
        'block: 'text,
    {
        match *self {
            Self::Plain(text) => text,
            Self::Scratch(start, end) => scratch.get(start..end).unwrap_or_default(),
        }
    }
}

/// Reads a string (RFC 7541 §5.2).
fn string<'block>(
    rest: &mut &'block [u8],
    scratch: &mut Vec<u8>,
) -> Result<Text<'block>, HpackError> {
    let Some((&first, behind)) = rest.split_first() else {
        return Err(HpackError::Truncated);
    };
    *rest = behind;
    let length = integer::read(first, 7, rest)?;
    let Some((text, behind)) = rest.split_at_checked(length) else {
        return Err(HpackError::Truncated);
    };
    *rest = behind;
    if first & 0x80 == 0 {
        return Ok(Text::Plain(text));
    }
    let start = scratch.len();
    huffman::decode(text, scratch)?;
    Ok(Text::Scratch(start, scratch.len()))
}

/// Sizes at the start of a block.
const MAX_SIZES: usize = 2;
