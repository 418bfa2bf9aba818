//! The PROXY header before a connection: waits for it, and learns from it who the client is.
//!
//! Whom to believe is told by the address of whoever has connected, before anything is read. What
//! is read is the header and nothing behind it, so whoever serves the connection finds its first
//! byte where it would have been without.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use tokio::time::timeout;

use crate::context::{ConnectionFacts, Proxied};
use crate::net::{Stream, UNNAMED, canonical};
use crate::proxy_protocol::{Header, Origin, Progress, Transport, Unreadable, Version, read};
use crate::snapshot::{HeaderResult, ProxyHeaders};

/// What begins a connection.
type Said = Result<Header, Unreadable>;

/// Finds out for whom a connection is; `None` if it cannot be served.
pub async fn identify(
    client: &Stream,
    facts: ConnectionFacts,
    headers: &ProxyHeaders,
) -> Option<ConnectionFacts> {
    let peer = facts.peer;
    if !headers.trusts(peer.ip()) {
        if headers.is_required {
            tracing::debug!(%peer, "no PROXY header is taken from this peer");
            headers.count(HeaderResult::Untrusted);
            return None;
        }
        headers.count(HeaderResult::Absent);
        return Some(facts);
    }
    let has_begun = Cell::new(false);
    let (result, facts) = match timeout(headers.limit, said(client, &has_begun)).await {
        Ok(Ok(Some(said))) => decide(said, facts, headers),
        Ok(Ok(None)) if headers.is_required || has_begun.get() => {
            (HeaderResult::ClientClosed, None)
        }
        // Whoever serves it knows what that means.
        Ok(Ok(None)) => (HeaderResult::Absent, Some(facts)),
        Ok(Err(_)) => (HeaderResult::ClientClosed, None),
        // Where a header need not come, a client may wait to be spoken to.
        Err(_) if !headers.is_required && !has_begun.get() => (HeaderResult::Absent, Some(facts)),
        Err(_) => (HeaderResult::TimedOut, None),
    };
    headers.count(result);
    if facts.is_none() {
        tracing::debug!(%peer, result = result.as_str(), "no PROXY header");
    }
    facts
}

/// Waits until it is known what the connection begins with, and takes the header off; `None` if it
/// ends before.
async fn said(client: &Stream, has_begun: &Cell<bool>) -> io::Result<Option<Said>> {
    let looked = client.look(|bytes| {
        has_begun.set(true);
        match read(bytes) {
            Ok(Progress::More(_)) => None,
            Ok(Progress::Whole(header, length)) => Some((Ok(header), length)),
            Err(error) => Some((Err(error), 0)),
        }
    });
    looked.await
}

/// For whom it is, by what was said.
fn decide(
    said: Said,
    facts: ConnectionFacts,
    headers: &ProxyHeaders,
) -> (HeaderResult, Option<ConnectionFacts>) {
    let header = match said {
        Ok(header) => header,
        Err(Unreadable::Absent) if !headers.is_required => {
            return (HeaderResult::Absent, Some(facts));
        }
        Err(error) => {
            tracing::debug!(peer = %facts.peer, why = %error, "the PROXY header is refused");
            return (HeaderResult::Malformed, None);
        }
    };
    let result = match (header.version, header.origin) {
        (_, Origin::Proxy) => HeaderResult::Local,
        (Version::V1, _) => HeaderResult::V1,
        (Version::V2, _) => HeaderResult::V2,
    };
    let (peer, destination) = match header.origin {
        // It is asked for by whoever is there (§2.1: the real addresses are to be used).
        Origin::Proxy | Origin::Unknown => (facts.peer, None),
        Origin::Unix => (UNNAMED, None),
        Origin::Client(client) if client.transport == Transport::Stream => (
            canonical(client.source),
            Some(canonical(client.destination)),
        ),
        Origin::Client(_) => {
            tracing::debug!(peer = %facts.peer, "the PROXY header is about datagrams");
            return (HeaderResult::Malformed, None);
        }
    };
    let says_more = destination.is_some() || !header.tlvs.is_empty();
    let proxied = says_more.then(|| {
        Arc::new(Proxied {
            destination,
            tlvs: header.tlvs,
        })
    });
    let facts = ConnectionFacts {
        peer,
        proxied,
        ..facts
    };
    (result, Some(facts))
}
