//! Facts of a connection, learned once when it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::net::{OwnConnections, Sockets, UNNAMED};
use crate::proxy_protocol::{Kind, Tlvs};

/// Who is connected to what.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The other side: the client that a PROXY header was about, where one came, or
    /// [`UNNAMED`].
    pub peer: SocketAddr,
    /// Our side: what it came by.
    pub sockets: Arc<Sockets>,
    /// What else a PROXY header said, of whomever the proxy in front has connected for.
    pub proxied: Option<Arc<Proxied>>,
    /// Of a listener to which a firewall brings connections. In a box: few have it.
    pub brought: Option<Box<Brought>>,
}

/// A connection that a firewall brought here.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Where it was going, if the kernel knows.
    pub destination: Option<SocketAddr>,
    /// Those that may be our own.
    pub own: Arc<OwnConnections>,
}

/// What a proxy in front said of a connection that it made for a client.
#[derive(Debug)]
pub struct Proxied {
    /// The proxy: whoever has connected.
    pub by: SocketAddr,
    /// Whether it did not say who the client is. The peer is the proxy then, whose address is all
    /// that can be told; but the words on the connection are not the proxy's.
    pub is_of_unknown: bool,
    /// What the client had connected to, if that was said.
    pub destination: Option<SocketAddr>,
    /// What else it said.
    pub tlvs: Tlvs,
    has_given_id: AtomicBool,
}

impl ConnectionFacts {
    /// Whether it is known who speaks: the peer is the client, and not a proxy that came for one.
    pub fn speaks_for_peer(&self) -> bool {
        self.proxied
            .as_ref()
            .is_none_or(|proxied| !proxied.is_of_unknown)
    }

    /// Whether the other side may be believed as one of those that are trusted. One that came to
    /// the proxy in front by a Unix socket is not: who may connect to that socket is not known
    /// here, and those that are trusted for coming by one came by ours.
    pub fn may_be_believed(&self) -> bool {
        self.speaks_for_peer() && !(self.peer == UNNAMED && self.proxied.is_some())
    }

    /// The proxy that the client came through, if one has said so.
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.proxied.as_ref().map(|proxied| proxied.by)
    }

    /// Whether a proxy in front has ended TLS of the client.
    pub fn was_secure(&self) -> bool {
        let proxied = self.proxied.as_ref();
        proxied.is_some_and(|proxied| proxied.tlvs.tell_of_tls())
    }
}

impl Proxied {
    /// Of a client, known or not, by a proxy.
    pub fn new(
        by: SocketAddr,
        is_of_unknown: bool,
        destination: Option<SocketAddr>,
        tlvs: Tlvs,
    ) -> Self {
        Self {
            by,
            is_of_unknown,
            destination,
            tlvs,
            has_given_id: AtomicBool::new(false),
        }
    }

    /// The name that the client asked the proxy for in TLS, if that was said.
    pub fn authority(&self) -> Option<&[u8]> {
        self.tlvs.find(Kind::Authority)
    }

    /// The name that the proxy has given the connection, once: of what comes by it, only the first
    /// is what it was opened for, and no two may have the same name.
    pub fn take_id(&self) -> Option<&[u8]> {
        let id = self.tlvs.find(Kind::UniqueId)?;
        let is_first = !self.has_given_id.swap(true, Ordering::Relaxed);
        is_first.then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::Proxied;
    use crate::proxy_protocol::{Introduction, Origin, Progress, Told, Version, read};

    #[test]
    fn the_name_of_a_connection_is_given_once() {
        let told = Told {
            origin: Origin::Unix,
            alpn: None,
            authority: None,
            tls: None,
            received: None,
            unique_id: Some(b"front-1"),
        };
        let header = Introduction::new(Version::V2, &told).finished();
        let Ok(Progress::Whole(header, _)) = read(&header) else {
            panic!("a header");
        };
        let by = "10.0.0.5:1".parse().expect("an address");
        let proxied = Proxied::new(by, false, None, header.tlvs);
        assert_eq!(proxied.take_id(), Some(&b"front-1"[..]));
        assert_eq!(proxied.take_id(), None);
    }
}
