//! That plain lines are read as `httparse` reads them.

use proptest::prelude::*;

use super::{FieldError, Lines, Slots, place};
use crate::message::{LONGEST_NAME, Place};

/// Name and value of each line.
type Texts = Vec<(Vec<u8>, Vec<u8>)>;

/// What was read, and bytes of the block.
type Read = Result<(Texts, usize), FieldError>;

/// As heads are read: plain lines first, then the others.
fn by_lines(block: &[u8], limit: usize) -> Read {
    let mut lines = Lines::new(block, limit);
    let mut places = Vec::new();
    while let Some((name, place)) = lines.next_plain() {
        assert_eq!(name, &block[place.name..place.name + place.name_length]);
        assert!(place.is_plain);
        places.push(place);
    }
    let others = lines.others()?;
    places.extend(others.places);
    Ok((texts(block, &places), others.size))
}

/// By `httparse` alone.
fn by_httparse(block: &[u8], limit: usize) -> Read {
    let mut slots = Slots::new();
    let read = slots.read(block, limit)?;
    let places: Vec<_> = read.lines.iter().map(|line| place(block, line)).collect();
    Ok((texts(block, &places), read.size))
}

fn texts(block: &[u8], places: &[Place]) -> Texts {
    let text = |start: usize, length: usize| block[start..start + length].to_vec();
    places
        .iter()
        .map(|place| {
            let value = if place.value_length == 0 {
                Vec::new() // a slice of nowhere
            } else {
                text(place.value, place.value_length)
            };
            if place.is_plain {
                let end = place.value + place.value_length;
                assert!(block[place.name + place.name_length..].starts_with(b": "));
                assert!(block[end..].starts_with(b"\r\n"));
            }
            (text(place.name, place.name_length), value)
        })
        .collect()
}

/// Blocks of lines that are plain and of such as are nearly so.
fn blocks() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[A-Za-z-]{1,20}: [ -~]{0,40}\r\n".prop_map(String::into_bytes),
        1 => "[!-~]{1,20}:[ \t]{0,2}[ -~\t]{0,20}\r\n".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![
            &b"a:b\r\n"[..], b"a:\r\n", b"a: \r\n", b"a:  \r\n", b"a:  b\r\n", b"a: b \r\n",
            b"a: b\t\r\n", b"a: b\xe9\r\n", b"a_b: c\r\n", b"a : b\r\n", b" a: b\r\n", b"a: b\n",
            b"a: b\r", b"a: b\r\r\n", b": b\r\n", b"a\r\n", b"a: \0\r\n", b"a: \x7f\r\n", b"\r\n",
            b"\n", b"a\xe9: b\r\n",
        ]).prop_map(<[u8]>::to_vec),
    ];
    let behind = prop::sample::select(vec![&b""[..], b"body", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"]);
    (prop::collection::vec(piece, 0..12), behind)
        .prop_map(|(pieces, behind)| [&pieces.concat()[..], b"\r\n\r\n", behind].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn both_ways_read_the_same(block in blocks(), limit in 0_usize..14) {
        let (ours, theirs) = (by_lines(&block, limit), by_httparse(&block, limit));
        // Which of several mistakes is told does not matter.
        if ours.is_ok() || theirs.is_ok() {
            prop_assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn the_limit_holds_for_plain_lines() {
    let block = b"a: 1\r\nb: 2\r\n\r\n";
    assert_eq!(by_lines(block, 1), Err(FieldError::TooMany));
    assert_eq!(
        by_lines(block, 2).map(|(lines, size)| (lines.len(), size)),
        Ok((2, block.len()))
    );
}

#[test]
fn a_name_is_as_long_as_its_place_can_say() {
    for (length, is_taken) in [(LONGEST_NAME, true), (LONGEST_NAME + 1, false)] {
        let name = "a".repeat(length);
        // By itself, and where `httparse` reads from a line on that is not plain.
        for before in ["", "b:c\r\n"] {
            let block = format!("{before}{name}: x\r\n\r\n");
            let read = by_lines(block.as_bytes(), 10);
            assert_eq!(read.is_ok(), is_taken, "{length} behind {before:?}");
            let names = read.map(|(texts, _)| texts.last().map(|(name, _)| name.len()));
            assert!(!is_taken || names == Ok(Some(length)));
        }
    }
}
