//! Lines of a text, and how one of a name is found among them.

use super::names::Role;
use super::value::Value;

/// A line of the text: name, colon, space, value, CRLF.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) key: Key,
    /// Where its name begins.
    pub(super) start: u32,
    /// Behind its CRLF.
    pub(super) end: u32,
    /// Bytes of the name.
    pub(super) name: u16,
    pub(super) role: Role,
}

/// A request that waits holds its lines, and there may be thousands.
const _: () = assert!(size_of::<Line>() == 16, "no line is larger than need be");

/// What names that are the same have in common: their length and their first and last letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u32);

/// A name that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    name: &'a [u8],
    pub(super) key: Key,
}

impl Line {
    #[inline]
    pub(super) fn value_range(&self) -> std::ops::Range<usize> {
        let value = self.start as usize + usize::from(self.name) + SEPARATOR.len();
        value..self.end as usize - END.len()
    }

    pub(super) fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        &text[start..start + usize::from(self.name)]
    }

    pub(super) fn value<'a>(&self, text: &'a [u8]) -> Value<'a> {
        Value::of_line(&text[self.value_range()])
    }
}

impl Key {
    #[inline]
    pub(super) fn of(name: &[u8]) -> Self {
        let (first, last) = match name {
            [first, .., last] => (*first, *last),
            [only] => (*only, *only),
            [] => (0, 0),
        };
        // Setting this bit makes a letter small. That other bytes may fall together, and lengths
        // beyond 64 KiB, does no harm: names with the same key are compared.
        Self(small(name.len()) << 16 | u32::from(first | 0x20) << 8 | u32::from(last | 0x20))
    }

    /// The first letter, small.
    pub(super) fn first(self) -> u8 {
        let [_, _, first, _] = self.0.to_be_bytes();
        first
    }

    /// One of 64 bits, by Knuth's multiplicative hash.
    #[inline]
    pub(super) fn bit(self) -> u64 {
        1 << (self.0.wrapping_mul(0x9e37_79b1) >> 26)
    }
}

impl<'a> Wanted<'a> {
    #[inline]
    pub(super) fn new(name: &'a [u8]) -> Self {
        Self {
            name,
            key: Key::of(name),
        }
    }

    #[inline]
    pub(super) fn is(&self, line: &Line, text: &[u8]) -> bool {
        line.key == self.key && is_same(line.name(text), self.name)
    }
}

/// Whether two names are the same in any case (RFC 9110 §5.1): eight bytes at a time, of which the
/// last may be among those before.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) else {
        return one.eq_ignore_ascii_case(other);
    };
    let words = one.as_chunks().0.iter().zip(other.as_chunks().0);
    one.len() == other.len()
        && is_same_word(*last, *other_last)
        && words
            .into_iter()
            .all(|(one, other)| is_same_word(*one, *other))
}

/// Letters alone may differ, and by one bit. (Warren, Hacker's Delight, §6-1: adding a number to
/// each byte of ASCII sets its highest bit where it reaches a bound.)
fn is_same_word(one: [u8; 8], other: [u8; 8]) -> bool {
    let words = (u64::from_ne_bytes(one), u64::from_ne_bytes(other));
    let all = |byte: u8| u64::from_ne_bytes([byte; 8]);
    if (words.0 | words.1) & all(0x80) != 0 {
        return one.eq_ignore_ascii_case(&other);
    }
    let (one, differ) = (words.0, words.0 ^ words.1);
    if differ & !all(0x20) != 0 {
        return false;
    }
    let small = one | all(0x20);
    let from_a = small + all(0x80 - b'a');
    let beyond_z = small + all(0x80 - (b'z' + 1));
    let letters = from_a & !beyond_z;
    (differ << 2) & all(0x80) & !letters == 0
}

/// A place or a length as it is stored.
#[expect(
    clippy::cast_possible_truncation,
    reason = "heads have at most 1 MiB, and what is added to them is small"
)]
#[inline]
pub(super) fn small(number: usize) -> u32 {
    debug_assert!(u32::try_from(number).is_ok(), "no head is as large");
    number as u32
}

/// The length of a name as it is stored.
#[inline]
pub(super) fn short(length: usize) -> u16 {
    debug_assert!(length <= LONGEST_NAME, "longer names are refused");
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Names may have so many bytes, as those of `http` may.
pub(crate) const LONGEST_NAME: usize = u16::MAX as usize;

/// Between name and value.
pub(super) const SEPARATOR: &[u8] = b": ";

/// Behind a line.
pub(super) const END: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_same;

    proptest! {
        #[test]
        fn names_are_the_same_where_the_standard_library_says_so(
            one in "[ -~\u{e9}]{0,20}",
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            flips in any::<u32>(),
        ) {
            let one = one.into_bytes();
            let flipped = one.iter().enumerate().map(|(at, byte)| match flips >> at & 1 {
                0 => *byte,
                _ => byte ^ 0x20,
            });
            let mut other: Vec<u8> = flipped.collect();
            for (at, byte) in changes {
                if !other.is_empty() {
                    let at = at.index(other.len());
                    other[at] = byte;
                }
            }
            prop_assert_eq!(is_same(&one, &other), one.eq_ignore_ascii_case(&other));
            prop_assert!(is_same(&one, &one.to_ascii_uppercase()));
        }
    }
}
