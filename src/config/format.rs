//! The file format as plain data: what a person wrote, before any of it means something.
//!
//! Every doc comment here is a line of the reference page and of the JSON Schema. `Option` means
//! "not written": the owner of a setting knows its default (each names it below).

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{Ratio, Size, Time};

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of the format. Only `1` exists.
    pub version: Option<u32>,
    /// Data-plane threads. Default: the CPUs that the cgroup quota and the affinity mask allow.
    pub workers: Option<u16>,
    /// The zone (failure domain) that this instance stands in.
    pub zone: Option<String>,
    /// Further files, as globs relative to this one.
    #[serde(default)]
    pub include: Vec<String>,
    /// Where the instance is looked at and controlled.
    #[serde(default)]
    pub admin: Admin,
    /// The access log and the program's own log.
    #[serde(default)]
    pub log: Log,
    /// What happens after SIGTERM.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// Settings that listeners, routes and upstreams inherit.
    #[serde(default)]
    pub defaults: Defaults,
    /// Addresses that accept connections, by name.
    #[serde(default)]
    pub listener: BTreeMap<String, Listener>,
    /// What happens to which requests, by name.
    #[serde(default)]
    pub route: BTreeMap<String, Route>,
    /// Named groups of endpoints.
    #[serde(default)]
    pub upstream: BTreeMap<String, Upstream>,
    /// What must hold; `evenkeel check` and every reload run these.
    #[serde(default)]
    pub test: Vec<RouteTest>,
}

/// `[admin]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Path of the Unix socket through which the CLI does everything.
    pub socket: Option<PathBuf>,
    /// Address for probes, metrics and reading; GET only.
    pub http: Option<String>,
}

/// `[log]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Whether requests are logged. Default: true.
    pub access: Option<bool>,
    /// Form of the access log's lines. Default: json.
    pub format: Option<LogFormat>,
    /// Where log lines go: `stdout`, `stderr` or a file's path. Default: stdout.
    pub output: Option<String>,
    /// The least severe event that is logged. Default: info.
    pub level: Option<LogLevel>,
    /// Whether `url.query` is part of the access log. Default: false, since queries carry secrets.
    pub query: Option<bool>,
}

/// Form of a line of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}

/// Severity of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// What may need one soon.
    Warn,
    /// Changes of state.
    Info,
    /// Each step; for finding faults.
    Debug,
    /// Everything.
    Trace,
}

/// `[shutdown]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long accepting goes on after SIGTERM, while others learn to stay away. Default: 5s.
    pub grace: Option<Time>,
    /// How long requests and connections may take to end afterwards. Default: 30s.
    pub drain: Option<Time>,
}

/// `[defaults]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Time limits; a listener, upstream or route may set its own.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Time limits. All but `request` are about progress: every byte that moves starts them afresh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// From the first byte of a request to the end of its head. Default: 10s.
    pub request_head: Option<Time>,
    /// A client connection without a request. Default: 75s.
    pub client_idle: Option<Time>,
    /// A body, in either direction, of which nothing moves. Default: 60s.
    pub body_idle: Option<Time>,
    /// Until a connection to an endpoint stands. Default: 3s.
    pub connect: Option<Time>,
    /// From the end of the request to the head of the response. Default: 30s.
    pub response_head: Option<Time>,
    /// The whole request, from its head to the last byte of the response. Default: none.
    pub request: Option<Time>,
    /// How long an idle connection to an endpoint is kept, until the endpoint's own idle close time
    /// has been learned. Default: 4s.
    pub upstream_idle: Option<Time>,
    /// A TCP connection or upgraded connection on which nothing moves. Default: 1h.
    pub tunnel_idle: Option<Time>,
}

/// `[listener.<name>]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address to accept on: `:8080` (every address, IPv6 and IPv4), `10.0.0.1:80`, `[::1]:80`.
    pub bind: String,
    /// What is spoken here. Default: `["http/1.1"]`. `["tcp"]` relays bytes to `upstream`.
    pub protocols: Option<Vec<Protocol>>,
    /// Shorthand: endpoints of an unnamed upstream that gets everything.
    #[serde(default)]
    pub to: Vec<EndpointEntry>,
    /// The upstream that gets everything which no route takes.
    pub upstream: Option<String>,
    /// Peers whose forwarding fields (X-Forwarded-*, Forwarded, X-Request-Id) are believed.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at once, over all workers. Default: 10000.
    pub max_connections: Option<u32>,
    /// Size of a request head. Default: 16KiB.
    pub max_head_size: Option<Size>,
    /// Number of fields in a request head. Default: 100.
    pub max_fields: Option<u16>,
    /// Whether `Forwarded` (RFC 7239) is sent to endpoints beside X-Forwarded-*. Default: false.
    pub forwarded: Option<bool>,
    /// Time limits of this listener: `request_head`, `client_idle`, `body_idle`, `tunnel_idle`.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// A protocol that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http1,
    /// Bytes, unread.
    #[serde(rename = "tcp")]
    Tcp,
}

/// `[route.<name>]`: which requests, and what happens to them. The most specific match wins.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The listener whose requests are meant. Default: every HTTP listener.
    pub listener: Option<String>,
    /// Hosts: `api.example.com`, or `*.example.com` for every name below. Default: every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path: `/v1/` a prefix that ends on segment borders, `=/v1/ping` exact, `~^/v[0-9]+/` a regular
    /// expression. Default: `/`.
    pub path: Option<String>,
    /// Methods. Default: every method but CONNECT.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Fields that the request must have: a value, `~regex`, or `*` for any value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters that the request must have: a value, `~regex`, or `*` for any value.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Action: forward to this upstream.
    pub upstream: Option<String>,
    /// Action: forward to one of several upstreams, by weight.
    #[serde(default)]
    pub split: BTreeMap<String, u32>,
    /// Action: answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Action: answer with a fixed response.
    pub respond: Option<Respond>,
    /// Changes to what is asked for.
    #[serde(default)]
    pub rewrite: Rewrite,
    /// Changes to the request's fields.
    #[serde(default)]
    pub request_headers: FieldEdits,
    /// Changes to the response's fields.
    #[serde(default)]
    pub response_headers: FieldEdits,
    /// Time limits: `request`, `connect`, `response_head`, `body_idle`, `tunnel_idle`.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How a failed attempt is repeated.
    #[serde(default)]
    pub retry: Retry,
    /// Whether CONNECT opens a tunnel to an endpoint of the upstream. Default: false.
    pub connect: Option<bool>,
}

/// A redirect. What is left out is kept from the request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default: 308.
    pub status: Option<u16>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host of the target.
    pub host: Option<String>,
    /// Port of the target.
    pub port: Option<u16>,
    /// Path of the target; the query is kept.
    pub path: Option<String>,
}

/// A fixed response.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// Status code, 200 to 599. Default: 200.
    pub status: Option<u16>,
    /// Body. Default: empty.
    pub body: Option<String>,
    /// Media type of the body. Default: `text/plain; charset=utf-8`.
    pub content_type: Option<String>,
}

/// Changes to the target and the host of a request before it is forwarded.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Whether the route's path prefix is taken off. Default: false.
    pub strip_prefix: Option<bool>,
    /// What replaces the route's path prefix.
    pub replace_prefix: Option<String>,
    /// What replaces the host.
    pub host: Option<String>,
}

/// Changes to fields, carried out in the order remove, set, add.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldEdits {
    /// Fields that get this value, whatever was there.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Fields that are added beside what was there.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Fields that are taken out.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// How a failed attempt is repeated: a connection failure when nothing was sent, or a connection
/// that closed before a byte of the response to a request that may be repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, 1 to 10. Default: 2, which is one retry.
    pub attempts: Option<u8>,
    /// Limit of a single attempt until the response head. Default: none.
    pub per_try_timeout: Option<Time>,
}

/// `[upstream.<name>]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// How an endpoint is picked. Default: `power_of_two`.
    pub balance: Option<Balance>,
    /// Endpoints without a zone.
    #[serde(default)]
    pub endpoints: Vec<EndpointEntry>,
    /// Endpoints by zone.
    #[serde(default)]
    pub zone: BTreeMap<String, Zone>,
    /// Active health checks. Default: none.
    pub health: Option<Health>,
    /// Endpoints that are needed for the load; checked against the loss of each zone.
    pub min_healthy: Option<u32>,
    /// Requests in flight at one endpoint. Default: no limit.
    pub max_in_flight_per_endpoint: Option<u32>,
    /// Connections to one endpoint, over all workers. Default: no limit.
    pub max_connections_per_endpoint: Option<u32>,
    /// Idle connections kept per endpoint and worker. Default: 256.
    pub max_idle_per_endpoint: Option<u32>,
    /// Share of healthy endpoints below which health is ignored. Default: 50%.
    pub panic_threshold: Option<Ratio>,
    /// Time limits: `connect`, `response_head`, `upstream_idle`, `body_idle`, `tunnel_idle`.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// `[upstream.<name>.zone.<zone>]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Endpoints in this zone.
    pub endpoints: Vec<EndpointEntry>,
}

/// An endpoint: an address, or a table with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EndpointEntry {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    Address(String),
    /// With settings.
    Detailed(EndpointDetails),
}

/// Settings of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointDetails {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    pub address: String,
    /// Share of the traffic against other endpoints, 1 to 1000. Default: 1.
    pub weight: Option<u32>,
    /// Whether it is used only when no other is healthy. Default: false.
    pub backup: Option<bool>,
    /// Requests in flight here. Default: the upstream's limit.
    pub max_in_flight: Option<u32>,
    /// Connections here, over all workers. Default: the upstream's limit.
    pub max_connections: Option<u32>,
}

/// Algorithm that picks an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, interleaved by weight.
    RoundRobin,
    /// The one with the fewest requests in flight per weight.
    LeastConnections,
    /// The better of two random ones.
    #[default]
    PowerOfTwo,
    /// Any, by weight.
    Random,
    /// The first healthy one in the order of the file.
    FirstHealthy,
}

/// Active health checks. Exactly one of `http` and `tcp`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Ask for a resource.
    pub http: Option<HealthHttp>,
    /// Connect.
    pub tcp: Option<HealthTcp>,
    /// Time between two probes, ± 20 % jitter. Default: 2s.
    pub interval: Option<Time>,
    /// Limit of one probe. Default: 1s.
    pub timeout: Option<Time>,
    /// Good probes in a row that make it healthy. Default: 2.
    pub healthy_after: Option<u32>,
    /// Bad probes in a row that make it unhealthy. Default: 3.
    pub unhealthy_after: Option<u32>,
    /// Port to probe. Default: the endpoint's own.
    pub port: Option<u16>,
}

/// An HTTP probe.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthHttp {
    /// Path and query. Default: `/`.
    pub path: Option<String>,
    /// `GET`, `HEAD` or `OPTIONS`. Default: GET.
    pub method: Option<String>,
    /// Host field. Default: the endpoint's address.
    pub host: Option<String>,
    /// Statuses that are good: `200`, `"2xx"`, `"200-399"`. Default: 200 to 399.
    #[serde(default)]
    pub status: Vec<StatusPattern>,
    /// Further fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A TCP probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthTcp {}

/// Statuses: one, a class or a range.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusPattern {
    /// One status.
    Code(u16),
    /// `"2xx"` or `"200-399"`.
    Range(String),
}

/// `[[test]]`: a request, and what must happen to it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTest {
    /// Method and URL: `GET https://api.example.com/v1/users`.
    pub request: String,
    /// Fields of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The listener that gets it. Default: any that has the route.
    pub listener: Option<String>,
    /// What must hold.
    pub expect: RouteExpectation,
}

/// What must hold for a `[[test]]`. What is left out is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteExpectation {
    /// Name of the route that wins.
    pub route: Option<String>,
    /// Upstream that it goes to (one of them, for a split).
    pub upstream: Option<String>,
    /// Status of a redirect, a fixed response or a refusal (404 where no route matches).
    pub status: Option<u16>,
    /// `Location` of a redirect.
    pub location: Option<String>,
}
