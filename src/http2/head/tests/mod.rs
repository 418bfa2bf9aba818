//! Heads in and out, as tables: each case names its rule.

use super::*;
use crate::http2::settings::Settings;
use crate::message::Fields;

mod limits;
mod request;
mod response;
mod smuggling;
mod trailers;
mod write;

/// Fields as they come out of a block.
type Lines<'a> = &'a [(&'a str, &'a str)];

const SETTINGS: Settings = Settings {
    max_streams: 100,
    stream_window: 65_535,
    connection_window: 1 << 20,
    head: 16 * 1024,
    fields: 100,
    connect_protocol: true,
};

/// A GET without fields.
const GET: Lines<'static> = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "example.org"),
    (":path", "/"),
];

/// What a request is that has these fields and a body.
fn request(lines: Lines<'_>) -> Result<RequestHead, HeadError> {
    request_of(lines, false)
}

fn request_of(lines: Lines<'_>, ends: bool) -> Result<RequestHead, HeadError> {
    let mut reader = RequestReader::new(&SETTINGS);
    for (name, value) in lines {
        reader.take(name.as_bytes(), value.as_bytes());
    }
    reader.finish(ends)
}

/// A GET with one more field.
fn get_with(name: &[u8], value: &[u8]) -> Result<RequestHead, HeadError> {
    let mut reader = RequestReader::new(&SETTINGS);
    for (name, value) in GET {
        reader.take(name.as_bytes(), value.as_bytes());
    }
    reader.take(name, value);
    reader.finish(false)
}

fn response(lines: Lines<'_>, ends: bool) -> Result<ResponseHead, HeadError> {
    let mut reader = ResponseReader::new(&SETTINGS);
    for (name, value) in lines {
        reader.take(name.as_bytes(), value.as_bytes());
    }
    reader.finish(ends)
}

/// As HTTP/1.1 writes them.
fn text(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write_to(&mut out, |_, _| true);
    String::from_utf8_lossy(&out).replace("\r\n", "|")
}

fn is_malformed<T>(result: &Result<T, HeadError>) -> bool {
    matches!(result, Err(HeadError::Malformed(_)))
}
