//! The PROXY header before a connection: waits for it, and learns from it who the client is.
//!
//! Whom to believe is told by the address of whoever has connected, before anything is read. What
//! is read is the header and nothing behind it, so whoever serves the connection finds its first
//! byte where it would have been without.
//!
//! A proxy that comes for itself is believed as what it is. One that comes for somebody else is
//! not: what is said on the connection is said by whom the header named, or by somebody unknown,
//! and never with the proxy's own trust.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use crate::context::{ConnectionFacts, Proxied};
use crate::net::{Stream, UNNAMED, canonical};
use crate::proxy_protocol::{Header, Origin, Progress, Transport, Unreadable, Version, read};
use crate::snapshot::{HeaderResult, ProxyHeaders};

/// What begins a connection.
type Said = Result<Header, Unreadable>;

/// What becomes of a connection, and why.
#[derive(Debug)]
enum Decision {
    Served(HeaderResult, ConnectionFacts),
    Refused(HeaderResult, String),
}

/// Finds out for whom a connection is; `None` if it cannot be served.
pub async fn identify(
    client: &Stream,
    facts: ConnectionFacts,
    headers: &ProxyHeaders,
) -> Option<ConnectionFacts> {
    let peer = facts.peer;
    match decision(client, facts, headers).await {
        Decision::Served(result, facts) => {
            headers.count(result);
            Some(facts)
        }
        Decision::Refused(result, why) => {
            tracing::debug!(%peer, result = result.as_str(), why, "no PROXY header");
            headers.refuse(result, peer.ip(), &why, Instant::now());
            None
        }
    }
}

async fn decision(client: &Stream, facts: ConnectionFacts, headers: &ProxyHeaders) -> Decision {
    if !headers.trusts(facts.peer.ip()) {
        return if headers.is_required {
            let why = "is not among `trusted_proxies`".to_owned();
            Decision::Refused(HeaderResult::Untrusted, why)
        } else {
            Decision::Served(HeaderResult::Absent, facts)
        };
    }
    let has_begun = Cell::new(false);
    let result = match timeout(headers.limit, said(client, &has_begun)).await {
        Ok(Ok(Some(said))) => return decide(said, facts, headers),
        Ok(Ok(None)) if headers.is_required || has_begun.get() => HeaderResult::ClientClosed,
        // Whoever serves it knows what that means.
        Ok(Ok(None)) => HeaderResult::Absent,
        Ok(Err(_)) => HeaderResult::ClientClosed,
        // Where a header need not come, a client may wait to be spoken to.
        Err(_) if !headers.is_required && !has_begun.get() => HeaderResult::Absent,
        Err(_) => HeaderResult::TimedOut,
    };
    match (result, has_begun.get()) {
        (HeaderResult::Absent, _) => Decision::Served(result, facts),
        (_, true) => Decision::Refused(result, "said a part of a header".to_owned()),
        (_, false) => Decision::Refused(result, "said nothing".to_owned()),
    }
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
fn decide(said: Said, facts: ConnectionFacts, headers: &ProxyHeaders) -> Decision {
    let header = match said {
        Ok(header) => header,
        Err(Unreadable::Absent) if !headers.is_required => {
            return Decision::Served(HeaderResult::Absent, facts);
        }
        Err(error) => return malformed(&error.to_string()),
    };
    let result = match header.version {
        Version::V1 => HeaderResult::V1,
        Version::V2 => HeaderResult::V2,
    };
    let by = facts.peer;
    let (peer, is_of_unknown, destination) = match header.origin {
        // Whoever is there asks for himself.
        Origin::Proxy => return Decision::Served(HeaderResult::Local, facts),
        // The real addresses are to be used (§2.1). What is said is not said by whom they are of.
        Origin::Unknown => (by, true, None),
        Origin::Unix => (UNNAMED, false, None),
        Origin::Client(client) if client.transport == Transport::Stream => {
            let destination = Some(canonical(client.destination));
            match canonical(client.source) {
                // Nobody has this address: another way to say that it is not known.
                source if source.ip().is_unspecified() => (by, true, destination),
                source => (source, false, destination),
            }
        }
        Origin::Client(_) => return malformed("the PROXY header is about datagrams"),
    };
    let proxied = Proxied::new(by, is_of_unknown, destination, header.tlvs);
    let facts = ConnectionFacts {
        peer,
        proxied: Some(Arc::new(proxied)),
        ..facts
    };
    Decision::Served(result, facts)
}

fn malformed(why: &str) -> Decision {
    Decision::Refused(HeaderResult::Malformed, why.to_owned())
}
