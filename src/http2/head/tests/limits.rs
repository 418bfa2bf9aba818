//! How much a head may have.

use super::{GET, HeadError, RequestReader, ResponseReader, SETTINGS, text};
use crate::http2::settings::Settings;

fn reader(head: usize, fields: usize) -> RequestReader {
    let mut reader = RequestReader::new(&Settings {
        head,
        fields,
        ..SETTINGS
    });
    for (name, value) in GET {
        reader.take(name.as_bytes(), value.as_bytes());
    }
    reader
}

/// Bytes that the pseudo fields of a GET count.
fn pseudo() -> usize {
    GET.iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum()
}

#[test]
fn bytes() {
    for (room, fits) in [(4 + 1 + 2, true), (4 + 1 + 1, false)] {
        let mut reader = reader(pseudo() + room, 10);
        reader.take(b"a", b"bc");
        assert_eq!(reader.finish(true).is_ok(), fits, "{room}");
    }
    assert_eq!(
        reader(pseudo() - 1, 10).finish(true).err(),
        Some(HeadError::TooLarge)
    );
}

#[test]
fn lines() {
    for (count, fits) in [(3, true), (4, false)] {
        let mut reader = reader(1000, 3);
        for _ in 0..count {
            reader.take(b"a", b"b");
        }
        let expected = (!fits).then_some(HeadError::TooLarge);
        assert_eq!(reader.finish(true).err(), expected, "{count}");
    }
}

/// A browser has a crumb for each cookie.
#[test]
fn crumbs_are_one_line_and_count_by_their_bytes() {
    let mut reader = reader(1000, 1);
    for _ in 0..50 {
        reader.take(b"cookie", b"a=1");
    }
    let head = reader.finish(true).expect("one line of 650 bytes");
    assert_eq!(head.parts.headers.len(), 2);
    let mut reader = self::reader(1000, 1);
    for _ in 0..100 {
        reader.take(b"cookie", b"");
    }
    assert_eq!(reader.finish(true).err(), Some(HeadError::TooLarge));
}

#[test]
fn crumbs_between_fields_are_copied_once() {
    let mut reader = reader(64 * 1024, 100);
    let long = "c".repeat(500);
    for _ in 0..50 {
        reader.take(b"cookie", long.as_bytes());
        reader.take(b"x", b"y");
    }
    let head = reader.finish(true).expect("well-formed");
    let text = text(&head.parts.headers);
    assert_eq!(text.matches("ccc; ccc").count(), 49);
    assert!(text.len() < 27_000);
}

/// What comes behind changes nothing: the head stays too large, or malformed.
#[test]
fn the_first_error_counts() {
    let mut large = reader(pseudo(), 10);
    large.take(b"a", b"b");
    large.take(b"A", b"b");
    assert_eq!(large.finish(true).err(), Some(HeadError::TooLarge));
    let mut malformed = reader(pseudo() + 5, 10);
    malformed.take(b"A", b"");
    malformed.take(b"a", b"b");
    assert!(matches!(
        malformed.finish(true).err(),
        Some(HeadError::Malformed(_))
    ));
}

#[test]
fn a_path_longer_than_a_uri_holds() {
    let path = |length: usize| {
        let mut reader = RequestReader::new(&Settings {
            head: 1 << 20,
            ..SETTINGS
        });
        for (name, value) in &GET[..3] {
            reader.take(name.as_bytes(), value.as_bytes());
        }
        reader.take(b":path", ["/", &"a".repeat(length - 1)].concat().as_bytes());
        reader.finish(true).err()
    };
    assert_eq!(path(65_533), None);
    assert_eq!(path(65_534), Some(HeadError::TooLarge));
    assert_eq!(path(100_000), Some(HeadError::TooLarge));
}

#[test]
fn a_name_longer_than_a_field_holds() {
    let mut reader = reader(1 << 20, 10);
    reader.take(&vec![b'a'; 65_536], b"");
    assert_eq!(reader.finish(true).err(), Some(HeadError::TooLarge));
}

#[test]
fn responses_too() {
    let mut reader = ResponseReader::new(&Settings {
        head: 40,
        fields: 1,
        ..SETTINGS
    });
    reader.take(b":status", b"200");
    reader.take(b"a", b"b");
    reader.take(b"a", b"b");
    assert_eq!(reader.finish(true).err(), Some(HeadError::TooLarge));
}
