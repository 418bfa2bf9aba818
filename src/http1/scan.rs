//! Where a run of plain bytes ends.
//!
//! A head is looked at byte by byte once on its way through a proxy; eight bytes in one step make
//! that cheap. What is told here is only which bytes are *plain*: any byte that is not is looked at
//! by whoever asked.
//!
//! Each step adds numbers to all bytes of a word at once, so that the highest bit of each tells
//! whether it reached a bound (Warren, Hacker's Delight, §6-1). A byte that has this bit already is
//! not plain, so that it does not matter what is carried out of it: the first one counts.

/// Bytes at the start that a plain name has: letters, digits and `-`.
#[inline]
pub(super) fn name_end(bytes: &[u8]) -> usize {
    run(bytes, |word| {
        let small = word | all(0x20);
        let letters = reach(small, b'a') & !reach(small, b'z' + 1);
        let digits = reach(word, b'0') & !reach(word, b'9' + 1);
        let others = reach(word ^ all(b'-'), 1);
        !(letters | digits | !others) | word
    })
}

/// Bytes at the start that a plain value has: visible ASCII and spaces.
#[inline]
pub(super) fn value_end(bytes: &[u8]) -> usize {
    run(bytes, |word| !reach(word, b' ') | reach(word, 0x7f) | word)
}

/// Length of the run at the start. `out` sets the highest bit of each byte that is not in it.
#[inline]
fn run(bytes: &[u8], out: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks();
    let mut length = 0;
    for word in words {
        let out = out(u64::from_le_bytes(*word)) & all(0x80);
        if out != 0 {
            return length + first(out);
        }
        length += WORD;
    }
    let mut word = [0; WORD]; // what is not there is a control, and so ends the run
    word[..rest.len()].copy_from_slice(rest);
    length + first(out(u64::from_le_bytes(word)) & all(0x80))
}

/// Sets the highest bit of each byte that is at least `bound`, which is not 0. Of bytes that have it
/// already it says nothing.
#[inline]
fn reach(word: u64, bound: u8) -> u64 {
    word.wrapping_add(all(0x80 - bound))
}

/// A word of one byte.
#[inline]
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; WORD])
}

/// Which byte has the first bit.
#[inline]
fn first(out: u64) -> usize {
    out.trailing_zeros() as usize / 8
}

const WORD: usize = size_of::<u64>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{WORD, name_end, value_end};

    fn in_name(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'-'
    }

    fn in_value(byte: u8) -> bool {
        matches!(byte, b' '..=b'~')
    }

    #[test]
    fn each_byte_is_told_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..WORD + 5 {
                for length in [WORD + 5, 2 * WORD, 2 * WORD + 5] {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    let end = |is_in: fn(u8) -> bool| if is_in(byte) { length } else { place };
                    assert_eq!(name_end(&bytes), end(in_name), "{byte:#x} at {place}");
                    assert_eq!(value_end(&bytes), end(in_value), "{byte:#x} at {place}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_ends_where_a_loop_ends_it(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let end = |is_in: fn(u8) -> bool| {
                let out = bytes.iter().position(|&byte| !is_in(byte));
                out.unwrap_or(bytes.len())
            };
            prop_assert_eq!(name_end(&bytes), end(in_name));
            prop_assert_eq!(value_end(&bytes), end(in_value));
        }
    }
}
