//! Integers with a prefix (RFC 7541 §5.1).

use super::decoder::HpackError;

/// Reads the integer whose prefix is in the low bits of `first`; what is behind it in `rest` is
/// taken.
pub(super) fn read(first: u8, prefix: u8, rest: &mut &[u8]) -> Result<usize, HpackError> {
    let most = (1_u8 << prefix) - 1;
    let start = first & most;
    if start < most {
        return Ok(usize::from(start));
    }
    let mut number = u64::from(start);
    for shift in (0..).step_by(7).take(MAX_BYTES) {
        let Some((&byte, behind)) = rest.split_first() else {
            return Err(HpackError::Truncated);
        };
        *rest = behind;
        number += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let number = u32::try_from(number).map_err(|_| HpackError::Integer)?;
            return usize::try_from(number).map_err(|_| HpackError::Integer);
        }
    }
    Err(HpackError::Integer)
}

/// Appends an integer behind a pattern, which is in the high bits of the first byte.
pub(super) fn write(out: &mut Vec<u8>, pattern: u8, prefix: u8, number: usize) {
    let most = (1_u8 << prefix) - 1;
    match u8::try_from(number) {
        Ok(small) if small < most => return out.push(pattern | small),
        Ok(_) | Err(_) => out.push(pattern | most),
    }
    let mut left = number - usize::from(most);
    while left >= 0x80 {
        out.push(0x80 | low(left));
        left >>= 7;
    }
    out.push(low(left));
}

/// The seven lowest bits.
fn low(number: usize) -> u8 {
    let [.., byte] = number.to_be_bytes();
    byte & 0x7f
}

/// Bytes behind the prefix: what 32 bits need. Longer ones say nothing that could be meant, or are
/// padded with zeros to keep us busy.
const MAX_BYTES: usize = 5;
