//! Request smuggling as it was found in a proxy of the field in 2025 and 2026 (Pingora's
//! advisories), as far as heads can show it.

use http::StatusCode;

use super::LIMITS;
use crate::http1::{Framing, RequestError, RequestHead, parse_request};

fn parse(text: &str) -> Result<Option<RequestHead>, RequestError> {
    parse_request(text.as_bytes(), LIMITS)
}

fn status(text: &str) -> Option<StatusCode> {
    parse(text).err().map(RequestError::status)
}

/// CVE-2026-2835: `Transfer-Encoding` in HTTP/1.0 was read as a body until the connection closes.
#[test]
fn transfer_encoding_in_http_1_0() {
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 29\r\n",
        "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        let text = format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
        assert!(parse(&text).is_err(), "{fields}");
    }
}

/// CVE-2026-2835: of several codings, only the first or last was looked at.
#[test]
fn several_transfer_codings() {
    for fields in [
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert!(parse(&text).is_err(), "{fields}");
    }
}

/// CVE-2026-2835: no request has a body until the connection closes, whatever it says.
#[test]
fn no_request_lasts_until_close() {
    for text in [
        "POST / HTTP/1.0\r\n\r\nGET /admin HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /admin HTTP/1.1\r\n\r\n",
    ] {
        let head = parse(text).expect("well-formed").expect("whole");
        assert_eq!(head.framing, Framing::None);
        assert_eq!(&text[head.size..][..4], "GET ");
    }
}

/// CVE-2026-2833: bytes behind a request for an upgrade were tunnelled before the answer. Asking
/// changes nothing about the framing.
#[test]
fn an_upgrade_does_not_unframe_its_request() {
    let fields = "Host: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n";
    let text = format!("GET / HTTP/1.1\r\n{fields}\r\nGET /admin HTTP/1.1\r\n\r\n");
    let head = parse(&text).expect("well-formed").expect("whole");
    assert_eq!(
        (head.framing, head.upgrade.is_some()),
        (Framing::None, true)
    );
    let text = format!("POST / HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbodyGET ");
    let head = parse(&text).expect("well-formed").expect("whole");
    assert_eq!(head.framing, Framing::Length(4));
}

/// CVE-2025-4366: the body of a GET was taken for the next request. It is framed as any other.
#[test]
fn a_get_has_the_body_that_it_declares() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\nGET /admin HTTP/1.1\r\n\r\n";
    let head = parse(text).expect("well-formed").expect("whole");
    assert_eq!(head.framing, Framing::Length(25));
}

/// cloudflare/pingora#945: both framings at once were accepted, TE first.
#[test]
fn both_framings() {
    for fields in [
        "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
        assert_eq!(status(&text), Some(StatusCode::BAD_REQUEST));
    }
}

/// The older classics that those came with: doubtful lengths and folded lines.
#[test]
fn doubtful_lengths_and_folds() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "A: b\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(status(&text), Some(StatusCode::BAD_REQUEST), "{fields}");
    }
}
