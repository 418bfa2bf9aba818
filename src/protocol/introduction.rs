//! What an endpoint is told of a client by the PROXY protocol, where its upstream wants that.
//!
//! The client is whoever made the connection, or whom a PROXY header in front of it was about: what
//! fields of HTTP say of clients is told in fields. What the proxy in front said is passed on, but
//! for what we know ourselves.

use crate::context::ConnectionFacts;
use crate::endpoint::Endpoint;
use crate::net::{Stream, UNNAMED};
use crate::proxy_protocol::{Addresses, Introduction, Origin, TlsFacts, Told, Transport};

/// What is known of a connection where it is served.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known<'a> {
    /// The name that the client asked for, where TLS passes through.
    pub(super) server_name: Option<&'a str>,
    /// What tells the connection, or what it is opened for, from all others.
    pub(super) unique_id: Option<&'a [u8]>,
}

/// How a client is introduced to an endpoint, if that is told. In a box: most are not, and what
/// waits for an endpoint has no room for it.
pub(super) fn introduction(
    endpoint: &Endpoint,
    facts: &ConnectionFacts,
    client: &Stream,
    known: Known<'_>,
) -> Option<Box<Introduction>> {
    let version = endpoint.proxy_protocol?;
    let session = client.session_facts();
    let session = session.as_ref();
    let certificate = client.client_certificate();
    let server_name = session.and_then(|session| session.server_name.as_deref());
    let tls = session.map(|session| TlsFacts {
        version: session.version,
        cipher: session.cipher,
        has_certificate: certificate.is_some(),
        common_name: certificate.and_then(|one| one.common_name.as_deref()),
    });
    let told = Told {
        origin: origin(facts, client),
        alpn: session.and_then(|session| session.alpn.as_deref()),
        authority: known.server_name.or(server_name).map(str::as_bytes),
        tls,
        received: facts.proxied.as_ref().map(|proxied| &proxied.tlvs),
        unique_id: known.unique_id,
    };
    Some(Box::new(Introduction::new(version, &told)))
}

/// Who has connected to what: to where it was going, if a firewall brought it here. The listener's
/// address may stand for several: which of them it was, the socket knows.
fn origin(facts: &ConnectionFacts, client: &Stream) -> Origin {
    if !facts.speaks_for_peer() {
        // Whoever is told the address of the proxy in front, or that it came by a Unix socket, may
        // trust that.
        return Origin::Unknown;
    }
    if facts.peer == UNNAMED {
        return Origin::Unix;
    }
    let proxied = facts.proxied.as_ref();
    let told = proxied.and_then(|proxied| proxied.destination);
    let brought = facts
        .brought
        .as_ref()
        .and_then(|brought| brought.destination);
    let own = || client.local_address().unwrap_or(facts.sockets.local);
    let destination = told.or(brought).unwrap_or_else(own);
    Origin::Client(Addresses::new(facts.peer, destination, Transport::Stream))
}
