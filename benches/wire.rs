//! What the wire costs: a head in, a head out, and the framing of a body.
//!
//! `cargo bench --bench wire`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use evenkeel::http1::{
    Decoded, Decoder, Framing, Limits, RequestHead, RequestOptions, ResponseFraming, ResponseHead,
    ResponseOptions, encode_chunk_head, encode_chunk_tail, encode_last_chunk, encode_request,
    encode_response, parse_request, parse_response, resume_request,
};
use http::Method;

fn main() {
    divan::main();
}

/// What a browser sends for a page: 13 fields, 630 bytes.
const REQUEST: &[u8] = b"GET /products/list?page=2&sort=price HTTP/1.1\r\n\
    Host: shop.example.org\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=4f1c2d3e4b5a69788796a5b4c3d2e1f0; theme=dark\r\n\r\n";

/// What a server answers: 8 fields.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: origin\r\n\
    Date: Tue, 01 Jul 2025 10:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Connection: keep-alive\r\n\
    Vary: Accept-Encoding\r\n\
    Cache-Control: private, max-age=0\r\n\
    ETag: \"5f3c-1a2b\"\r\n\r\n";

const LIMITS: Limits = Limits {
    head: 16 * 1024,
    fields: 100,
};

/// Payload of the chunked body.
const PAYLOAD: usize = 1024 * 1024;

fn request() -> RequestHead {
    let head = parse_request(black_box(REQUEST), LIMITS);
    head.expect("well-formed").expect("whole")
}

fn response() -> ResponseHead {
    let head = parse_response(black_box(RESPONSE), &Method::GET, LIMITS);
    head.expect("well-formed").expect("whole")
}

#[divan::bench]
fn read_request(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::of_slice(REQUEST))
        .bench(request);
}

/// As a hostile client sends it: each byte alone.
#[divan::bench]
fn read_request_byte_by_byte(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let mut last = Ok(None);
        for end in 1..=REQUEST.len() {
            last = resume_request(black_box(&REQUEST[..end]), end - 1, LIMITS);
        }
        last
    });
}

#[divan::bench]
fn read_response(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::of_slice(RESPONSE))
        .bench(response);
}

#[divan::bench]
fn write_request(bencher: Bencher<'_, '_>) {
    let head = request();
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let options = RequestOptions::default();
        encode_request(&mut out, black_box(&head.parts), head.framing, options);
        out.len()
    });
}

#[divan::bench]
fn write_response(bencher: Bencher<'_, '_>) {
    let head = response();
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let framing = ResponseFraming::Length(1024);
        let options = ResponseOptions::default();
        encode_response(&mut out, black_box(&head.parts), framing, options);
        out.len()
    });
}

/// A body of 1 MiB by the size of its chunks, read in pieces of 16 KiB.
#[divan::bench(args = [64, 1024, 16 * 1024])]
fn find_payload(bencher: Bencher<'_, '_>, chunk: usize) {
    let mut body = Vec::new();
    for _ in 0..PAYLOAD / chunk {
        encode_chunk_head(&mut body, chunk);
        body.resize(body.len() + chunk, b'x');
        encode_chunk_tail(&mut body);
    }
    encode_last_chunk(&mut body, None);
    bencher.counter(BytesCount::new(PAYLOAD)).bench(|| {
        let mut decoder = Decoder::new(Framing::Chunked);
        black_box(&body)
            .chunks(16 * 1024)
            .map(|piece| payload_of(&mut decoder, piece))
            .sum::<usize>()
    });
}

/// Bytes of payload in a piece of a body.
fn payload_of(decoder: &mut Decoder, mut piece: &[u8]) -> usize {
    let mut payload = 0;
    while !piece.is_empty() {
        match decoder.decode(piece).expect("well-formed") {
            Decoded::Data { skip, length } => {
                payload += length;
                piece = &piece[skip + length..];
            }
            Decoded::More { .. } | Decoded::End { .. } => break,
        }
    }
    payload
}
