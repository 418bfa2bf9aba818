//! `[upstream.<name>]` as it is written.

use std::collections::BTreeMap;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Outlier, RetryBudget, Sticky, Timeouts, UpstreamHttp2, UpstreamSocket, UpstreamTls, is_default,
};
use crate::config::units::{Factor, Ratio, Time};

/// `[upstream.<name>]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// How an endpoint is picked. Default: `power_of_two`.
    pub balance: Option<Balance>,
    /// What ties requests to an endpoint where `balance` is `ring_hash` or `maglev`:
    /// `client_address`, which is that behind `trusted_proxies`, `field:<name>`, `cookie:<name>`,
    /// `query:<name>`, or `path`. What has no such thing goes to any endpoint. Over TCP and UDP
    /// there is the address only. Default: `client_address`.
    #[schemars(extend(
        "format" = "x-hash-key",
        "examples" = ["client_address", "field:x-user", "cookie:session", "query:id", "path"]
    ))]
    pub hash_by: Option<String>,
    /// What an endpoint may carry against its share of what is in flight, where `balance` is
    /// `ring_hash` or `maglev`: what is beyond that goes to the next one in an order that follows
    /// from the key. Default: 125%.
    pub max_load: Option<Factor>,
    /// How long endpoints that are new, or back, take to get their whole share, which begins at a
    /// tenth; so does what they may have in flight, where that is limited. Where all are new,
    /// nobody is held back. `0s` gives all at once. Default: 10s.
    #[schemars(extend("x-zero" = true))]
    pub slow_start: Option<Time>,
    /// A cookie that ties clients to endpoints. Default: none.
    pub sticky: Option<Sticky>,
    /// Endpoints without a zone; or `original_dst`: wherever a connection was going that was
    /// brought here by a listener with `intercept`, within `allowed`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub endpoints: Endpoints,
    /// Networks that `endpoints = "original_dst"` may lead to.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(
        with = "Vec<String>",
        extend("items" = {"type": "string", "format": "x-network"}, "examples" = [["10.0.0.0/8"]])
    )]
    pub allowed: Vec<IpNet>,
    /// Endpoints by zone (failure domain).
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("propertyNames" = {"format": "x-name"}))]
    pub zone: BTreeMap<String, Zone>,
    /// Active health checks. Default: none.
    pub health: Option<Health>,
    /// TLS towards the endpoints, of checks as well. Default: none, they are spoken to in plain
    /// text.
    pub tls: Option<UpstreamTls>,
    /// What endpoints are spoken to in: `http1` (HTTP/1.1), `h2` (HTTP/2, needs `tls`), `h2c`
    /// (HTTP/2 without `tls`), or `auto`: with `tls` what the endpoint chooses of both, else
    /// HTTP/1.1. With HTTP/2 the requests of a worker share connections. Default: http1.
    pub protocol: Option<UpstreamProtocol>,
    /// The version of the PROXY header that endpoints are sent before all else (before TLS as
    /// well), to tell them who the client is: `v1`, or `v2`, which also tells of the client's TLS,
    /// and is sent before each datagram over UDP. Health checks say that they are for nobody.
    /// Connections serve one client's requests only. Default: none.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// HTTP/2, where `protocol` allows it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http2: UpstreamHttp2,
    /// Options of the sockets to its endpoints.
    #[serde(default, skip_serializing_if = "is_default")]
    pub socket: UpstreamSocket,
    /// Endpoints that are needed for the load; checked against the loss of each
    /// zone. Default: none.
    #[schemars(range(min = 1))]
    pub min_healthy: Option<u32>,
    /// Requests and tunnels in flight at all endpoints together, over all workers. Beyond it
    /// requests wait as `queue` says. Default: no limit.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
    /// Requests in flight at one endpoint. While all endpoints have as many, requests wait as
    /// `queue` says. Default: no limit.
    #[schemars(range(min = 1))]
    pub max_in_flight_per_endpoint: Option<u32>,
    /// Connections to one endpoint, over all workers, probes not counted. Idle ones make room for a
    /// request, whichever worker keeps them. While all are in use, requests go to other endpoints,
    /// or wait as `queue` says; TCP sessions wait as long as `connect` says for one that ends.
    /// Default: no limit.
    #[schemars(range(min = 1))]
    pub max_connections_per_endpoint: Option<u32>,
    /// Bounds retries and hedges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_budget: RetryBudget,
    /// How requests wait that find every endpoint at its limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue: UpstreamQueue,
    /// Idle connections kept per endpoint and worker; 0 keeps none. Default: 256.
    pub max_idle_per_endpoint: Option<u32>,
    /// Share of healthy endpoints below which health is ignored; `0%` never ignores
    /// it. Default: 50%.
    pub panic_threshold: Option<Ratio>,
    /// What becomes of endpoints whose requests fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outlier: Outlier,
    /// What becomes of TCP connections and upgraded connections to an endpoint that a reload or a
    /// change of addresses takes out: with `drain` they may go on for as long as `drain` says, with
    /// `close` they end at once. Requests under way end by themselves. Default: drain.
    pub on_removed: Option<OnRemoved>,
    /// How long they may go on. Default: no limit.
    pub drain: Option<Time>,
    /// Time limits: `connect`, `response_head`, `upstream_idle`, `body_idle`, `tunnel_idle`,
    /// `tunnel_max_age`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// `[upstream.<name>.queue]`: requests that find every endpoint, or the upstream, at its limits
/// wait for room. Clients take turns. Once somebody has waited for all of `wait` in vain, the
/// newest is first, until nobody has waited for half of it. Who waits in vain is answered 503.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamQueue {
    /// Requests that may wait at once, over all workers; 0 for none. Default: 1024.
    pub size: Option<u32>,
    /// How long one may wait, over all its attempts; `0s` for not at all. Default: 1s.
    #[schemars(extend("x-zero" = true))]
    pub wait: Option<Time>,
}

/// `[upstream.<name>.zone.<zone>]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Endpoints in this zone.
    pub endpoints: Vec<EndpointEntry>,
}

/// The endpoints of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoints {
    /// Those that are listed.
    Listed(Vec<EndpointEntry>),
    /// Others.
    Other(OtherEndpoints),
}

/// Endpoints that nobody lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherEndpoints {
    /// Wherever a connection was going that the firewall brought here.
    OriginalDst,
}

/// An endpoint: an address, or a table with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EndpointEntry {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    #[schemars(extend(
        "format" = "x-address",
        "examples" = ["10.0.0.11:8080", "api.internal:8080", "unix:/run/app.sock"]
    ))]
    Address(String),
    /// With settings.
    Detailed(EndpointDetails),
}

/// Settings of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointDetails {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    #[schemars(extend("format" = "x-address"))]
    pub address: String,
    /// Share of the traffic against other endpoints, 1 to 1000. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u32>,
    /// Whether it is used only when no other is healthy. Default: false.
    pub backup: Option<bool>,
    /// Requests in flight here. Default: the upstream's limit.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
    /// Connections here, over all workers. Default: the upstream's limit.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
}

/// Algorithm that picks an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, interleaved by weight.
    RoundRobin,
    /// The one with the fewest requests in flight per weight; of more than 64 endpoints, the best
    /// of four random ones. Failures, and answers that are far too late, count as requests in
    /// flight for some seconds.
    LeastConnections,
    /// The better of two random ones, by requests in flight, failures and answers that are far
    /// too late.
    #[default]
    PowerOfTwo,
    /// The better of two random ones, by how long they take to answer as well.
    PeakEwma,
    /// Any, by weight.
    Random,
    /// The first healthy one in the order of the file: endpoints without a zone,
    /// then zones by name.
    FirstHealthy,
    /// By a hash of what `hash_by` says: the same gets the same endpoint, at every instance, and
    /// when endpoints come or go, exactly that moves which has to.
    RingHash,
    /// The same with more even shares, while a few others move as well.
    Maglev,
}

/// What becomes of the connections to an endpoint that is taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRemoved {
    /// They may go on for as long as `drain` says.
    #[default]
    Drain,
    /// They end at once.
    Close,
}

/// What endpoints are spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, agreed on in TLS.
    H2,
    /// HTTP/2, known to be spoken, without TLS.
    H2c,
    /// What the endpoint chooses in TLS; without, HTTP/1.1.
    Auto,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// A block of bytes.
    V2,
}

/// Active health checks. Exactly one of `http`, `grpc`, `tcp` and `udp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Ask for a resource.
    pub http: Option<HealthHttp>,
    /// Ask the gRPC health service (`grpc.health.v1.Health/Check`), where `protocol` is `h2`, `h2c`
    /// or `auto`: `grpc = {}`.
    pub grpc: Option<HealthGrpc>,
    /// Connect, with the handshake where the upstream has `tls`: `tcp = {}`.
    pub tcp: Option<HealthTcp>,
    /// Send a datagram and wait for an answer.
    pub udp: Option<HealthUdp>,
    /// Time between two probes, ± 20 % jitter. Default: 2s.
    pub interval: Option<Time>,
    /// Limit of one probe. Default: 1s.
    pub timeout: Option<Time>,
    /// Good probes in a row that make it healthy. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_after: Option<u32>,
    /// Bad probes in a row that make it unhealthy. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_after: Option<u32>,
    /// Port to probe. Default: the endpoint's own.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
}

/// An HTTP probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthHttp {
    /// Path and query. Default: `/`.
    #[schemars(extend("format" = "x-target", "examples" = ["/healthz"]))]
    pub path: Option<String>,
    /// `GET`, `HEAD` or `OPTIONS`. Default: GET.
    #[schemars(extend("enum" = ["GET", "HEAD", "OPTIONS"]))]
    pub method: Option<String>,
    /// Host field. Default: the endpoint's address.
    #[schemars(extend("format" = "x-authority"))]
    pub host: Option<String>,
    /// Statuses that are good: `200`, `"2xx"`, `"200-399"`. Default: 200 to 399.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [[200, "3xx"]]))]
    pub status: Vec<StatusPattern>,
    /// Further fields.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "propertyNames" = {"format": "x-field-name"},
        "additionalProperties" = {"type": "string", "format": "x-field-value"}
    ))]
    pub headers: BTreeMap<String, String>,
}

/// A gRPC probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthGrpc {
    /// The service that is asked about, as the server knows it. Default: the server as a whole.
    #[schemars(extend("format" = "x-grpc-service", "examples" = ["shop.v1.Orders"]))]
    pub service: Option<String>,
    /// `:authority`. Default: the endpoint's address.
    #[schemars(extend("format" = "x-authority"))]
    pub host: Option<String>,
}

/// A TCP probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthTcp {}

/// A UDP probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthUdp {
    /// What is sent: text, with `\n`, `\r`, `\t`, `\0`, `\\` and `\x` with two digits for bytes
    /// that cannot be written (in single quotes, where TOML leaves them alone), or `hex:` with the
    /// digits of all bytes.
    #[schemars(extend("format" = "x-octets", "examples" = ["ping", "hex: 1f2e 0100 0001"]))]
    pub send: String,
    /// What the answer begins with, in the same form; `??` among the digits stands for any byte.
    /// With `contains:` before it, what is somewhere in the answer. Default: any answer is good.
    #[schemars(extend(
        "format" = "x-octet-pattern",
        "examples" = ["pong", "hex: 1f2e ??80", "contains:ready"]
    ))]
    pub expect: Option<String>,
}

/// Statuses: one, a class or a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusPattern {
    /// One status.
    Code(#[schemars(range(min = 100, max = 599))] u16),
    /// `"2xx"` or `"200-399"`.
    #[schemars(extend("format" = "x-status-pattern"))]
    Range(String),
}

impl Endpoints {
    /// Those that are listed; none if they are wherever connections were going.
    pub fn listed(&self) -> &[EndpointEntry] {
        match self {
            Self::Listed(entries) => entries,
            Self::Other(OtherEndpoints::OriginalDst) => &[],
        }
    }

    /// Whether they are wherever connections were going.
    pub fn are_destinations(&self) -> bool {
        match self {
            Self::Listed(_) => false,
            Self::Other(OtherEndpoints::OriginalDst) => true,
        }
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl From<Vec<EndpointEntry>> for Endpoints {
    fn from(entries: Vec<EndpointEntry>) -> Self {
        Self::Listed(entries)
    }
}
