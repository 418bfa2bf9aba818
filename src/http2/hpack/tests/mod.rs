//! What blocks say: beside the examples of the RFC, and beside a model that is written for reading.

use super::decoder::{Decoder, HpackError};

mod appendix;
mod encoding;
mod malformed;
mod properties;

/// Fields, as they are written in a test.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Fields, as text.
type Texts = Vec<(String, String)>;

/// Bytes from their hexadecimal digits, between which there may be space.
fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

/// What a block says.
fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Texts, HpackError> {
    let mut fields = Texts::new();
    decoder.decode(block, &mut Vec::new(), |name, value| {
        fields.push((text(name), text(value)));
    })?;
    Ok(fields)
}

fn texts(fields: Pairs<'_>) -> Texts {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
