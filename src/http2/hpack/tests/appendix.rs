//! The examples of RFC 7541 Appendix C.

use super::super::decoder::Decoder;
use super::super::integer;
use super::{Pairs, bytes, decoded, text, texts};

/// A block, what it says, and the dynamic table behind it with its size.
type Example<'a> = (&'a str, Pairs<'a>, Pairs<'a>, usize);

/// Blocks that follow one another on a connection.
fn assert_decodes(limit: usize, examples: &[Example<'_>]) {
    let mut decoder = Decoder::new(limit);
    for (block, fields, entries, size) in examples {
        assert_eq!(
            decoded(&mut decoder, &bytes(block)),
            Ok(texts(fields)),
            "{block}"
        );
        let table = (0..).map_while(|index| decoder.table().field(index));
        let table: Vec<_> = table
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        assert_eq!(table, texts(entries), "{block}");
        assert_eq!(decoder.table().size(), *size, "{block}");
    }
}

/// C.1.3 has a prefix of eight bits, as nothing in a block has.
#[test]
fn c_1_integers() {
    let cases = [
        (10, &[0b0000_1010][..]),
        (1337, &[0b0001_1111, 0b1001_1010, 0b0000_1010]),
    ];
    for (number, coded) in cases {
        let mut out = Vec::new();
        integer::write(&mut out, 0, 5, number);
        assert_eq!(out, coded, "{number}");
        let mut rest = &coded[1..];
        assert_eq!(integer::read(coded[0], 5, &mut rest), Ok(number));
        assert!(rest.is_empty());
    }
}

#[test]
fn c_2_each_representation() {
    let custom = &[("custom-key", "custom-header")];
    let literal = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    assert_decodes(4096, &[(literal, custom, custom, 55)]);
    let path = "040c 2f73 616d 706c 652f 7061 7468";
    assert_decodes(4096, &[(path, &[(":path", "/sample/path")], &[], 0)]);
    let never = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    assert_decodes(4096, &[(never, &[("password", "secret")], &[], 0)]);
    assert_decodes(4096, &[("82", &[(":method", "GET")], &[], 0)]);
}

const AUTHORITY: (&str, &str) = (":authority", "www.example.com");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");
const CUSTOM: (&str, &str) = ("custom-key", "custom-value");

/// Three requests, coded in two ways.
fn assert_requests(blocks: [&str; 3]) {
    let get = (":method", "GET");
    let (http, https) = ((":scheme", "http"), (":scheme", "https"));
    let (root, index) = ((":path", "/"), (":path", "/index.html"));
    let examples: [Example<'_>; 3] = [
        (blocks[0], &[get, http, root, AUTHORITY], &[AUTHORITY], 57),
        (
            blocks[1],
            &[get, http, root, AUTHORITY, NO_CACHE],
            &[NO_CACHE, AUTHORITY],
            110,
        ),
        (
            blocks[2],
            &[get, https, index, AUTHORITY, CUSTOM],
            &[CUSTOM, NO_CACHE, AUTHORITY],
            164,
        ),
    ];
    assert_decodes(4096, &examples);
}

#[test]
fn c_3_requests_without_huffman_code() {
    assert_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn c_4_requests_with_huffman_code() {
    assert_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

const PRIVATE: (&str, &str) = ("cache-control", "private");
const DATE: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const LATER: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const COOKIE: (&str, &str) = (
    "set-cookie",
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
);

/// Three responses, coded in two ways, with a table that is soon full.
fn assert_responses(blocks: [&str; 3]) {
    let status = |code| (":status", code);
    let examples: [Example<'_>; 3] = [
        (
            blocks[0],
            &[status("302"), PRIVATE, DATE, LOCATION],
            &[LOCATION, DATE, PRIVATE, status("302")],
            222,
        ),
        (
            blocks[1],
            &[status("307"), PRIVATE, DATE, LOCATION],
            &[status("307"), LOCATION, DATE, PRIVATE],
            222,
        ),
        (
            blocks[2],
            &[status("200"), PRIVATE, LATER, LOCATION, GZIP, COOKIE],
            &[COOKIE, GZIP, LATER],
            215,
        ),
    ];
    assert_decodes(256, &examples);
}

#[test]
fn c_5_responses_without_huffman_code() {
    assert_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
         6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e \
         3d31",
    ]);
}

#[test]
fn c_6_responses_with_huffman_code() {
    assert_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}
