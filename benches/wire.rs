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
use evenkeel::http2::{self, Opening, RequestReader, Settings};
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

/// The same fields in HTTP/2, as a browser codes them: 16, since a cookie comes in crumbs.
const BLOCK: &str = "82418c44e7ad72f91d35d055cf64df87459762bb0f25a44a18a0c84ff958e62c02f841ec4c15d862175887a4\
    7e561cc5801f4092b6b9ac1c8558d520a4b6c2ad617b5a54251f01317aced07f66a281b0dae053fafc087ed4\
    ce6aadf2a7979c89c6bfb521aeba0bc8b1e632586d975765c53facd8f7e8cff4a506ea5531149d4ffda97a7b\
    0f4958089c5c0b817029b8728ec330db2eaecb9f53c0497ca589d34d1f43aeba0c41a4c7a98f33a69a3fdf9a\
    68fa1d75d0620d263d4c79a68fbed00177fe8d48e62b03ee697e8d48e62b1e0b1d7f5f2c7cfdf6800bbd408a\
    4148b4a549275906497f83a8f517408a4148b4a549275a93c85f86a87dcd30d25f408a4148b4a549275ad416\
    cf023f31408a4148b4a549275a42a13f8690e4b692d49f508d9bd9abfa5242cb40d25fa523b3518b2d4b62bb\
    f45abefb4005df609c4150831ea81a9424148c95a8db1b8fbaf3cebee0db8da233208a194160884ce5a4b048\
    3b3aff";

/// Indexes into the table that holds them.
const BLOCK_AGAIN: &[u8] = &[
    0x82, 0xcb, 0x87, 0xca, 0xc9, 0xc8, 0xc7, 0xc6, 0xc5, 0xc4, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe,
];

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

const SETTINGS: Settings = Settings {
    max_streams: 100,
    stream_window: 65_535,
    connection_window: 65_535,
    head: 16 * 1024,
    fields: 100,
    connect_protocol: false,
};

/// Bytes of a decoder's table.
const TABLE: usize = 4096;

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

/// The same request as a browser sends it with HTTP/2, the first of its connection: in Huffman
/// code, and nearly all of it put into the table.
#[divan::bench]
fn read_request_http2(bencher: Bencher<'_, '_>) {
    let block = block();
    let mut scratch = Vec::new();
    bencher
        .counter(BytesCount::of_slice(&block))
        .bench_local(|| read_block(&mut http2::Decoder::new(TABLE), &block, &mut scratch));
}

/// And as the ones behind it come: everything is in the table.
#[divan::bench]
fn read_request_http2_again(bencher: Bencher<'_, '_>) {
    let mut scratch = Vec::new();
    let mut decoder = http2::Decoder::new(TABLE);
    read_block(&mut decoder, &block(), &mut scratch);
    bencher.bench_local(|| read_block(&mut decoder, BLOCK_AGAIN, &mut scratch));
}

#[divan::bench]
fn write_request_http2(bencher: Bencher<'_, '_>) {
    let head = request();
    let opening = Opening {
        is_https: true,
        ends: true,
        length: None,
        te_trailers: false,
        protocol: None,
    };
    let (mut encoder, mut out) = (http2::Encoder::default(), Vec::with_capacity(4096));
    bencher.bench_local(|| {
        out.clear();
        http2::write_request(&mut encoder, &mut out, black_box(&head.parts), &opening);
        out.len()
    });
}

#[divan::bench]
fn write_response_http2(bencher: Bencher<'_, '_>) {
    let head = response();
    let (mut encoder, mut out) = (http2::Encoder::default(), Vec::with_capacity(4096));
    bencher.bench_local(|| {
        out.clear();
        let parts = black_box(&head.parts);
        http2::write_response(&mut encoder, &mut out, parts, Some(1024), false);
        out.len()
    });
}

fn block() -> Vec<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("a digit");
    let byte = |pair: &[u8]| digit(&pair[0]) << 4 | digit(&pair[1]);
    let bytes = BLOCK.as_bytes().chunks(2).map(byte);
    bytes.map(|byte| byte.try_into().expect("a byte")).collect()
}

fn read_block(
    decoder: &mut http2::Decoder,
    block: &[u8],
    scratch: &mut Vec<u8>,
) -> http2::RequestHead {
    let mut reader = RequestReader::new(&SETTINGS);
    let read = decoder.decode(black_box(block), scratch, |name, value| {
        reader.take(name, value);
    });
    read.expect("well-formed");
    reader.finish(true).expect("well-formed")
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
