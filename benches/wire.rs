//! What HTTP/1.1 costs on the wire: to read a head, to write one, to follow a body.
//!
//! `cargo bench --bench wire`. The request is a browser's, about 600 bytes; `httparse` alone, which
//! checks no framing and makes no facts, is the yardstick for reading it.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use evenkeel::http1::{
    Decoded, Decoder, Framing, Limits, RequestOptions, ResponseFraming, ResponseOptions,
    encode_chunk_head, encode_chunk_tail, encode_last_chunk, encode_request, encode_response,
    parse_request, parse_response, resume_request,
};
use http::{Method, Version};

fn main() {
    divan::main();
}

mod read {
    use super::{
        BytesCount, LIMITS, Method, REQUEST, RESPONSE, black_box, parse_request, parse_response,
        resume_request,
    };
    use divan::Bencher;

    #[divan::bench]
    fn request(bencher: Bencher<'_, '_>) {
        bencher
            .counter(BytesCount::of_str(REQUEST))
            .bench(|| parse_request(black_box(REQUEST.as_bytes()), LIMITS));
    }

    #[divan::bench]
    fn request_by_httparse(bencher: Bencher<'_, '_>) {
        bencher.counter(BytesCount::of_str(REQUEST)).bench(|| {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            let read = request.parse(black_box(REQUEST.as_bytes()));
            black_box(read.is_ok_and(|status| status.is_complete()))
        });
    }

    /// Byte by byte, as a slow client sends it: must not cost the square of its length.
    #[divan::bench]
    fn request_in_single_bytes(bencher: Bencher<'_, '_>) {
        let bytes = REQUEST.as_bytes();
        bencher.counter(BytesCount::of_str(REQUEST)).bench(|| {
            (0..bytes.len()).find_map(|seen| {
                let read = resume_request(black_box(&bytes[..=seen]), seen, LIMITS);
                read.expect("a request that is right")
            })
        });
    }

    #[divan::bench]
    fn response(bencher: Bencher<'_, '_>) {
        bencher
            .counter(BytesCount::of_str(RESPONSE))
            .bench(|| parse_response(black_box(RESPONSE.as_bytes()), &Method::GET, LIMITS));
    }
}

mod write {
    use super::{
        LIMITS, Method, REQUEST, RESPONSE, RequestOptions, ResponseFraming, ResponseOptions,
        Version, black_box, encode_request, encode_response, parse_request, parse_response,
    };
    use divan::Bencher;

    #[divan::bench]
    fn request(bencher: Bencher<'_, '_>) {
        let head = parse_request(REQUEST.as_bytes(), LIMITS)
            .expect("a request that is right")
            .expect("a request that is whole");
        let mut out = Vec::with_capacity(4096);
        bencher.bench_local(|| {
            out.clear();
            let options = RequestOptions::default();
            encode_request(&mut out, black_box(&head.parts), head.framing, options);
            black_box(out.len())
        });
    }

    #[divan::bench]
    fn response(bencher: Bencher<'_, '_>) {
        let head = parse_response(RESPONSE.as_bytes(), &Method::GET, LIMITS)
            .expect("a response that is right")
            .expect("a response that is whole");
        let status = head.parts.status;
        let framing =
            ResponseFraming::choose(&Method::GET, Version::HTTP_11, status, Some(CONTENT));
        let mut out = Vec::with_capacity(4096);
        bencher.bench_local(|| {
            out.clear();
            let options = ResponseOptions::default();
            encode_response(&mut out, black_box(&head.parts), framing, options);
            black_box(out.len())
        });
    }

    /// As in [`RESPONSE`].
    const CONTENT: u64 = 100;
}

/// A body in chunks of so many bytes: what is copied is not part of it, only what is looked at.
#[divan::bench(args = [100, 16 * 1024])]
fn chunks(bencher: Bencher<'_, '_>, length: usize) {
    let body = chunked(length);
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        let mut decoder = Decoder::new(Framing::Chunked);
        let (mut at, mut payload) = (0, 0);
        loop {
            match decoder.decode(black_box(&body[at..])) {
                Ok(Decoded::Data { skip, length }) => {
                    at += skip + length;
                    payload += length;
                }
                Ok(Decoded::End { .. }) => return payload,
                Ok(Decoded::More { .. }) | Err(_) => unreachable!("the body is right and whole"),
            }
        }
    });
}

fn chunked(length: usize) -> Vec<u8> {
    let piece = vec![b'x'; length];
    let mut body = Vec::new();
    for _ in 0..BODY / length {
        encode_chunk_head(&mut body, length);
        body.extend_from_slice(&piece);
        encode_chunk_tail(&mut body);
    }
    encode_last_chunk(&mut body, None);
    body
}

/// Payload of a body, about.
const BODY: usize = 1 << 20;

/// The defaults.
const LIMITS: Limits = Limits {
    head: 16 * 1024,
    fields: 100,
};

const REQUEST: &str = "GET /products/list?page=2&sort=price HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/products/list?page=1\r\n\
    Cookie: session=0f8c1e7a5b3d4f6e9a2c8b7d1e3f5a6c; theme=dark; consent=1\r\n\
    Cache-Control: max-age=0\r\n\
    Connection: keep-alive\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    Date: Sat, 22 Nov 2025 12:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 100\r\n\
    Cache-Control: no-cache\r\n\
    ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
    Vary: Accept-Encoding\r\n\r\n";
