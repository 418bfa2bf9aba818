//! Time limits as they are meant: the nearest setting wins, and every limit has a default.

use std::time::Duration;

use crate::config::{Time, Timeouts};

/// Limits on what a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// Without a request.
    pub idle: Duration,
    /// A body of which nothing moves.
    pub body_idle: Duration,
}

/// Limits on a call to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub response_head: Duration,
    /// A body of which nothing moves, if that is said of the route or the upstream; or else it is
    /// the listener's.
    pub body_idle: Option<Duration>,
    /// An upgraded or TCP connection on which nothing moves.
    pub tunnel_idle: Duration,
    /// An upgraded or TCP connection at all, if that is limited.
    pub tunnel_max_age: Option<Duration>,
    /// A TCP connection of which nothing has come yet, from either side.
    pub first_byte: Duration,
    /// An idle connection is kept this long, or under the endpoint's own time if that is shorter.
    pub upstream_idle: Duration,
    /// The same, of a connection that requests share.
    pub shared_idle: Duration,
    /// The whole request.
    pub request: Option<Duration>,
}

/// Limits of one tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelTimeouts {
    /// The longest time without a byte in either direction.
    pub idle: Duration,
    /// The longest time at all, if it is limited.
    pub max_age: Option<Duration>,
    /// The longest time to the first byte in either direction, where none was read before.
    pub first_byte: Option<Duration>,
}

impl ClientTimeouts {
    /// The limits of a listener.
    pub fn new(listener: &Timeouts, defaults: &Timeouts) -> Self {
        let limit = |pick: fn(&Timeouts) -> Option<Time>, default| {
            nearest(pick, &[listener, defaults]).unwrap_or(default)
        };
        Self {
            request_head: limit(|t| t.request_head, REQUEST_HEAD),
            idle: limit(|t| t.client_idle, CLIENT_IDLE),
            body_idle: limit(|t| t.body_idle, BODY_IDLE),
        }
    }
}

impl CallTimeouts {
    /// The limits of a call by a route, or by a TCP listener, to an upstream.
    pub fn new(route: &Timeouts, upstream: &Timeouts, defaults: &Timeouts) -> Self {
        let order = [route, upstream, defaults];
        let limit =
            |pick: fn(&Timeouts) -> Option<Time>, default| nearest(pick, &order).unwrap_or(default);
        Self {
            connect: limit(|t| t.connect, CONNECT),
            response_head: limit(|t| t.response_head, RESPONSE_HEAD),
            body_idle: nearest(|t| t.body_idle, &[route, upstream]),
            tunnel_idle: limit(|t| t.tunnel_idle, TUNNEL_IDLE),
            tunnel_max_age: nearest(|t| t.tunnel_max_age, &order),
            first_byte: limit(|t| t.first_byte, FIRST_BYTE),
            upstream_idle: limit(|t| t.upstream_idle, UPSTREAM_IDLE),
            shared_idle: limit(|t| t.upstream_idle, SHARED_IDLE),
            request: nearest(|t| t.request, &order),
        }
    }

    /// The limits of a tunnel that begins now.
    pub fn tunnel(&self, random: &mut fastrand::Rng) -> TunnelTimeouts {
        let spread = 1.0 - AGE_SPREAD * random.f64();
        TunnelTimeouts {
            idle: self.tunnel_idle,
            max_age: self.tunnel_max_age.map(|age| age.mul_f64(spread)),
            first_byte: None,
        }
    }
}

/// The limit of a handshake: the listener's, or the default one.
pub(super) fn tls_handshake(order: [&Timeouts; 2]) -> Duration {
    nearest(|t| t.tls_handshake, &order).unwrap_or(TLS_HANDSHAKE)
}

/// The limit of a PROXY header: the listener's, or the default one.
pub(super) fn proxy_header(order: [&Timeouts; 2]) -> Duration {
    nearest(|t| t.proxy_header, &order).unwrap_or(PROXY_HEADER)
}

/// The limit of a UDP session in which nothing moves.
pub(super) fn session_idle(order: [&Timeouts; 2]) -> Duration {
    nearest(|t| t.session_idle, &order).unwrap_or(SESSION_IDLE)
}

fn nearest(pick: fn(&Timeouts) -> Option<Time>, order: &[&Timeouts]) -> Option<Duration> {
    order
        .iter()
        .find_map(|timeouts| pick(timeouts))
        .map(|time| time.0)
}

/// Two round trips, and a device that is slow at arithmetic.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// A proxy sends it at once, with what it has to say anyway; a lost packet is repeated after a
/// second.
const PROXY_HEADER: Duration = Duration::from_secs(3);

/// A head is small: who needs longer is stalling on purpose.
const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// nginx's default; browsers close at about the same time, so few connections are lost to a race.
const CLIENT_IDLE: Duration = Duration::from_secs(75);

/// Progress resets it, so that it bounds stalls and not sizes.
const BODY_IDLE: Duration = Duration::from_mins(1);

/// One lost SYN is repeated after a second; two are within the limit.
const CONNECT: Duration = Duration::from_secs(3);

/// Long enough for a slow report, short enough for a person who waits.
const RESPONSE_HEAD: Duration = Duration::from_secs(30);

/// Databases and WebSockets are silent for long; keepalive probes find dead peers earlier.
const TUNNEL_IDLE: Duration = Duration::from_hours(1);

/// What began together, at a start or a failover, would else end together for ever after.
const AGE_SPREAD: f64 = 0.1;
/// A client that opens connections before it needs them (pools do) has some minutes; one that is
/// stuck, or holds on to what others need, does not have the hour of those that have spoken.
const FIRST_BYTE: Duration = Duration::from_mins(5);

/// A question and its answer take a second; who keeps a session for longer keeps it alive, as the
/// middleboxes on his way want it too (QUIC: every 15 to 30 s).
const SESSION_IDLE: Duration = Duration::from_mins(1);

/// Below the 5 s of Node.js, the shortest idle close time that is common.
const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// An endpoint that ends a shared connection says so first, so that no request is lost to a race.
const SHARED_IDLE: Duration = Duration::from_mins(1);
