//! `[listener.<name>.http2]` and `[upstream.<name>.http2]` as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Size, Time};

/// `[listener.<name>.http2]`: what clients that speak HTTP/2 are allowed, each on one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerHttp2 {
    /// Requests at once on a connection; further ones are refused unprocessed. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_streams: Option<u32>,
    /// Bytes of one request's body that wait here for an endpoint to take them, 16KiB to 16MiB:
    /// more lets a distant client send faster, and costs memory. Default: 64KiB.
    #[schemars(extend("x-least" = 16_384, "x-most" = 16_777_216))]
    pub stream_window: Option<Size>,
    /// Bytes of all bodies of a connection that may be on their way here, 64KiB to 256MiB, and at
    /// least `stream_window`. What has come does not count: a body that nobody takes holds back no
    /// other. Default: 1MiB.
    #[schemars(extend("x-least" = 65_536, "x-most" = 268_435_456))]
    pub connection_window: Option<Size>,
    /// Nothing came for so long while requests are under way: PING asks whether the client is still
    /// there. Default: 30s.
    pub keepalive_interval: Option<Time>,
    /// How long the answer to that may take, before the connection is given up. Default: 10s.
    pub keepalive_timeout: Option<Time>,
    /// How old a connection may become, less up to a tenth at random: then its requests end, and
    /// new ones go to another one. So clients spread over instances that were added. Default: no
    /// limit.
    pub max_age: Option<Time>,
    /// Whether WebSocket may be asked for over HTTP/2 (extended CONNECT, RFC 8441). Routes see a
    /// GET, as in HTTP/1.1. Default: false.
    pub websocket: Option<bool>,
}

/// `[upstream.<name>.http2]`: how connections to endpoints that speak HTTP/2 are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamHttp2 {
    /// Requests at once on a connection, if the endpoint allows as many; for more there is another
    /// connection. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_streams: Option<u32>,
    /// Bytes of one response's body that wait here for the client to take them, 16KiB to 16MiB.
    /// Default: 64KiB.
    #[schemars(extend("x-least" = 16_384, "x-most" = 16_777_216))]
    pub stream_window: Option<Size>,
    /// Bytes of all bodies of a connection that may be on their way here, 64KiB to 256MiB, and at
    /// least `stream_window`. What has come does not count: a body that nobody takes holds back no
    /// other. Default: 1MiB.
    #[schemars(extend("x-least" = 65_536, "x-most" = 268_435_456))]
    pub connection_window: Option<Size>,
    /// Nothing came for so long while requests are under way: PING asks whether the endpoint is
    /// still there. Servers of gRPC end connections on which they are asked more often than every
    /// 5 minutes, unless they are set up for it. Default: 6m.
    pub keepalive_interval: Option<Time>,
    /// How long the answer to that may take, before the connection is given up. Default: 10s.
    pub keepalive_timeout: Option<Time>,
}
