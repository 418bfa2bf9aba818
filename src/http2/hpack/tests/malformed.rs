//! What is refused, and what a table costs.

use super::super::decoder::{Decoder, HpackError};
use super::{Pairs, bytes, decoded, texts};

fn error(block: &str) -> Option<HpackError> {
    decoded(&mut Decoder::new(4096), &bytes(block)).err()
}

#[test]
fn blocks_that_are_refused() {
    use HpackError::{Huffman, Index, Integer, TableSize, Truncated};
    let cases = [
        ("§6.1 index 0", "80", Index),
        ("§2.3.3 behind the static table", "be", Index),
        ("§2.3.3 far behind it", "ff ff ff ff 7f", Index),
        ("§2.3.3 a name behind it", "7e 01 61", Index),
        ("§2.3.3 a name behind it, not indexed", "0f 2f 01 61", Index),
        ("§5.1 an integer without its end", "ff", Truncated),
        ("§5.1 an integer without its end", "ff 80 80", Truncated),
        ("§5.1 beyond 32 bits", "ff 81 ff ff ff 0f", Integer),
        (
            "§5.1 beyond 64 bits",
            "ff ff ff ff ff ff ff ff ff ff 01",
            Integer,
        ),
        ("§5.1 zeros without end", "ff 80 80 80 80 80 00", Integer),
        ("§5.2 no name", "40", Truncated),
        ("§5.2 a name without its end", "40 02 61", Truncated),
        ("§5.2 no value", "40 01 61", Truncated),
        ("§5.2 a value without its end", "40 01 61 02 61", Truncated),
        (
            "§5.2 a length beyond all",
            "40 7f ff ff ff ff 0e",
            Truncated,
        ),
        ("§5.2 padding of zeros", "40 01 61 81 18", Huffman),
        ("§5.2 padding of 8 bits", "40 01 61 82 1f ff", Huffman),
        (
            "§5.2 nothing but padding of 8 bits",
            "40 01 61 81 ff",
            Huffman,
        ),
        ("§5.2 padding of 24 bits", "40 01 61 83 ff ff ff", Huffman),
        ("§5.2 EOS", "40 01 61 84 ff ff ff ff", Huffman),
        (
            "§5.2 EOS behind a symbol",
            "40 01 61 85 1f ff ff ff ff",
            Huffman,
        ),
        ("§5.2 EOS in a name", "40 84 ff ff ff ff 01 61", Huffman),
        ("§6.3 above the limit", "3f e2 1f", TableSize),
        ("§4.2 behind a field", "82 20", TableSize),
        ("§4.2 a third one", "20 20 20 82", TableSize),
    ];
    for (rule, block, expected) in cases {
        assert_eq!(error(block), Some(expected), "{rule}: {block}");
    }
}

#[test]
fn blocks_that_are_not() {
    let cases: [(&str, &str, Pairs<'_>); 8] = [
        ("nothing", "", &[]),
        ("§4.2 two sizes", "20 3f e1 1f 82", &[(":method", "GET")]),
        ("§4.2 sizes alone", "20", &[]),
        (
            "§5.1 more bytes than need be",
            "0f 80 00 01 61",
            &[("accept-charset", "a")],
        ),
        ("§5.2 nothing", "40 01 61 00", &[("a", "")]),
        ("§5.2 nothing, coded", "40 01 61 80", &[("a", "")]),
        (
            "§5.2 no name, which is for others to refuse",
            "40 00 00",
            &[("", "")],
        ),
        ("§5.2 padding of 3 bits", "40 01 61 81 1f", &[("a", "a")]),
    ];
    for (rule, block, fields) in cases {
        let read = decoded(&mut Decoder::new(4096), &bytes(block));
        assert_eq!(read, Ok(texts(fields)), "{rule}: {block}");
    }
}

/// RFC 7541 §4.3: lowered, the table loses what has no room any more; 0 empties it.
#[test]
fn a_size_takes_effect_at_once() {
    let mut decoder = Decoder::new(4096);
    let two = bytes("40 01 61 01 31 40 01 62 01 32");
    assert!(decoded(&mut decoder, &two).is_ok());
    assert_eq!(decoder.table().size(), 68);
    let one = decoded(&mut decoder, &bytes("3f 03 be"));
    assert_eq!(one, Ok(texts(&[("b", "2")])), "34 bytes are room for one");
    assert_eq!(decoded(&mut decoder, &bytes("bf")), Err(HpackError::Index));
    assert_eq!(decoded(&mut decoder, &bytes("20")), Ok(texts(&[])));
    assert_eq!(decoder.memory(), 0);
    assert_eq!(decoded(&mut decoder, &bytes("be")), Err(HpackError::Index));
}

/// RFC 7541 §4.4: that is no error.
#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(64);
    assert!(decoded(&mut decoder, &bytes("40 01 61 01 31")).is_ok());
    let large = [&bytes("40 01 62 20")[..], &[b'x'; 32]].concat();
    assert!(decoded(&mut decoder, &large).is_ok());
    assert_eq!(decoder.table().size(), 0);
    let fits = [&bytes("40 01 62 1f")[..], &[b'x'; 31]].concat();
    assert!(decoded(&mut decoder, &fits).is_ok());
    assert_eq!(decoder.table().size(), 64);
}

/// RFC 7541 §4.4: a new entry may refer to the name of one that goes to make room for it.
#[test]
fn a_name_outlives_its_entry() {
    let mut decoder = Decoder::new(40);
    assert!(decoded(&mut decoder, &bytes("40 04 6e616d65 01 31")).is_ok());
    let fields = decoded(&mut decoder, &bytes("7e 01 32 be"));
    assert_eq!(fields, Ok(texts(&[("name", "2"), ("name", "2")])));
}

#[test]
fn a_table_has_memory_only_for_what_is_in_it() {
    let mut decoder = Decoder::new(4096);
    assert!(decoded(&mut decoder, &bytes("82 86 84 04 01 2f 10 01 61 01 62")).is_ok());
    assert_eq!(decoder.memory(), 0, "nothing was put into the table");
    assert!(decoded(&mut decoder, &bytes("40 01 61 01 31")).is_ok());
    assert!(decoder.memory() < 512);
    for length in (0..200).cycle().take(5000) {
        let name = u8::try_from(length % 100).expect("small");
        let block = [&[0x40, name][..], &vec![b'n'; length % 100], &[1, b'v']].concat();
        assert!(decoded(&mut decoder, &block).is_ok());
        let block = [&[0x40, 0, 100][..], &[b'v'; 100]].concat();
        assert!(decoded(&mut decoder, &block).is_ok());
    }
    assert!(decoder.memory() <= 4096 + 128 * 12, "{}", decoder.memory());
}

/// A block of n bytes may say 4,000 n: nothing is kept of what it says.
#[test]
fn what_a_bomb_says_is_handed_on_piece_by_piece() {
    let mut decoder = Decoder::new(4096);
    let entry = [&bytes("40 01 61 7f dd 1e")[..], &[b'x'; 4060]].concat();
    assert!(decoded(&mut decoder, &entry).is_ok());
    let (mut scratch, mut said) = (Vec::new(), 0);
    let bomb = [0xbe; 10_000];
    let read = decoder.decode(&bomb, &mut scratch, |name, value| {
        said += name.len() + value.len();
    });
    assert_eq!(read, Ok(()));
    assert!(said > 40_000_000, "{said}");
    assert_eq!(scratch.capacity(), 0);
}
