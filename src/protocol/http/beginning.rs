//! Which version of HTTP a connection speaks, by how it begins.
//!
//! Within TLS both ends have agreed on that. Without, a client that knows beforehand begins with
//! the preface of HTTP/2 (RFC 9113 §3.3), which is no request of HTTP/1.1 (§3.4): the first byte
//! that differs tells, and nobody waits for more. What was read belongs to whoever serves the
//! connection.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::client::Http1;
use super::connection::Connection;
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
        // Who serves it knows how to refuse it.
        Some(false) | None if speaks_http1 => Beginning::Http1,
        Some(true | false) => Beginning::Http2,
        None => Beginning::Neither,
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

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::is_preface;

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
}
