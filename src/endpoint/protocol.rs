//! What an endpoint is spoken to in, and how its HTTP/2 connections are kept.

use std::time::Duration;

use crate::config::{self, Size, Time, UpstreamProtocol};

/// What an endpoint is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: agreed on in TLS, or known to be spoken where there is none.
    Http2,
    /// What the endpoint chooses in TLS.
    Either,
}

/// How the HTTP/2 connections to an endpoint are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Streams on one connection, where the endpoint allows as many.
    pub max_streams: u32,
    /// Bytes of one response's body that may come and not be taken.
    pub stream_window: u32,
    /// Bytes of all of them that may be on their way.
    pub connection_window: u32,
    /// When nothing came for so long while streams are open, the endpoint is asked whether it is
    /// there.
    pub keepalive_interval: Duration,
    /// How long it may take to say so.
    pub keepalive_timeout: Duration,
}

impl Protocol {
    /// What the author of an upstream wants. There is nothing to choose without TLS.
    pub fn new(written: &config::Upstream) -> Self {
        match written.protocol.unwrap_or_default() {
            UpstreamProtocol::Auto if written.tls.is_some() => Self::Either,
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => Self::Http1,
            UpstreamProtocol::H2 | UpstreamProtocol::H2c => Self::Http2,
        }
    }
}

impl Http2 {
    /// What the author of an upstream wants.
    pub fn new(written: &config::Upstream) -> Self {
        let (written, default) = (&written.http2, Self::default());
        let time = |time: Option<Time>, default| time.map_or(default, |time| time.0);
        Self {
            max_streams: written.max_streams.unwrap_or(default.max_streams).max(1),
            stream_window: window(written.stream_window, default.stream_window),
            connection_window: window(written.connection_window, default.connection_window),
            keepalive_interval: time(written.keepalive_interval, default.keepalive_interval),
            keepalive_timeout: time(written.keepalive_timeout, default.keepalive_timeout),
        }
    }

    /// Whether a connection that was opened with these settings is kept as the others say. The
    /// number of streams is looked up with each.
    pub fn is_as(&self, other: &Self) -> bool {
        let max_streams = other.max_streams;
        Self {
            max_streams,
            ..*self
        } == *other
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_streams: MAX_STREAMS,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}

/// A window, within what the protocol can say (RFC 9113 §6.9.1).
fn window(written: Option<Size>, default: u32) -> u32 {
    let size = written.map_or(u64::from(default), |size| size.0);
    u32::try_from(size.min(LARGEST_WINDOW)).unwrap_or(default)
}

/// RFC 9113 §6.9.1.
const LARGEST_WINDOW: u64 = (1 << 31) - 1;

/// What most servers allow, and the least that RFC 9113 §6.5.2 recommends.
const MAX_STREAMS: u32 = 100;

/// What the protocol begins with: enough for 5 Gbit/s within a data centre (0.1 ms there and back).
const STREAM_WINDOW: u32 = 64 * 1024;

/// All streams together, on their way.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Beyond the 5 minutes that servers of gRPC want between a PING and the next where they have sent
/// nothing: they count those that come earlier, and at the third they end the connection, with all
/// its calls (gRPC A8, `too_many_pings`). An endpoint that is gone is found earlier all the same:
/// by a request that waits in vain, and by the kernel's probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(6);

/// An endpoint that is busy answers late, but not that late.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
