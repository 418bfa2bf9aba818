//! WebSocket over HTTP/2 (RFC 8441), told to endpoints as HTTP/1.1 has it.
//!
//! A client asks for it with an extended CONNECT, and takes any 2xx for a yes. An endpoint is asked
//! with GET and `Upgrade`, and says yes with a 101 and with what it makes of a key (RFC 6455 §4.2).
//! HTTP/2 needs no key, so it is ours: made here, and its answer judged here. From then on the
//! request is what it would be in HTTP/1.1, and routes and policies know no other.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderValue, Method, StatusCode};

use crate::http2;
use crate::message::{RequestParts, ResponseParts, Value};
use crate::tls::base64;

/// Makes the request for a WebSocket in HTTP/1.1 of one in HTTP/2, and returns what it is to be
/// upgraded to. `None` of any other request, and of one that asks for another protocol.
pub(super) fn ask(head: &mut http2::RequestHead) -> Option<Box<HeaderValue>> {
    let protocol = head.protocol.as_deref()?;
    if !protocol.eq_ignore_ascii_case(WEBSOCKET) {
        return None;
    }
    let mut nonce = [0; NONCE];
    // Without randomness there is no handshake: then it stays what nobody here knows.
    rand::fill(&mut nonce).ok()?;
    head.parts.method = Method::GET;
    let fields = &mut head.parts.headers;
    // RFC 8441 §5: they are not used, whatever they say.
    fields.remove(SEC_WEBSOCKET_ACCEPT);
    let key = base64(&nonce);
    fields.insert(&SEC_WEBSOCKET_KEY, Value::of_ascii(key.as_bytes()));
    Some(Box::new(HeaderValue::from_static("websocket")))
}

/// Makes the answer of HTTP/2 of a 101. False if that is none to this request: then who answered
/// has not read it, and may take what follows for something else.
pub(super) fn grant(request: &RequestParts, response: &mut ResponseParts) -> bool {
    let Some(key) = request.headers.get(SEC_WEBSOCKET_KEY) else {
        return false;
    };
    let accepted = response.headers.get(SEC_WEBSOCKET_ACCEPT);
    if accepted.map(Value::as_bytes) != Some(answer_to(key.as_bytes()).as_bytes()) {
        return false;
    }
    response.status = StatusCode::OK;
    response.headers.remove(SEC_WEBSOCKET_ACCEPT);
    true
}

/// What a server of WebSockets makes of a key (RFC 6455 §4.2.2).
fn answer_to(key: &[u8]) -> String {
    let text = [key, SUFFIX].concat();
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

/// What a WebSocket is asked for by (RFC 6455 §4.1).
pub(super) const WEBSOCKET: &[u8] = b"websocket";

/// Bytes of a key before it is encoded (RFC 6455 §4.1).
const NONCE: usize = 16;

/// What no server adds to a key that has not read RFC 6455 §1.3.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use http::{Uri, Version, header};

    use super::*;
    use crate::message::Fields;

    fn asked(protocol: &str) -> http2::RequestHead {
        let mut headers = Fields::new();
        headers.append(&header::HOST, Value::of_ascii(b"a"));
        headers.append(&SEC_WEBSOCKET_KEY, Value::of_ascii(b"theirs"));
        headers.append(&SEC_WEBSOCKET_ACCEPT, Value::of_ascii(b"theirs"));
        http2::RequestHead {
            parts: RequestParts {
                method: Method::CONNECT,
                uri: Uri::from_static("/chat"),
                version: Version::HTTP_2,
                headers,
            },
            length: None,
            ends: false,
            expect_continue: false,
            te_trailers: false,
            is_https: true,
            protocol: Some(protocol.as_bytes().into()),
        }
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_specification() {
        let answer = answer_to(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_made_anew_and_its_answer_is_judged() {
        let (mut one, mut other) = (asked("websocket"), asked("WebSocket"));
        assert_eq!(
            ask(&mut one).as_deref(),
            Some(&"websocket".parse().unwrap())
        );
        assert!(ask(&mut other).is_some());
        let key = |head: &http2::RequestHead| {
            let keys: Vec<_> = head.parts.headers.get_all("sec-websocket-key").collect();
            assert_eq!((keys.len(), keys[0].len()), (1, 24));
            keys[0].as_bytes().to_vec()
        };
        assert_ne!(key(&one), key(&other));
        assert_eq!(one.parts.method, Method::GET);
        assert!(!one.parts.headers.contains_key(SEC_WEBSOCKET_ACCEPT));

        let mut response = ResponseParts {
            status: StatusCode::SWITCHING_PROTOCOLS,
            version: Version::HTTP_11,
            headers: Fields::new(),
        };
        assert!(!grant(&one.parts, &mut response));
        let answer = answer_to(&key(&one));
        response
            .headers
            .append(&SEC_WEBSOCKET_ACCEPT, Value::of_ascii(answer.as_bytes()));
        assert!(!grant(&other.parts, &mut response));
        assert_eq!(response.status, StatusCode::SWITCHING_PROTOCOLS);
        assert!(grant(&one.parts, &mut response));
        assert_eq!(response.status, StatusCode::OK);
        assert!(response.headers.is_empty());
    }

    #[test]
    fn other_protocols_stay_as_they_are() {
        let mut head = asked("connect-udp");
        assert!(ask(&mut head).is_none());
        assert_eq!(head.parts.method, Method::CONNECT);
    }
}
