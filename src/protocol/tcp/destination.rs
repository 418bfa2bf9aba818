//! Where a connection was going that a firewall brought here, and whether it may go there.

use std::net::SocketAddr;

use crate::context::Brought;
use crate::net::{Known, Stream};
use crate::snapshot::{Denial, Snapshot};
use crate::upstream::Upstream;

/// Writes a connection down that was brought, where its destination is known.
pub(super) fn taken(brought: Option<&Brought>, client: &Stream) -> Result<Option<Known>, Denial> {
    let Some(Brought {
        destination: Some(destination),
        own,
    }) = brought
    else {
        return Ok(None);
    };
    // Not who a PROXY header says that the client is: the other end. Who has gone makes no circle.
    let Ok(peer) = client.peer_address() else {
        return Ok(None);
    };
    let known = own.taken(peer, *destination);
    known.map(Some).ok_or(Denial::OwnConnection)
}

/// Writes a connection down that was made for one that was brought.
pub(super) fn made(brought: Option<&Brought>, stream: &Stream) -> Result<Option<Known>, Denial> {
    let Some(brought) = brought else {
        return Ok(None);
    };
    // A Unix socket comes by no firewall, and who has gone already makes no circle.
    let (Ok(local), Ok(peer)) = (stream.local_address(), stream.peer_address()) else {
        return Ok(None);
    };
    let known = brought.own.made(local, peer);
    known.map(Some).ok_or(Denial::OwnConnection)
}

/// Where a connection goes on to, in an upstream that leads to destinations.
pub(super) fn destination(
    brought: Option<&Brought>,
    upstream: &Upstream,
    snapshot: &Snapshot,
) -> Result<SocketAddr, Denial> {
    let destination = brought.and_then(|brought| brought.destination);
    let destination = destination.ok_or(Denial::Unknown)?;
    if snapshot.accepts_at(destination) {
        return Err(Denial::OwnAddress);
    }
    if !upstream.allows(destination.ip()) {
        return Err(Denial::NotAllowed);
    }
    Ok(destination)
}
