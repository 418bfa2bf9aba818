//! Bodies as raw bytes, whole and split.

use http::{HeaderMap, Method, StatusCode, Version};
use proptest::prelude::*;

use super::{Decoded, Decoder, FrameError, Framing, ResponseFraming};
use crate::body::BodyError;
use crate::http1::{encode_chunk_head, encode_chunk_tail, encode_last_chunk};

/// A body that was read to its end.
#[derive(Debug, PartialEq)]
struct Body {
    payload: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Bytes that were consumed.
    size: usize,
}

/// Reads a body from pieces as a connection does: what is not consumed stays in front of the next
/// piece. `None` if the pieces end before the body does.
fn read<'a>(
    framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Body>, FrameError> {
    let mut decoder = Decoder::new(framing);
    let mut body = Body {
        payload: Vec::new(),
        trailers: None,
        size: 0,
    };
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let consumed = match decoder.decode(&input)? {
                Decoded::Data { skip, length } => {
                    assert!(length > 0, "payload that is none");
                    body.payload.extend_from_slice(&input[skip..skip + length]);
                    skip + length
                }
                Decoded::More { consumed } => {
                    body.size += consumed;
                    input.drain(..consumed);
                    break;
                }
                Decoded::End { consumed, trailers } => {
                    assert!(decoder.is_done());
                    body.trailers = trailers;
                    body.size += consumed;
                    return Ok(Some(body));
                }
            };
            body.size += consumed;
            input.drain(..consumed);
        }
        assert!(input.is_empty(), "the decoder keeps what it needs itself");
    }
    Ok(None)
}

fn chunked(text: impl AsRef<[u8]>) -> Result<Option<Body>, FrameError> {
    read(Framing::Chunked, [text.as_ref()])
}

/// The payload of a well-formed body.
fn payload(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    match chunked(text) {
        Ok(Some(body)) => String::from_utf8(body.payload).expect("ASCII"),
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

fn refused(text: impl AsRef<[u8]>) -> FrameError {
    let text = text.as_ref();
    match chunked(text) {
        Err(error) => error,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

/// RFC 9112 §7.1.
#[test]
fn chunks_that_are_read() {
    for (text, expected) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", "abc"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        (
            "a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n",
            "0123456789abcdefghij",
        ),
        ("3\r\n\r\n0\r\n0\r\n\r\n", "\r\n0"),
        ("3;a\r\nabc\r\n0;b=c;d=\"e\\\";\"\r\n\r\n", "abc"),
    ] {
        assert_eq!(payload(text), expected, "{text:?}");
    }
    let text = "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    let body = chunked(text).expect("well-formed").expect("whole");
    assert_eq!(&text[body.size..], "GET / HTTP/1.1\r\n");
}

/// RFC 9112 §7.1, §2.2: the size is hexadecimal digits, every line ends with CRLF.
#[test]
fn chunks_that_are_refused() {
    let cases: &[(&str, FrameError)] = &[
        ("\r\n", FrameError::ChunkSize),
        ("\n", FrameError::ChunkSize),
        (";a\r\n", FrameError::ChunkSize),
        ("x\r\n", FrameError::ChunkSize),
        ("0x5\r\n", FrameError::ChunkSize),
        ("+5\r\n", FrameError::ChunkSize),
        ("-5\r\n", FrameError::ChunkSize),
        (" 5\r\n", FrameError::ChunkSize),
        ("\t5\r\n", FrameError::ChunkSize),
        ("5_0\r\n", FrameError::ChunkSize),
        ("5,\r\n", FrameError::ChunkSize),
        ("5\u{ff15}\r\n", FrameError::ChunkSize),
        ("5\n", FrameError::ChunkSize),
        ("5\0\r\n", FrameError::ChunkSize),
        ("5 \r\n", FrameError::Extension),
        ("5\t\r\n", FrameError::Extension),
        ("5 5\r\n", FrameError::Extension),
        ("10000000000000005\r\n", FrameError::ChunkSize),
        ("00000000000000000\r\n", FrameError::ChunkSize),
        ("5\rx", FrameError::ChunkEnd),
        ("5\r\r\n", FrameError::ChunkEnd),
        ("3\r\nabc0\r\n", FrameError::ChunkEnd),
        ("3\r\nabc\n", FrameError::ChunkEnd),
        ("3\r\nabc\r0\r\n", FrameError::ChunkEnd),
        ("3\r\nabcd\r\n", FrameError::ChunkEnd),
        ("3\r\nab\r\n\r\n", FrameError::ChunkEnd),
        ("3\r\nabc\r\n\r\n", FrameError::ChunkSize),
        ("0\r\n\n", FrameError::Trailer),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), *error, "{text:?}");
    }
    // The largest size is one, and its payload does not come.
    assert_eq!(chunked("ffffffffffffffff\r\nabc"), Ok(None));
}

/// RFC 9112 §7.1.1.
#[test]
fn extensions() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"\"",
        ";a=\"\\\"\\\\;\t\u{e9}\"",
        " ; a",
        "\t;\ta = b ; c",
        ";a=\"b\" ;c",
        ";a;b;c=d",
        ";!#$%&'*+-.^_`|~=0",
    ] {
        assert_eq!(
            payload(format!("1{extension}\r\nx\r\n0\r\n\r\n")),
            "x",
            "{extension:?}"
        );
    }
    for extension in [
        ";",
        "; ",
        ";;",
        ";a;",
        ";=b",
        ";a=",
        ";a= ",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        ";a=\"b\"c",
        ";a b",
        ";a=b c",
        ";a=b=c",
        ";a@",
        ";\"a\"",
        ";a=\"b\r\n",
        ";a=\"\0\"",
        ";a=\"\x7f\"",
        ";a\n",
        ";a=\n",
        ";a=\"\n\"",
        ";a=\"\\\n\"",
        ";a\0",
        "=a",
        ",a",
    ] {
        let text = format!("1{extension}\r\nx\r\n0\r\n\r\n");
        assert!(chunked(&text).is_err(), "{extension:?}");
    }
}

#[test]
fn extensions_are_bounded() {
    let line = |length: usize| format!("1;{}\r\nx\r\n", "a".repeat(length - 1));
    assert_eq!(payload(line(256 - 1) + "0\r\n\r\n"), "x");
    assert_eq!(refused(line(256 + 1)), FrameError::ExtensionsTooLong);
    // An endless line is refused before its end.
    let endless = format!("1;a=\"{}", "b".repeat(300));
    assert_eq!(refused(endless), FrameError::ExtensionsTooLong);
    // Many short ones are too, unless payload makes up for them.
    assert_eq!(refused(line(200).repeat(50)), FrameError::ExtensionsTooLong);
    let chunk = format!("1000;{}\r\n{}\r\n", "a".repeat(199), "x".repeat(0x1000));
    assert_eq!(payload(chunk.repeat(50) + "0\r\n\r\n").len(), 50 * 0x1000);
}

/// RFC 9110 §6.5, RFC 9112 §7.1.2.
#[test]
fn trailers() {
    let trailers = |text: &str| {
        let body = chunked(format!("1\r\nx\r\n0\r\n{text}\r\nnext"))
            .expect(text)
            .expect("whole");
        let lines = body.trailers.iter().flat_map(HeaderMap::iter);
        let lines =
            lines.map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii()));
        assert_eq!(body.size, "1\r\nx\r\n0\r\n\r\n".len() + text.len());
        (body.trailers.is_some(), lines.collect::<Vec<_>>())
    };
    assert!(!trailers("").0);
    assert_eq!(trailers("A: b\r\nC:\r\n").1, ["a: b", "c: "]);
    assert_eq!(trailers("grpc-status:  0 \r\n").1, ["grpc-status: 0"]);
    let forbidden = [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: a",
        "Authorization: a",
        "Cookie: a",
        "Set-Cookie: a",
        "Trailer: A",
        "Content-Encoding: gzip",
        "Content-Type: a",
        "Connection: close",
        "Keep-Alive: 5",
        "Upgrade: a",
        "TE: trailers",
        "If-Match: a",
        "Proxy-Authorization: a",
        "Cache-Control: no-store",
        "X-Forwarded-For: 1",
        "X_Forwarded_For: 1",
        "X-Forwarded: 1",
        "True-Client-IP: 1",
        "X-Cluster.Client-IP: 1",
        "X_Real_IP: 1",
        "X_Request_Id: 1",
        "Forwarded: for=a",
        "X_Client_Cert: a",
        "Via: a",
        "Expect: a",
        "Range: a",
        "Location: a",
        "Date: a",
    ];
    for line in forbidden {
        assert_eq!(trailers(&format!("{line}\r\n")), (false, vec![]), "{line}");
        assert_eq!(
            trailers(&format!("A: b\r\n{line}\r\n")).1,
            ["a: b"],
            "{line}"
        );
    }
}

#[test]
fn trailers_that_are_refused() {
    for text in [
        "A: b\n\r\n",
        "A: b\r\n\n",
        "A : b\r\n\r\n",
        "A\r\n\r\n",
        ": b\r\n\r\n",
        " A: b\r\n\r\n",
        "A: b\r\n c\r\n\r\n",
        "A: b\0\r\n\r\n",
        "A: b\rc\r\n\r\n",
        "\u{e9}: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(
            refused(format!("0\r\n{text}")),
            FrameError::Trailer,
            "{text:?}"
        );
    }
    let many = "A: b\r\n".repeat(65);
    assert_eq!(
        refused(format!("0\r\n{many}\r\n")),
        FrameError::TrailersTooLarge
    );
    let most = "A: b\r\n".repeat(64);
    assert_eq!(payload(format!("0\r\n{most}\r\n")), "");
    let long = format!("0\r\nA: {}", "b".repeat(8 * 1024));
    assert_eq!(refused(long), FrameError::TrailersTooLarge);
}

#[test]
fn lengths() {
    assert_eq!(
        read(Framing::Length(3), [&b"a"[..], b"bcd"])
            .map(|body| body.map(|body| (body.payload, body.size))),
        Ok(Some((b"abc".to_vec(), 3)))
    );
    assert_eq!(read(Framing::Length(u64::MAX), [&b"a"[..]]), Ok(None));
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = Decoder::new(framing);
        assert!(decoder.is_done());
        assert_eq!(decoder.end_of_input(), Ok(()));
        assert!(matches!(
            decoder.decode(b"next"),
            Ok(Decoded::End {
                consumed: 0,
                trailers: None
            })
        ));
    }
    let mut decoder = Decoder::new(Framing::Length(2));
    assert!(matches!(
        decoder.decode(b"a"),
        Ok(Decoded::Data { skip: 0, length: 1 })
    ));
    assert!(matches!(
        decoder.decode(b""),
        Ok(Decoded::More { consumed: 0 })
    ));
    assert!(!decoder.is_done());
    assert!(matches!(
        decoder.decode(b"bc"),
        Ok(Decoded::Data { skip: 0, length: 1 })
    ));
    assert!(decoder.is_done());
    assert!(matches!(
        decoder.decode(b"c"),
        Ok(Decoded::End { consumed: 0, .. })
    ));
}

/// RFC 9112 §8: a body that was cut off must not look whole.
#[test]
fn the_end_of_the_connection() {
    for (framing, input) in [
        (Framing::Length(2), "a"),
        (Framing::Chunked, ""),
        (Framing::Chunked, "3\r\nabc"),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n"),
        (Framing::Chunked, "0\r\nA: b\r\n"),
    ] {
        let mut decoder = Decoder::new(framing);
        let mut input = input.as_bytes();
        while let Ok(Decoded::Data { skip, length }) = decoder.decode(input) {
            input = &input[skip + length..];
        }
        assert_eq!(
            decoder.end_of_input(),
            Err(FrameError::Truncated),
            "{framing:?}"
        );
    }
    let mut decoder = Decoder::new(Framing::UntilClose);
    assert!(matches!(
        decoder.decode(b"ab"),
        Ok(Decoded::Data { skip: 0, length: 2 })
    ));
    assert!(matches!(
        decoder.decode(b""),
        Ok(Decoded::More { consumed: 0 })
    ));
    assert!(!decoder.is_done());
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert_eq!(BodyError::from(FrameError::Truncated), BodyError::Truncated);
    assert_eq!(BodyError::from(FrameError::ChunkEnd), BodyError::Malformed);
}

/// RFC 9112 §6.3 from the sender's side.
#[test]
fn the_framing_towards_a_client() {
    use ResponseFraming::{Bodiless, Chunked, Length, UntilClose};
    let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
    for (method, version, status, length, expected) in [
        (Method::GET, v11, 200, Some(5), Length(5)),
        (Method::GET, v11, 200, Some(0), Length(0)),
        (Method::GET, v11, 200, None, Chunked),
        (Method::GET, v10, 200, None, UntilClose),
        (Method::GET, v10, 200, Some(5), Length(5)),
        (Method::HEAD, v11, 200, None, Bodiless),
        (Method::HEAD, v11, 200, Some(5), Bodiless),
        (Method::GET, v11, 204, None, Bodiless),
        (Method::GET, v11, 304, Some(5), Bodiless),
        (Method::GET, v11, 101, None, Bodiless),
        (Method::CONNECT, v11, 200, None, Bodiless),
        (Method::CONNECT, v11, 502, Some(5), Length(5)),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let framing = ResponseFraming::choose(&method, version, status, length);
        assert_eq!(framing, expected, "{method} {version:?} {status}");
    }
}

/// Nearly well-formed chunked bodies.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "0",
        "1",
        "3",
        "10",
        "f",
        ";a",
        ";a=b",
        ";a=\"b\"",
        " ",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "x",
        "abc",
        "abc\r\n",
        "3\r\nabc\r\n",
        "3;a=b\r\nabc\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "A: b\r\n",
        "Host: a\r\n",
        "0\r\nA: b\r\n\r\n",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

/// The pieces between some cuts.
fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(text.len());
    let starts: Vec<usize> = [0].into_iter().chain(ends.iter().copied()).collect();
    starts
        .iter()
        .zip(&ends)
        .map(|(&start, &end)| &text[start..end])
        .collect()
}

proptest! {
    #[test]
    fn any_split_reads_the_same(
        text in bodies(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        prop_assert_eq!(read(Framing::Chunked, pieces(&text, &cuts)), chunked(&text));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(chunked(&bytes));
        drop(chunked([b"5;", bytes.as_slice()].concat()));
        drop(chunked([b"0\r\n", bytes.as_slice(), b"\r\n\r\n"].concat()));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..700), 0..6),
        trailer in prop::option::of("[!-~]([ -~]{0,20}[!-~])?"),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            encode_chunk_head(&mut text, chunk.len());
            text.extend_from_slice(chunk);
            encode_chunk_tail(&mut text);
        }
        let trailers = trailer.map(|value| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", value.parse().expect("visible"));
            trailers
        });
        encode_last_chunk(&mut text, trailers.as_ref());
        let body = Body { payload: chunks.concat(), trailers, size: text.len() };
        prop_assert_eq!(read(Framing::Chunked, pieces(&text, &cuts)), Ok(Some(body)));
    }
}
