//! Which version of HTTP a connection speaks, by how it begins.
//!
//! Within TLS both ends have agreed on that. Without, a client that knows beforehand begins with
//! the preface of HTTP/2 (RFC 9113 §3.3), which is no request of HTTP/1.1 (§3.4): the first byte
//! that differs tells, and nobody waits for more. Where both are spoken and a first line has come
//! that is of neither, it is taken for a broken preface: a client of HTTP/1 says which it is one
//! of. What was read belongs to whoever serves the connection.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::client::Http1;
use super::connection::Connection;
use super::exchange::note_refused;
use super::record::Who;
use super::respond::Cause;
use super::terms::Terms;
use crate::net::Alpn;
use crate::protocol::local::Member;

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Requests, one after the other.
    Http1,
    /// HTTP/2, or something else where only that is spoken.
    Http2,
    /// Nothing that is spoken here, or nothing at all.
    Neither,
}

/// Tells what a connection begins with, at a listener that speaks HTTP/2.
pub(super) async fn told(connection: &Connection, member: &Member, terms: &mut Terms) -> Beginning {
    let client = &connection.client;
    let speaks_http1 = terms.listener.http1;
    if client.stream().is_secure() {
        return match client.stream().alpn() {
            Alpn::Http2 => Beginning::Http2,
            Alpn::None | Alpn::Other if speaks_http1 => Beginning::Http1,
            Alpn::None | Alpn::Other => Beginning::Neither,
        };
    }
    let begins = connection.request_begins(member, terms, true).await;
    let (true, Some(http1)) = (begins, client.http1()) else {
        return Beginning::Neither;
    };
    client.deadline.set(terms.listener.timeouts.request_head);
    let preface = client.deadline.guard(has_preface(http1));
    match preface.await {
        Some(false) if speaks_http1 && is_no_request(http1.received.borrow().bytes()) => {
            Beginning::Http2
        }
        // Who serves it knows how to refuse it.
        Some(false) | None if speaks_http1 => Beginning::Http1,
        Some(true | false) => Beginning::Http2,
        None => {
            let who = Who {
                local: &connection.local,
                stream: client.stream(),
                facts: &client.facts,
            };
            note_refused(terms, &who, Cause::RequestHeadTimeout);
            Beginning::Neither
        }
    }
}

/// Whether what comes is the preface; false as soon as a byte differs, or at the end of what comes.
async fn has_preface(http1: &Http1) -> bool {
    poll_fn(|cx| {
        loop {
            let is_preface = is_preface(http1.received.borrow().bytes());
            if let Some(is_preface) = is_preface {
                return Poll::Ready(is_preface);
            }
            if !ready!(http1.poll_receive(cx)).is_ok_and(|count| count > 0) {
                return Poll::Ready(false);
            }
        }
    })
    .await
}

/// Whether bytes begin with the preface; `None` while they may.
fn is_preface(bytes: &[u8]) -> Option<bool> {
    if bytes.len() >= PREFACE.len() {
        return Some(bytes.starts_with(PREFACE));
    }
    (!PREFACE.starts_with(bytes)).then_some(false)
}

/// Whether a whole first line has come that names no version at its end, as that of a request does
/// (RFC 9112 §3).
fn is_no_request(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let [.., h, t1, t2, p, b'/', major, b'.', minor] = line else {
        return true;
    };
    // In lower case it is a mistake, and one of HTTP/1: who makes it understands 400.
    let is_http = [*h, *t1, *t2, *p].eq_ignore_ascii_case(b"HTTP");
    !is_http || !major.is_ascii_digit() || !minor.is_ascii_digit()
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::{is_no_request, is_preface};

    #[test]
    fn the_first_byte_that_differs_tells() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for length in 0..preface.len() {
            assert_eq!(is_preface(&preface[..length]), None, "{length}");
        }
        assert_eq!(is_preface(preface), Some(true));
        assert_eq!(is_preface(&[preface, &b"\0"[..]].concat()), Some(true));
        assert_eq!(is_preface(b"G"), Some(false));
        assert_eq!(is_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Some(false));
        assert_eq!(is_preface(b"PRI * HTTP/1.1\r\n"), Some(false));
    }

    #[test]
    fn a_request_names_its_version() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n"[..],
            b"GET / HTTP/1.0\n",
            b"GET / http/1.1\r\n",
            b"GET / Http/1.1\r\n",
            b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
            b" / HTTP/9.9\r\n",
            b"GET / that goes on",
            b"",
        ] {
            assert!(!is_no_request(bytes), "{}", bytes.escape_ascii());
        }
        for bytes in [
            &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
            b"GET /\r\n",
            b"GET / HTTP/x.1\r\n",
            b"GET / HTTP/1.1 \r\n",
            b"\n",
        ] {
            assert!(is_no_request(bytes), "{}", bytes.escape_ascii());
        }
    }
}
