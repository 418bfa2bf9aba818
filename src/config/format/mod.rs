//! The file format as plain data: what a person wrote, before any of it means something.
//!
//! Every doc comment here is a line of the reference page and of the JSON Schema, and a sentence
//! `Default: …` in it is the documented default. `Option` means "not written": the owner of a
//! setting holds its default. The marks `format = "x-…"` tell the checker which syntax a
//! string has to have.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secrets::Secrets;
use super::show::show;
use super::units::Time;

mod http2;
mod instance;
mod limits;
mod listener;
mod outlier;
mod retry;
mod route;
mod route_test;
mod socket;
mod sticky;
mod tls;
mod upstream;
mod upstream_tls;

pub use self::http2::{ListenerHttp2, UpstreamHttp2};
pub use self::instance::{Capability, Reload, Security, WaitFor};
pub use self::limits::{ListenerLimits, RateDetails, RateEntry};
pub use self::listener::{
    Direction, Intercept, Listener, Protocol, ProxyHeaderPolicy, TrustedProxy,
};
pub use self::outlier::{GrpcStatus, Outlier, OutlierCause};
pub use self::retry::{Hedge, Retry, RetryBudget, RetryCause};
pub use self::route::{CertificateMatch, FieldEdits, Redirect, Respond, Rewrite, Route};
pub use self::route_test::{RouteExpectation, RouteTest};
pub(super) use self::socket::dscp_of;
pub use self::socket::{
    DscpEntry, KeepaliveDetails, KeepaliveEntry, ListenerSocket, UpstreamSocket,
};
pub use self::sticky::{SameSite, Sticky};
pub use self::tls::{Certificate, ClientCertificates, Hsts, Tls, TlsVersion};
pub use self::upstream::{
    Balance, EndpointDetails, EndpointEntry, Endpoints, Health, HealthGrpc, HealthHttp, HealthTcp,
    HealthUdp, OnRemoved, OtherEndpoints, ProxyProtocolVersion, StatusPattern, Upstream,
    UpstreamProtocol, UpstreamQueue, Zone,
};
pub use self::upstream_tls::{OwnCertificate, PublicRoots, ServerNameFrom, UpstreamTls};

/// The whole configuration.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of the format. Only `1` exists. Default: 1.
    pub version: Option<u32>,
    /// Data-plane threads. Default: the CPUs that the cgroup quota and the affinity mask allow.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u16>,
    /// The zone (failure domain) that this instance stands in. Default: none.
    #[schemars(extend("format" = "x-name", "examples" = ["eu-1a", "${ZONE:-eu-1a}"]))]
    pub zone: Option<String>,
    /// The user that the program becomes once its ports are bound, its keys are read and its log is
    /// open, where it was started as root: a name or number of `/etc/passwd`, with `:group` for
    /// another group than its own. Taken at a start. Default: none, it stays who it is.
    #[schemars(extend("format" = "x-user", "examples" = ["evenkeel", "65532:65532"]))]
    pub user: Option<String>,
    /// What the program may do once it serves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security: Security,
    /// Whether the kernel may write the memory of this process to a file when it dies, private keys
    /// and all. Where it may not, debuggers and profilers of the same user are refused too; root's
    /// are not. Once forbidden, it stays so until the process ends. Default: only without `tls`.
    pub core_dumps: Option<bool>,
    /// The directory in which what was learned is kept over restarts: which endpoints are out and
    /// for how long, when they close idle connections, what was counted. It is made if it is not
    /// there, and belongs to one instance. See "State" in operations.md. Default: what systemd
    /// names in `STATE_DIRECTORY` (`StateDirectory=`); else none, nothing is kept.
    #[schemars(length(min = 1), extend("examples" = ["/var/lib/evenkeel"]))]
    pub state_dir: Option<PathBuf>,
    /// Further files, as paths or globs (`*` and `?` in file names) relative to this one. They may
    /// hold listeners, routes, upstreams and tests; all else stands in the main file.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [["conf.d/*.toml"]]))]
    pub include: Vec<String>,
    /// Where the instance is looked at and controlled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub admin: Admin,
    /// The access log and the program's own log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: Log,
    /// What happens after SIGTERM.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shutdown: Shutdown,
    /// What happens after SIGUSR2 or `evenkeel upgrade`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upgrade: Upgrade,
    /// When the configuration is read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reload: Reload,
    /// Settings that listeners, routes and upstreams inherit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub defaults: Defaults,
    /// Addresses that accept connections, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("propertyNames" = {"format": "x-name"}))]
    pub listener: BTreeMap<String, Listener>,
    /// What happens to which requests, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("propertyNames" = {"format": "x-name"}))]
    pub route: BTreeMap<String, Route>,
    /// Named groups of endpoints.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("propertyNames" = {"format": "x-name"}))]
    pub upstream: BTreeMap<String, Upstream>,
    /// What must hold; `evenkeel check` and every reload run these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub test: Vec<RouteTest>,
    /// Which values are secret; not a setting.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// `[admin]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Path of the Unix socket through which the CLI does everything. Default: none.
    #[schemars(extend("format" = "x-socket", "examples" = ["/run/evenkeel/admin.sock"]))]
    pub socket: Option<PathBuf>,
    /// Who may connect to the socket, by the mode of its file, in octal. Default: 0600, with
    /// `group` 0660.
    #[schemars(extend("format" = "x-mode", "examples" = ["0660"]))]
    pub mode: Option<String>,
    /// The group whose the socket's file is, by name or number; who is in it may ask for
    /// everything. Default: that of this program, of which only its own user may ask.
    #[schemars(extend("format" = "x-account", "examples" = ["ops"]))]
    pub group: Option<String>,
    /// Users that may ask for everything through the socket, by name or number, beside root and
    /// that of this program, as far as the file's mode lets them in. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("items" = {"type": "string", "format": "x-account"}, "examples" = [["anna"]]))]
    pub allow_users: Vec<String>,
    /// Groups whose members may, by name or number. Default: none but `group`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("items" = {"type": "string", "format": "x-account"}, "examples" = [["ops"]]))]
    pub allow_groups: Vec<String>,
    /// Address for probes, metrics and reading. Who comes from another machine gets probes and
    /// metrics alone, unless `token_file` is set. Default: none.
    #[schemars(extend("format" = "x-ip-bind", "examples" = ["127.0.0.1:9901"]))]
    pub http: Option<String>,
    /// A file with the token that `http` asks for (`Authorization: Bearer …`), at least 16
    /// characters: for everything but probes, and for metrics unless they are public; changes may
    /// be made with it. It is read again with each reload. Default: none, and `http` only shows.
    #[schemars(extend("format" = "x-file", "examples" = ["/run/secrets/evenkeel-token"]))]
    pub token_file: Option<PathBuf>,
    /// Whether `http` shows metrics without the token, and to other machines. Default: true.
    pub public_metrics: Option<bool>,
    /// Upstreams that each need a healthy endpoint for `/readyz` to say yes: for a sidecar, that of
    /// the application beside it. Liveness never depends on them. Default: none, readiness is about
    /// this instance alone.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("items" = {"type": "string", "minLength": 1}, "examples" = [["app"]]))]
    pub ready_when: Vec<String>,
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Whether requests are logged. Default: true.
    pub access: Option<bool>,
    /// Form of the access log's lines. Default: json.
    pub format: Option<LogFormat>,
    /// Where log lines go: `stdout`, `stderr` or a file's path. Default: stdout.
    #[schemars(length(min = 1))]
    pub output: Option<String>,
    /// The least severe event that is logged. Default: info.
    pub level: Option<LogLevel>,
    /// Whether the secrets of TLS sessions are written to the file that the environment variable
    /// `SSLKEYLOGFILE` names, for Wireshark: whoever reads it reads all traffic. Default: false.
    pub tls_keys: Option<bool>,
    /// Whether `url.query` is part of the access log. Default: false, since queries carry secrets.
    pub query: Option<bool>,
}

/// Form of a line of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The Combined Log Format of Apache and nginx.
    Combined,
}

/// Severity of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long accepting goes on after SIGTERM, while others learn to stay away. Default: 5s.
    #[schemars(extend("x-zero" = true))]
    pub grace: Option<Time>,
    /// How long requests and connections may take to end afterwards. Default: 30s.
    #[schemars(extend("x-zero" = true))]
    pub drain: Option<Time>,
    /// What listeners with `direction = "outbound"` wait for, within `drain`, before they end too:
    /// `inbound_idle`, until the last inbound request has ended, and a second more. Default: none,
    /// they end together with the others.
    pub wait_for: Option<WaitFor>,
}

/// `[upgrade]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// How long a new instance may take until it serves. One that is later is ended, and the old
    /// one goes on as if nothing had been. Default: 30s.
    pub ready_within: Option<Time>,
    /// How long requests and connections of the old instance may go on once the new one serves.
    /// Default: 1h.
    #[schemars(extend("x-zero" = true))]
    pub drain: Option<Time>,
}

/// `[defaults]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Time limits; a listener, upstream or route may set its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// The firewall mark (`SO_MARK`) of connections to endpoints; an upstream may have its own,
    /// in `socket`.
    /// Needs `CAP_NET_ADMIN`. Default: none.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub mark: Option<u32>,
}

/// Time limits. All but `request` and `tunnel_max_age` are about progress: every byte that moves
/// starts them afresh.
/// What a route sets wins over its upstream, that over the listener, and that over the defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// From an accepted connection to the end of its PROXY header. Default: 3s.
    pub proxy_header: Option<Time>,
    /// From an accepted connection, or the end of its PROXY header, to the end of its TLS
    /// handshake; where routes have a `server_name`, to the end of what decides between them.
    /// Default: 10s.
    pub tls_handshake: Option<Time>,
    /// From the first byte of a request to the end of its head. Default: 10s.
    pub request_head: Option<Time>,
    /// A client connection without a request. Default: 75s.
    pub client_idle: Option<Time>,
    /// A body, in either direction, of which nothing moves. Default: 60s.
    pub body_idle: Option<Time>,
    /// Until a connection to an endpoint stands. Default: 3s.
    pub connect: Option<Time>,
    /// From the end of the request to the head of the response; interim ones do not begin it anew.
    /// Also until a client that waits for that is told to send its body (`Expect: 100-continue`).
    /// Default: 30s.
    pub response_head: Option<Time>,
    /// The whole request, from its head to the last byte of the response. Default: none.
    pub request: Option<Time>,
    /// How long an idle connection to an endpoint is kept. Less for an endpoint that is found to
    /// close idle connections earlier, and 60s where it is shared by requests (HTTP/2), unless it
    /// is set. Default: 4s.
    pub upstream_idle: Option<Time>,
    /// A TCP connection or upgraded connection on which nothing moves. Default: 1h.
    pub tunnel_idle: Option<Time>,
    /// The longest that a TCP connection or upgraded connection lasts, whatever moves on it. Each
    /// ends up to a tenth earlier, so that those that began together do not come again together.
    /// Default: none.
    pub tunnel_max_age: Option<Time>,
    /// From a TCP connection to its first byte, from the client or, where that speaks first, from
    /// the endpoint. Default: 5m.
    pub first_byte: Option<Time>,
    /// A UDP session in which nothing moves. Default: 60s.
    pub session_idle: Option<Time>,
}

/// As `config show` has it: without what is secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self, false))
    }
}

impl Config {
    /// The version of the format that this program reads.
    pub const VERSION: i64 = 1;
}

/// Whether a value is what stands for "not written"; such values are not printed.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
