//! Listeners as the workers see them.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::action::Route;
use super::by_name::{ByName, SessionRoute};
use super::datagrams::UdpListener;
use super::http2::Http2;
use super::limits::Limits;
use super::metrics::ListenerMetrics;
use super::proxied::ProxyHeaders;
use super::spoken::ConnectionProtocol;
use super::timeouts::ClientTimeouts;
use super::tls::Termination;
use crate::config;
use crate::context::Brought;
use crate::drain::Direction;
use crate::http1;
use crate::net::{Interception, Listening, OwnConnections, RuleKey, Sockets, Stream};
use crate::policy::{Forwarding, Hsts, Via};
use crate::queue::Queue;
use crate::route::RouteTable;
use crate::tls::ForNames;

/// An address that accepts, and what happens to its connections.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The address as written.
    pub bind: Arc<str>,
    /// The bound sockets; the same `Arc` as before a reload that left the address alone.
    pub sockets: Arc<Sockets>,
    /// What its sockets are to be.
    pub options: Listening,
    /// Which PROXY headers are taken before all else, if any are.
    pub proxy_headers: Option<Arc<ProxyHeaders>>,
    /// Where TLS ends, if what comes is not plain text.
    pub tls: Option<Arc<Termination>>,
    /// Who gets connections by how TLS begins, if anybody does.
    pub by_name: Option<Arc<ByName>>,
    /// How a firewall brings connections here that were made to other addresses, if it does.
    pub intercept: Option<Intercept>,
    /// Whose connections come.
    pub direction: Direction,
    /// What is spoken, within TLS if there is that.
    pub kind: Kind,
    /// Connections at once, over all workers; of UDP, sessions.
    pub max_connections: u32,
    /// Connections now; kept over reloads.
    pub connections: Arc<AtomicU32>,
    /// Those that wait for a place; kept over reloads.
    pub queue: Arc<Queue>,
    /// What they are held to beside their number, if anything was written.
    pub limits: Option<Arc<Limits>>,
    /// What is measured about it.
    pub metrics: ListenerMetrics,
}

/// How connections are brought to a listener.
#[derive(Debug, Clone)]
pub struct Intercept {
    how: Interception,
    own: Arc<OwnConnections>,
}

/// What a listener speaks.
#[derive(Debug, Clone)]
pub enum Kind {
    /// HTTP, in the versions that it says.
    Http(Arc<HttpListener>),
    /// Bytes, unread.
    Tcp(Arc<TcpListener>),
    /// Datagrams, unread.
    Udp(Arc<UdpListener>),
}

/// What a listener that speaks HTTP does with its requests.
#[derive(Debug)]
pub struct HttpListener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whose requests come.
    pub direction: Direction,
    /// Whether HTTP/1.1 is spoken.
    pub http1: bool,
    /// How HTTP/2 is, if it is.
    pub http2: Option<Arc<Http2>>,
    /// Bounds on a request head.
    pub limits: http1::Limits,
    /// Limits on what a client does.
    pub timeouts: ClientTimeouts,
    /// Who is believed, and what is told to endpoints.
    pub forwarding: Forwarding,
    /// What clients are asked for by name, if any are.
    pub client_rules: Option<ForNames<RuleKey>>,
    /// The mark by which its own requests are known again.
    pub via: Via,
    /// Its routes.
    pub routes: RouteTable<Arc<Route>>,
    /// Those of its routes that take what comes without TLS, where all else of that is redirected.
    pub exempt: Option<RouteTable<Arc<Route>>>,
    /// What gets everything that no route takes; without TLS, where all else of that is redirected.
    pub fallback: Option<Arc<Route>>,
    /// What browsers are told to remember, on connections with TLS.
    pub hsts: Option<Hsts>,
    /// Counts requests that no route takes.
    pub unrouted: Arc<Route>,
}

/// What a listener that relays bytes does with its connections.
#[derive(Debug)]
pub struct TcpListener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where the bytes go, of all that no route takes.
    pub fallback: Option<Arc<SessionRoute>>,
}

impl HttpListener {
    /// The routes for requests that came by this scheme, and what gets those that none takes.
    pub fn routing(&self, scheme: &str) -> (&RouteTable<Arc<Route>>, &Route) {
        let fallback = self.fallback.as_deref();
        let (routes, fallback) = match &self.exempt {
            None => (&self.routes, fallback),
            Some(_) if scheme == "https" => (&self.routes, None),
            Some(exempt) => (exempt, fallback),
        };
        (routes, fallback.unwrap_or(&self.unrouted))
    }

    /// Its routes, and those that nobody wrote.
    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let own = self.fallback.iter().chain([&self.unrouted]);
        own.chain(self.routes.targets())
    }
}

impl Listener {
    /// Whether its connections are dear to begin with, or stay as a rule: TLS, HTTP/2, bytes.
    pub fn lasts(&self) -> bool {
        let lasts = match &self.kind {
            Kind::Http(http) => http.http2.is_some(),
            Kind::Tcp(_) | Kind::Udp(_) => true,
        };
        lasts || self.tls.is_some()
    }

    /// How datagrams are relayed, if it is that what comes.
    pub fn udp(&self) -> Option<&Arc<UdpListener>> {
        match &self.kind {
            Kind::Udp(udp) => Some(udp),
            Kind::Http(_) | Kind::Tcp(_) => None,
        }
    }
}

impl Intercept {
    /// What the author of a listener wants.
    pub(super) fn new(written: config::Intercept, own: &Arc<OwnConnections>) -> Self {
        Self {
            how: match written {
                config::Intercept::Redirect => Interception::Redirect,
                config::Intercept::Tproxy => Interception::Tproxy,
            },
            own: Arc::clone(own),
        }
    }

    /// What is known of a connection that was brought.
    pub fn facts(&self, stream: &Stream) -> Box<Brought> {
        Box::new(Brought {
            // Fails of one that was made to the listener itself.
            destination: stream.destination(self.how).ok(),
            own: Arc::clone(&self.own),
        })
    }
}

impl Kind {
    /// What may be spoken on a connection, the usual first; where routes may take it by name, that
    /// is not for the listener to say.
    pub(super) fn protocols(&self, has_routes_by_name: bool) -> Vec<ConnectionProtocol> {
        let (http1, http2) = match self {
            Self::Http(http) => (http.http1, http.http2.is_some()),
            Self::Tcp(_) => return vec![ConnectionProtocol::Tcp],
            Self::Udp(_) => return vec![ConnectionProtocol::Udp],
        };
        let all = [
            (http1, ConnectionProtocol::Http1),
            (http2, ConnectionProtocol::Http2),
            (has_routes_by_name, ConnectionProtocol::Tcp),
        ];
        let spoken = all.into_iter().filter(|(is_spoken, _)| *is_spoken);
        spoken.map(|(_, protocol)| protocol).collect()
    }
}
