//! Request heads that come in pieces, are too long, or will never be one.

use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{LIMITS, read, refused};
use crate::http1::{
    Limits, RequestError, RequestHead, parse_request, parse_response, resume_request,
};

/// RFC 9112 §2.2: one empty line before the request line.
#[test]
fn an_empty_line_before_the_request() {
    let text = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read(text).size, text.len());
    for text in [
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(text).status(), StatusCode::BAD_REQUEST);
    }
    for text in ["", "\r", "\r\n", "\r\nG"] {
        assert!(
            matches!(parse_request(text.as_bytes(), LIMITS), Ok(None)),
            "{text:?}"
        );
    }
}

/// What can never become a head is refused before its end.
#[test]
fn nonsense_is_refused_early() {
    let cases: &[(&[u8], StatusCode)] = &[
        (b"\x16\x03\x01", StatusCode::BAD_REQUEST),
        (b"\0", StatusCode::BAD_REQUEST),
        (b" ", StatusCode::BAD_REQUEST),
        (b"\n", StatusCode::BAD_REQUEST),
        (b"\r\n\r\n", StatusCode::BAD_REQUEST),
        (b"GET /\r\n", StatusCode::BAD_REQUEST),
        (b"GET / HTTP/1.1\n", StatusCode::BAD_REQUEST),
        (b"GET / HTTP/1.1\rA", StatusCode::BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a\n", StatusCode::BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a\r\r", StatusCode::BAD_REQUEST),
        (
            b"GET / HTTP/2.0\r\n",
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        ),
        (&[b'A'; 33], StatusCode::NOT_IMPLEMENTED),
    ];
    for (text, status) in cases {
        assert_eq!(refused(text).status(), *status, "{}", text.escape_ascii());
    }
}

/// RFC 9112 §3, RFC 6585 §5.
#[test]
fn limits() {
    let limits = Limits {
        head: 64,
        fields: 3,
    };
    let status = |text: &str| parse_request(text.as_bytes(), limits).map_err(RequestError::status);
    let head = |fill: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nB: {}\r\n\r\n",
            "b".repeat(fill)
        )
    };
    let most = 64 - head(0).len();
    assert!(matches!(status(&head(most)), Ok(Some(_))));
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert_eq!(status(&head(most + 1)).err(), Some(too_large));
    assert!(matches!(status(&head(most)[..63]), Ok(None)));
    assert_eq!(status(&head(100)[..64]).err(), Some(too_large));
    let long = format!("GET /{}", "a".repeat(100));
    assert!(matches!(status(&long[..63]), Ok(None)));
    assert_eq!(status(&long[..64]).err(), Some(StatusCode::URI_TOO_LONG));
    let fields = |number| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "B:\r\n".repeat(number)
        )
    };
    assert!(matches!(status(&fields(2)), Ok(Some(_))));
    assert_eq!(status(&fields(3)).err(), Some(too_large));

    // Past the tokens that fit the stack, past what a URI holds.
    let huge = Limits {
        head: 1 << 20,
        fields: usize::from(u16::MAX),
    };
    let parse = |text: &str| parse_request(text.as_bytes(), huge).map_err(RequestError::status);
    assert!(matches!(parse(&fields(1000)), Ok(Some(head)) if head.parts.headers.len() == 1001));
    let text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    assert_eq!(parse(&text).err(), Some(StatusCode::URI_TOO_LONG));
}

/// What a head is read as, to compare two readings.
fn facts(result: Result<Option<RequestHead>, RequestError>) -> Option<Result<String, ()>> {
    match result {
        Ok(None) => None,
        Ok(Some(head)) => Some(Ok(format!("{head:?}"))),
        Err(_) => Some(Err(())),
    }
}

/// Heads that are nearly well-formed.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "",
        "\r\n",
        "GET / HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n",
        "POST /a?b HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.0\r\n",
    ]);
    let piece = prop::sample::select(vec![
        "GET ",
        "/",
        " HTTP/1.1",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "Host",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "A: b\r\n",
        "\0",
        "\u{e9}",
    ]);
    let pieces = prop::collection::vec(piece, 0..6);
    let end = prop::sample::select(vec!["\r\n\r\n", "\r\n", ""]);
    (start, pieces, end).prop_map(|(start, pieces, end)| {
        [start.as_bytes(), pieces.concat().as_bytes(), end.as_bytes()].concat()
    })
}

/// The first look reads on although the end is not there, and finds what a later one does not look
/// for: it must not tell.
#[test]
fn what_is_wrong_is_told_when_the_head_is_there() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n";
    assert!(parse_request(request, LIMITS).expect("not yet").is_none());
    let whole = [request, &b"\r\n"[..]].concat();
    assert!(parse_request(&whole, LIMITS).is_err());
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n";
    let parse = |bytes: &[u8]| parse_response(bytes, &Method::GET, LIMITS);
    assert!(parse(response).expect("not yet").is_none());
    assert!(parse(&[response, &b"\r\n"[..]].concat()).is_err());
}

proptest! {
    #[test]
    fn any_split_reads_the_same(
        text in heads(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        limit in 20_usize..200,
    ) {
        let limits = Limits { head: limit, fields: 4 };
        let whole = facts(parse_request(&text, limits));
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        let mut seen = 0;
        let mut split = None;
        for end in ends {
            split = facts(resume_request(&text[..end], seen, limits));
            if split.is_some() {
                break;
            }
            seen = end;
        }
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(facts(parse_request(&bytes, LIMITS)));
        let framed = [b"GET / HTTP/1.1\r\nHost: a\r\n", bytes.as_slice(), b"\r\n\r\n"].concat();
        drop(facts(parse_request(&framed, LIMITS)));
    }
}
