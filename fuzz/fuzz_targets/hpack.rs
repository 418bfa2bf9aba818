//! Heads of HTTP/2, of both sides: blocks in, and what is sent on.
//!
//! Whatever the bytes: nothing panics; what is accepted leaves in a block that is read as the same
//! head, and in lines of HTTP/1.1 that are read as the same head, wholly and with nothing behind
//! it. The last is what keeps a smuggled request from existing where one end speaks HTTP/2 and the
//! other one does not.

#![no_main]

use evenkeel::http1::{
    self, Decoded, Framing, Limits, RequestOptions, ResponseFraming, ResponseOptions,
    encode_interim, encode_last_chunk, encode_request, encode_response, parse_request,
    parse_response,
};
use evenkeel::http2::{
    Decoder, Encoder, Opening, RequestHead, RequestReader, ResponseHead, ResponseReader, Settings,
    TrailersReader, write_request, write_response, write_trailers,
};
use evenkeel::message::Fields;
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

const SETTINGS: Settings = Settings {
    max_streams: 100,
    stream_window: 65_535,
    connection_window: 65_535,
    head: 2048,
    fields: 40,
    connect_protocol: true,
};

/// What HTTP/1.1 writes beside a head of HTTP/2 fits as well.
const LIMITS: Limits = Limits {
    head: 4096,
    fields: 50,
};

/// As a connection announces it, but so small that entries go.
const TABLE: usize = 256;

// The first byte says what the blocks are, the second how many bytes each has, so that seeds are
// blocks that one can read.
fuzz_target!(|input: &[u8]| {
    let [kind, size, bytes @ ..] = input else {
        return;
    };
    let (kind, ends) = (kind.to_ascii_lowercase(), kind.is_ascii_uppercase());
    let size = match size {
        0 => bytes.len().max(1),
        size => usize::from(*size),
    };
    let mut decoder = Decoder::new(TABLE);
    for block in bytes.chunks(size) {
        let went_on = match kind {
            b'q' => request(&mut decoder, block, ends),
            b's' => response(&mut decoder, block, ends),
            _ => trailers(&mut decoder, block),
        };
        if went_on.is_none() {
            break;
        }
    }
});

/// Reads a block with a reader; `None` if the tables are out of step.
fn read<R>(
    decoder: &mut Decoder,
    block: &[u8],
    mut reader: R,
    take: fn(&mut R, &[u8], &[u8]),
) -> Option<R> {
    let mut scratch = Vec::new();
    let result = decoder.decode(block, &mut scratch, |name, value| {
        take(&mut reader, name, value);
    });
    assert!(scratch.len() <= 2 * block.len() + TABLE, "bounded");
    result.ok().map(|()| reader)
}

fn request(decoder: &mut Decoder, block: &[u8], ends: bool) -> Option<()> {
    let reader = read(
        decoder,
        block,
        RequestReader::new(&SETTINGS),
        RequestReader::take,
    )?;
    let Ok(head) = reader.finish(ends) else {
        return Some(());
    };
    assert_eq!(head.parts.headers.get_all("host").count(), 1);
    request_again(&head);
    if head.protocol.is_none() {
        request_in_lines(&head);
    }
    Some(())
}

fn request_again(head: &RequestHead) {
    let opening = Opening {
        is_https: head.is_https,
        ends: head.ends,
        length: head.length,
        te_trailers: head.te_trailers,
        protocol: head.protocol.as_deref(),
    };
    let mut out = Vec::new();
    write_request(&mut Encoder::default(), &mut out, &head.parts, &opening);
    let reader = RequestReader::new(&SETTINGS);
    let again = read(&mut Decoder::new(0), &out, reader, RequestReader::take);
    let again = again.expect("in step").finish(head.ends);
    let again = again.expect("well-formed");
    assert_eq!(again.parts.method, head.parts.method);
    assert_eq!(again.parts.uri, head.parts.uri);
    assert_same(&again.parts.headers, &head.parts.headers);
    assert_eq!(again.protocol, head.protocol);
    assert_eq!(
        (again.length, again.is_https, again.te_trailers),
        (head.length, head.is_https, head.te_trailers)
    );
}

fn request_in_lines(head: &RequestHead) {
    let framing = match (head.length, head.ends) {
        (Some(length), _) => Framing::Length(length),
        (None, true) => Framing::None,
        (None, false) => Framing::Chunked,
    };
    let options = RequestOptions {
        te_trailers: head.te_trailers,
        ..RequestOptions::default()
    };
    let mut out = Vec::new();
    encode_request(&mut out, &head.parts, framing, options);
    let lines = parse_request(&out, LIMITS).expect("well-formed");
    let lines = lines.expect("whole");
    assert_eq!(lines.size, out.len(), "nothing behind it");
    assert_eq!(lines.framing, framing);
    assert_eq!(lines.parts.method, head.parts.method);
    assert_eq!(lines.parts.uri, head.parts.uri);
    assert_same(&lines.parts.headers, &head.parts.headers);
}

fn response(decoder: &mut Decoder, block: &[u8], ends: bool) -> Option<()> {
    let reader = read(
        decoder,
        block,
        ResponseReader::new(&SETTINGS),
        ResponseReader::take,
    )?;
    if let Ok(head) = reader.finish(ends) {
        response_again(&head);
        response_in_lines(&head);
    }
    Some(())
}

/// As the answer to HEAD, which leaves its length as it is.
fn response_again(head: &ResponseHead) {
    let mut out = Vec::new();
    write_response(&mut Encoder::default(), &mut out, &head.parts, None, true);
    let reader = ResponseReader::new(&SETTINGS);
    let again = read(&mut Decoder::new(0), &out, reader, ResponseReader::take);
    let again = again.expect("in step").finish(head.ends);
    let again = again.expect("well-formed");
    assert_eq!(again.parts.status, head.parts.status);
    assert_same(&again.parts.headers, &head.parts.headers);
    assert_eq!(again.length, head.length);
}

fn response_in_lines(head: &ResponseHead) {
    let mut out = Vec::new();
    if head.parts.status.is_informational() {
        encode_interim(&mut out, &head.parts);
    } else {
        let options = ResponseOptions::default();
        encode_response(&mut out, &head.parts, ResponseFraming::Bodiless, options);
    }
    let lines = parse_response(&out, &Method::HEAD, LIMITS).expect("well-formed");
    let lines = lines.expect("whole");
    assert_eq!(lines.size, out.len(), "nothing behind it");
    assert_eq!(lines.parts.status, head.parts.status);
    assert_same(&lines.parts.headers, &head.parts.headers);
}

fn trailers(decoder: &mut Decoder, block: &[u8]) -> Option<()> {
    let reader = read(decoder, block, TrailersReader::new(), TrailersReader::take)?;
    if let Ok(Some(trailers)) = reader.finish() {
        trailers_again(&trailers);
        trailers_in_lines(&trailers);
    }
    Some(())
}

fn trailers_again(trailers: &HeaderMap) {
    let mut out = Vec::new();
    assert!(write_trailers(&mut Encoder::default(), &mut out, trailers));
    let reader = TrailersReader::new();
    let again = read(&mut Decoder::new(0), &out, reader, TrailersReader::take);
    let again = again.expect("in step").finish();
    assert_eq!(again.expect("well-formed").as_ref(), Some(trailers));
}

fn trailers_in_lines(trailers: &HeaderMap) {
    let mut out = Vec::new();
    encode_last_chunk(&mut out, Some(trailers));
    let end = http1::Decoder::new(Framing::Chunked).decode(&out);
    let Ok(Decoded::End {
        consumed,
        trailers: lines,
    }) = end
    else {
        panic!("no end, but {end:?}");
    };
    assert_eq!(consumed, out.len(), "nothing behind it");
    assert_eq!(lines.as_ref(), Some(trailers));
}

/// The same lines in the same order.
fn assert_same(one: &Fields, other: &Fields) {
    let lines = |fields: &Fields| -> Vec<(Vec<u8>, Vec<u8>)> {
        let lines = fields.iter();
        lines
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec()))
            .collect()
    };
    assert_eq!(lines(one), lines(other));
}
