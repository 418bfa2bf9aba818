//! A request in plain text where TLS is expected: mostly `http://` before a port of HTTPS.
//!
//! An alert of TLS says nothing to whoever asked, so there is an answer that does.

use std::future::poll_fn;
use std::io;

use crate::net::Stream;

/// Whether a session cannot begin like this.
pub(super) fn is_no_record(first: u8) -> bool {
    first.is_ascii_uppercase()
}

/// Whether this is the beginning of a request.
pub(super) fn is_request(received: &[u8]) -> bool {
    METHODS.iter().any(|method| received.starts_with(method))
}

/// Says what the port is for, and that nothing more will be said.
pub(super) async fn answer(stream: &Stream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_write_slice(cx, ANSWER)).await?;
    poll_fn(|cx| stream.poll_shutdown_write(cx)).await?;
    // What is left unread when the socket closes would reset it, and take the answer along.
    let mut rest = Vec::with_capacity(REST);
    poll_fn(|cx| stream.poll_read_into(cx, &mut rest)).await?;
    Ok(())
}

/// What a request may begin with (RFC 9110 §9, RFC 5789).
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];

const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 44\r\n\
    Cache-Control: no-store\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: ask it with https://.\n";

/// More than a client sends behind a head that it has no answer to.
const REST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(ANSWER).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }

    #[test]
    fn a_request_is_told_from_other_things() {
        assert!(is_request(b"GET / HTTP/1.1\r\n"));
        for other in [
            &b"SSH-2.0-x"[..],
            b"PRI * HTTP/2.0",
            b"PROXY TCP4",
            b"GET",
            b"get / ",
        ] {
            assert!(!is_request(other));
        }
        assert!(!is_no_record(0x16), "a handshake");
        assert!(!is_no_record(0x80), "one of SSL 2.0");
    }
}
