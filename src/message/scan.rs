//! Where a run of plain bytes ends.
//!
//! A head is looked at byte by byte on its way through a proxy, and once more into its log;
//! sixteen bytes in one step make that cheap. What is told here is only which bytes are *plain*:
//! any byte that is not is looked at by whoever asked.

use wide::i8x16;

/// Bytes at the start that a plain name has: letters, digits and `-`.
#[inline]
pub(crate) fn name_end(bytes: &[u8]) -> usize {
    run(bytes, |window| {
        letters_digits(window) | window.simd_eq(all(b'-'))
    })
}

/// Bytes at the start that a plain value has: visible ASCII and spaces.
#[inline]
pub(crate) fn value_end(bytes: &[u8]) -> usize {
    long_run(bytes, visible)
}

/// Bytes at the start that a plain host has: letters, digits, `-` and `.`.
#[inline]
pub(crate) fn host_end(bytes: &[u8]) -> usize {
    run(bytes, |window| {
        letters_digits(window) | window.simd_eq(all(b'-')) | window.simd_eq(all(b'.'))
    })
}

/// Bytes at the start that stand for themselves between quotes: visible ASCII and spaces, but for
/// the quote itself and the backslash.
#[inline]
pub(crate) fn quotable_end(bytes: &[u8]) -> usize {
    long_run(bytes, |window| {
        let escapes = window.simd_eq(all(b'"')) | window.simd_eq(all(b'\\'));
        visible(window) & !escapes
    })
}

#[inline]
fn letters_digits(window: i8x16) -> i8x16 {
    let small = window | all(0x20);
    let letters = small.simd_gt(all(b'a' - 1)) & all(b'z' + 1).simd_gt(small);
    let digits = window.simd_gt(all(b'0' - 1)) & all(b'9' + 1).simd_gt(window);
    letters | digits
}

/// Moved so that they are the least of all signed numbers, the bytes are told by one comparison.
#[inline]
fn visible(window: i8x16) -> i8x16 {
    let moved = window + i8x16::splat(i8::MIN.wrapping_sub_unsigned(b' '));
    i8x16::splat(i8::MIN.wrapping_add_unsigned(0x7f - b' ')).simd_gt(moved)
}

/// Length of the run at the start. `is_in` sets all bits of each byte that is in it.
#[inline]
fn run(bytes: &[u8], is_in: impl Fn(i8x16) -> i8x16) -> usize {
    let (windows, rest) = bytes.as_chunks();
    let mut length = 0;
    for window in windows {
        let count = first_out(*window, &is_in);
        length += count;
        if count < WIDTH {
            return length;
        }
    }
    let mut window = [0; WIDTH]; // what is not there is a control, and so ends the run
    window[..rest.len()].copy_from_slice(rest);
    length + first_out(window, &is_in)
}

/// As [`run`], two windows at a time: for what is seldom short.
#[inline]
fn long_run(bytes: &[u8], is_in: impl Fn(i8x16) -> i8x16) -> usize {
    let (pairs, rest) = bytes.as_chunks::<{ 2 * WIDTH }>();
    let mut length = 0;
    for pair in pairs {
        let ([one, other], []) = pair.as_chunks() else {
            break;
        };
        let both = u64::from(ins(*one, &is_in)) | u64::from(ins(*other, &is_in)) << WIDTH;
        let count = both.trailing_ones() as usize;
        length += count;
        if count < 2 * WIDTH {
            return length;
        }
    }
    length + run(rest, is_in)
}

/// Which byte is the first that is not in the run; as many as there are if all are.
#[inline]
fn first_out(window: [u8; WIDTH], is_in: impl Fn(i8x16) -> i8x16) -> usize {
    ins(window, is_in).trailing_ones() as usize
}

/// A bit for each byte that is in the run, the first the lowest.
#[inline]
fn ins(window: [u8; WIDTH], is_in: impl Fn(i8x16) -> i8x16) -> u32 {
    let window = i8x16::from(window.map(u8::cast_signed));
    is_in(window).to_bitmask()
}

/// A byte of ASCII, sixteen times.
#[inline]
fn all(byte: u8) -> i8x16 {
    i8x16::splat(byte.cast_signed())
}

const WIDTH: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{WIDTH, host_end, name_end, quotable_end, value_end};

    /// Each kind of run: where it ends, and what is in it.
    type Kind = (fn(&[u8]) -> usize, fn(u8) -> bool);

    const KINDS: [Kind; 4] = [
        (name_end, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        }),
        (value_end, |byte| matches!(byte, b' '..=b'~')),
        (host_end, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
        }),
        (quotable_end, |byte| {
            matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
        }),
    ];

    #[test]
    fn each_byte_is_told_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..6 * WIDTH + 5 {
                assert_told(byte, place);
            }
        }
    }

    /// Within a window, at its end, and in what is left behind the last one.
    fn assert_told(byte: u8, place: usize) {
        for length in [1, 2, 4, 6].map(|windows| windows * WIDTH) {
            let mut bytes = vec![b'a'; length + place % 7];
            let length = bytes.len();
            let Some(at) = bytes.get_mut(place) else {
                continue;
            };
            *at = byte;
            for (run_end, is_in) in KINDS {
                let end = if is_in(byte) { length } else { place };
                assert_eq!(run_end(&bytes), end, "{byte:#x} at {place}");
            }
        }
    }

    /// Mostly such as are in every run, so that runs become long.
    fn bytes() -> impl Strategy<Value = u8> {
        prop_oneof![60 => Just(b'a'), 2 => any::<u8>(), 1 => Just(b' '), 1 => Just(b'"')]
    }

    proptest! {
        #[test]
        fn a_run_ends_where_a_loop_ends_it(bytes in prop::collection::vec(bytes(), 0..150)) {
            for (run_end, is_in) in KINDS {
                let out = bytes.iter().position(|&byte| !is_in(byte));
                prop_assert_eq!(run_end(&bytes), out.unwrap_or(bytes.len()));
            }
        }
    }
}
