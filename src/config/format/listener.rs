//! `[listener.<name>]` as it is written.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    EndpointEntry, ListenerHttp2, ListenerLimits, ListenerSocket, Timeouts, Tls, is_default,
};
use crate::config::units::Size;

/// `[listener.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address to accept on: `:8080` (every address, IPv6 and IPv4), `10.0.0.1:80`, `[::1]:80`.
    /// Port 0 takes any free port. Or a Unix socket: `unix:/run/app.sock`, or `unix:@name` for an
    /// abstract one, which has no file.
    #[schemars(extend(
        "format" = "x-bind",
        "examples" = [":8080", "127.0.0.1:8080", "[::1]:8080", "unix:/run/app.sock"]
    ))]
    pub bind: String,
    /// What is spoken here; with several, clients choose. `["tcp"]` relays bytes to `upstream` or
    /// `to`, or by routes with a `server_name`; `["udp"]` relays datagrams to `upstream` or `to`.
    /// Default: `["h2", "http/1.1"]` with `tls`,
    /// `["http/1.1"]` without.
    pub protocols: Option<Vec<Protocol>>,
    /// Shorthand: endpoints of an unnamed upstream that gets everything which no route takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Vec<EndpointEntry>,
    /// The upstream that gets everything which no route takes. Default: none, which answers 404.
    pub upstream: Option<String>,
    /// Whose requests come here: those of others, for the application behind (`inbound`), or those
    /// of the application beside this instance, for others (`outbound`). It matters for the end:
    /// `shutdown.wait_for`. Default: inbound.
    pub direction: Option<Direction>,
    /// Peers whose forwarding fields (X-Forwarded-*, Forwarded, X-Request-Id) are believed, and
    /// whose PROXY headers are, where `proxy_protocol` is set: networks, and `unix` for those that
    /// come by a Unix socket.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(
        with = "Vec<String>",
        extend("items" = {"type": "string", "format": "x-proxy"}, "examples" = [["10.0.0.0/8"]])
    )]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// How the firewall brings connections here that were made to other addresses, for
    /// `endpoints = "original_dst"`: by NAT (`redirect`) or by the routing (`tproxy`, which needs
    /// `CAP_NET_ADMIN`). Default: none, what comes was meant for `bind`.
    pub intercept: Option<Intercept>,
    /// Whether a PROXY header (version 1 or 2) of a peer in `trusted_proxies` says who the client
    /// is: `required` closes connections without one, and those of other peers; `accepted` takes
    /// one where it comes. Not of UDP. Default: none, a header is taken for the client's bytes.
    pub proxy_protocol: Option<ProxyHeaderPolicy>,
    /// Connections at once, over all workers; of UDP, sessions. Default: 10000.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Of UDP: a session ends once its endpoint has answered each of the client's datagrams so
    /// often. `1` for DNS, whose clients ask from a new port each time. Default: none, a session
    /// ends when nothing has moved for `timeouts.session_idle`.
    #[schemars(range(min = 1))]
    pub responses: Option<u32>,
    /// Size of a request head, 1KiB to 1MiB. Default: 16KiB.
    #[schemars(extend("x-least" = 1024, "x-most" = 1_048_576))]
    pub max_head_size: Option<Size>,
    /// Number of fields in a request head. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_fields: Option<u16>,
    /// Whether `Forwarded` (RFC 7239) is sent to endpoints beside X-Forwarded-*. Default: false.
    pub forwarded: Option<bool>,
    /// Whether plain HTTP ends here: what comes without TLS is sent to `https://` with 308, but for
    /// what a route takes that names this listener. A trusted proxy's `X-Forwarded-Proto: https`
    /// counts as TLS, and so does its PROXY header that tells of TLS; such requests get the other
    /// routes too. Default: false.
    pub redirect_to_https: Option<bool>,
    /// The port that `redirect_to_https` leads to. Default: 443.
    #[schemars(range(min = 1))]
    pub https_port: Option<u16>,
    /// TLS, which ends here. Default: none, what comes is plain text.
    pub tls: Option<Tls>,
    /// HTTP/2, where `protocols` has it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http2: ListenerHttp2,
    /// Limits on its connections, by client and by time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ListenerLimits,
    /// Options of its sockets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub socket: ListenerSocket,
    /// Time limits of this listener: `request_head`, `client_idle`, `body_idle`, and
    /// `tls_handshake` beside `tls` or with routes that have a `server_name`, `proxy_header` beside
    /// `proxy_protocol`. Of TCP, `first_byte`, `tunnel_idle` and `tunnel_max_age` beside those two;
    /// of UDP, `session_idle` alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// Peers that are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Those of a network.
    Network(IpNet),
    /// Those that come by a Unix socket.
    Unix,
}

/// Whose requests come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Those of others, for the application.
    Inbound,
    /// Those of the application, for others.
    Outbound,
}

/// Which connections of a listener begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeaderPolicy {
    /// All of them.
    Required,
    /// Some, of trusted peers.
    Accepted,
}

/// A protocol that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 within TLS, agreed on by ALPN.
    #[serde(rename = "h2")]
    H2,
    /// HTTP/2 without TLS, from clients that know beforehand.
    #[serde(rename = "h2c")]
    H2c,
    /// Bytes, unread.
    #[serde(rename = "tcp")]
    Tcp,
    /// Datagrams, unread.
    #[serde(rename = "udp")]
    Udp,
}

/// How a firewall brings connections to a listener that were made to other addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Intercept {
    /// Their destination is rewritten (REDIRECT), and the kernel remembers the original one.
    Redirect,
    /// They keep their destination, and are handed to a socket that takes any (TPROXY).
    Tproxy,
}

impl Listener {
    /// Whether it relays what comes, unread: over TCP or UDP.
    pub fn relays(&self) -> bool {
        let protocols = self.protocols.as_deref().unwrap_or_default();
        protocols.contains(&Protocol::Tcp) || self.is_udp()
    }

    /// Whether datagrams come, and no connections.
    pub fn is_udp(&self) -> bool {
        let protocols = self.protocols.as_deref().unwrap_or_default();
        protocols.contains(&Protocol::Udp)
    }
}

impl FromStr for TrustedProxy {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        text.parse().map(Self::Network)
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for TrustedProxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
