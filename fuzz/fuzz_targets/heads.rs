//! Messages of HTTP/1.1, of both sides: head, body, and what is sent on.
//!
//! Whatever the bytes: nothing panics; it does not matter how they were split; and what is accepted
//! leaves in a form that is read as the same message, wholly and with nothing behind it. The last
//! is what keeps a smuggled request from existing: there is one reading, also at the next hop.

#![no_main]

use evenkeel::http1::{
    Decoded, Decoder, FrameError, Framing, Limits, RequestHead, RequestOptions, ResponseFraming,
    ResponseHead, ResponseOptions, encode_chunk_head, encode_chunk_tail, encode_last_chunk,
    encode_request, encode_response, parse_request, parse_response, resume_request,
    resume_response,
};
use evenkeel::message::Fields;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    head: 2048,
    fields: 40,
};

/// The payload of a body and its trailers.
type Body = (Vec<u8>, Option<HeaderMap>);

// The first byte says what the rest is, the second how many bytes come at a time, so that seeds are
// messages that one can read.
fuzz_target!(|input: &[u8]| {
    let [kind, step, bytes @ ..] = input else {
        return;
    };
    let step = usize::from(*step).max(1);
    let ends: Vec<usize> = (1..)
        .map(|number| number * step)
        .take_while(|end| *end < bytes.len())
        .collect();
    let ends = [ends, vec![bytes.len()]].concat();
    match kind {
        b'q' => request(bytes, &ends),
        b's' => response(bytes, &ends, &Method::GET),
        b'h' => response(bytes, &ends, &Method::HEAD),
        _ => drop(body(Framing::Chunked, bytes, &ends)),
    }
});

fn request(bytes: &[u8], ends: &[usize]) {
    let whole = parse_request(bytes, LIMITS);
    let mut seen = 0;
    let mut split = Ok(None);
    for &end in ends {
        split = resume_request(&bytes[..end], seen, LIMITS);
        if !matches!(split, Ok(None)) {
            break;
        }
        seen = end;
    }
    assert_eq!(
        format!("{:?}", whole.as_ref().ok()),
        format!("{:?}", split.as_ref().ok())
    );
    let Ok(Some(mut head)) = whole else {
        return;
    };
    // Only HTTP/1.0 has none; whoever sends the request on knows better than an empty one.
    if !head.parts.headers.contains_key(HOST) {
        let host = HeaderValue::from_static("fuzz");
        head.parts.headers.insert(&HOST, &host);
    }
    assert_ne!(head.framing, Framing::UntilClose);
    check_fields(&head.parts.headers);

    let ends: Vec<usize> = ends
        .iter()
        .map(|end| end.saturating_sub(head.size))
        .collect();
    let body = body(head.framing, &bytes[head.size..], &ends);
    let mut out = Vec::new();
    let options = RequestOptions {
        upgrade: head.upgrade.as_deref(),
        te_trailers: head.te_trailers,
    };
    encode_request(&mut out, &head.parts, head.framing, options);
    let again = read_again(parse_request(&out, UNLIMITED));
    assert_eq!(again.size, out.len());
    assert_same_request(&head, &again);
    check_body_again(head.framing, body);
}

fn assert_same_request(head: &RequestHead, again: &RequestHead) {
    assert_eq!(head.parts.method, again.parts.method);
    assert_eq!(head.parts.uri, again.parts.uri);
    assert_eq!(again.parts.version, Version::HTTP_11);
    assert!(head.parts.headers.iter().eq(again.parts.headers.iter()));
    assert_eq!(head.framing, again.framing);
    assert_eq!(head.upgrade, again.upgrade);
    assert_eq!(head.te_trailers, again.te_trailers);
}

fn response(bytes: &[u8], ends: &[usize], method: &Method) {
    let whole = parse_response(bytes, method, LIMITS);
    let mut seen = 0;
    let mut split = Ok(None);
    for &end in ends {
        split = resume_response(&bytes[..end], seen, method, LIMITS);
        if !matches!(split, Ok(None)) {
            break;
        }
        seen = end;
    }
    assert_eq!(
        format!("{:?}", whole.as_ref().ok()),
        format!("{:?}", split.as_ref().ok())
    );
    let Ok(Some(head)) = whole else {
        return;
    };
    check_fields(&head.parts.headers);

    let ends: Vec<usize> = ends
        .iter()
        .map(|end| end.saturating_sub(head.size))
        .collect();
    let body = body(head.framing, &bytes[head.size..], &ends);
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    };
    let status = head.parts.status;
    let framing = ResponseFraming::choose(method, Version::HTTP_11, status, length);
    let mut out = Vec::new();
    let options = ResponseOptions {
        upgrade: head.upgrade.as_deref(),
        ..ResponseOptions::default()
    };
    encode_response(&mut out, &head.parts, framing, options);
    let again = read_again(parse_response(&out, method, UNLIMITED));
    assert_eq!(again.size, out.len());
    assert_same_response(&head, &again);
    check_body_again(again.framing, body);
}

fn assert_same_response(head: &ResponseHead, again: &ResponseHead) {
    assert_eq!(head.parts.status, again.parts.status);
    assert!(head.parts.headers.iter().eq(again.parts.headers.iter()));
    assert_eq!(head.upgrade, again.upgrade);
    assert!(again.persistent);
    let relayed = match head.framing {
        Framing::UntilClose => Framing::Chunked,
        framing => framing,
    };
    assert_eq!(relayed, again.framing);
}

/// No field that frames or routes is there twice, and none of the connection is.
fn check_fields(headers: &Fields) {
    for name in [
        "connection",
        "transfer-encoding",
        "keep-alive",
        "proxy-connection",
        "te",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert!(headers.get_all("content-length").count() <= 1);
}

/// Reads a body in pieces and whole, and returns its payload and trailers if it is whole.
fn body(framing: Framing, bytes: &[u8], ends: &[usize]) -> Option<Body> {
    let whole = decode(framing, bytes, &[bytes.len()]);
    assert_eq!(whole, decode(framing, bytes, ends));
    whole.ok().flatten()
}

fn decode(framing: Framing, bytes: &[u8], ends: &[usize]) -> Result<Option<Body>, FrameError> {
    let mut decoder = Decoder::new(framing);
    let mut payload = Vec::new();
    let mut at = 0;
    for &end in ends {
        loop {
            match decoder.decode(&bytes[at..end.max(at)])? {
                Decoded::Data { skip, length } => {
                    at += skip;
                    payload.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                }
                Decoded::More { consumed } => {
                    at += consumed;
                    assert_eq!(at, end.max(at));
                    break;
                }
                Decoded::End { trailers, .. } => return Ok(Some((payload, trailers))),
            }
        }
    }
    Ok(decoder.end_of_input().is_ok().then_some((payload, None)))
}

/// What is relayed in chunks is read as it was meant.
fn check_body_again(framing: Framing, body: Option<Body>) {
    let (Some((payload, trailers)), Framing::Chunked) = (body, framing) else {
        return;
    };
    let mut out = Vec::new();
    for piece in payload.chunks(100) {
        encode_chunk_head(&mut out, piece.len());
        out.extend_from_slice(piece);
        encode_chunk_tail(&mut out);
    }
    encode_last_chunk(&mut out, trailers.as_ref());
    let again = decode(Framing::Chunked, &out, &[out.len()]);
    assert_eq!(again, Ok(Some((payload, trailers))));
}

/// A head of our own is whole and well-formed, or something was sent on that should not be.
fn read_again<T, E: std::fmt::Debug>(read: Result<Option<T>, E>) -> T {
    read.expect("what is sent on is well-formed")
        .expect("what is sent on is whole")
}

/// Heads grow on the way: fields of our own, and room for `Connection`.
const UNLIMITED: Limits = Limits {
    head: 16 * 1024,
    fields: 200,
};
