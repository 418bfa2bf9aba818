//! What we write.

use http::StatusCode;

use super::super::decoder::Decoder;
use super::super::static_table;
use super::super::{Encoder, Pseudo, write_field, write_pseudo, write_status};
use super::{bytes, decoded, texts};

fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_field(&mut out, name.as_bytes(), value.as_bytes());
    out
}

#[test]
fn every_name_of_the_static_table_is_found() {
    for index in 15..=static_table::LENGTH {
        let (name, _) = static_table::field(index).expect("within the table");
        assert_eq!(static_table::index_of(name), Some(index));
        let large = name.to_ascii_uppercase();
        assert_eq!(static_table::index_of(&large), Some(index));
    }
    for other in [
        "",
        "a",
        "x-request-id",
        "vart",
        "etah",
        ":path",
        "agE\u{e9}",
    ] {
        assert_eq!(static_table::index_of(other.as_bytes()), None, "{other}");
    }
    assert_eq!(static_table::field(0), None);
    assert_eq!(static_table::field(62), None);
}

#[test]
fn fields() {
    let cases = [
        ("a static field", "accept-encoding", "gzip, deflate", "90"),
        ("a static field without a value", "Age", "", "95"),
        ("a static name", "Date", "x", "0f 12 01 78"),
        ("another value", "accept-encoding", "br", "0f 01 02 62 72"),
        (
            "a name that nobody knows",
            "X-A",
            "b",
            "10 03 78 2d 61 01 62",
        ),
        ("what may be a secret", "referer", "b", "1f 24 01 62"),
        ("a secret", "Authorization", "b", "1f 08 01 62"),
        ("a secret", "cookie", "b", "1f 11 01 62"),
        ("a secret", "Set-Cookie", "b", "1f 28 01 62"),
        ("a secret", "proxy-authorization", "b", "1f 22 01 62"),
        ("an empty secret says nothing", "cookie", "", "a0"),
    ];
    for (what, name, value, expected) in cases {
        assert_eq!(field(name, value), bytes(expected), "{what}: {name}");
    }
}

#[test]
fn pseudo_fields() {
    let cases = [
        (Pseudo::Method, "GET", "82"),
        (Pseudo::Method, "POST", "83"),
        (Pseudo::Method, "PUT", "02 03 50 55 54"),
        (Pseudo::Path, "/", "84"),
        (Pseudo::Path, "/a", "14 02 2f 61"),
        (Pseudo::Scheme, "http", "86"),
        (Pseudo::Scheme, "https", "87"),
        (Pseudo::Authority, "a", "01 01 61"),
    ];
    for (pseudo, value, expected) in cases {
        let mut out = Vec::new();
        write_pseudo(&mut out, pseudo, value.as_bytes());
        assert_eq!(out, bytes(expected), "{pseudo:?}: {value}");
    }
    let mut out = Vec::new();
    write_pseudo(&mut out, Pseudo::Protocol, b"websocket");
    let read = decoded(&mut Decoder::new(0), &out);
    assert_eq!(read, Ok(texts(&[(":protocol", "websocket")])));
}

#[test]
fn every_status() {
    for code in 100..600 {
        let mut out = Vec::new();
        write_status(&mut out, StatusCode::from_u16(code).expect("a status"));
        let read = decoded(&mut Decoder::new(0), &out);
        assert_eq!(read, Ok(texts(&[(":status", &code.to_string())])));
        let is_known = matches!(code, 200 | 204 | 206 | 304 | 400 | 404 | 500);
        assert_eq!(out.len(), if is_known { 1 } else { 5 }, "{code}");
    }
}

/// RFC 9113 §4.3.1: with a table of no bytes, none that the other end allows can be too small.
#[test]
fn the_first_block_says_that_there_is_no_table() {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    encoder.begin(&mut out);
    assert_eq!(out, [0x20]);
    encoder.begin(&mut out);
    assert_eq!(out, [0x20], "once");
}
