//! `[route.<name>]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hedge, Retry, Timeouts, is_default};

/// `[route.<name>]`: which requests, and what happens to them. The most specific match wins.
/// Exactly one action: `upstream`, `split`, `redirect` or `respond`. A route with `server_name`
/// takes connections instead, unread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The listener whose requests are meant. Default: every HTTP listener.
    pub listener: Option<String>,
    /// Names that clients ask for when they begin TLS (SNI): `db.example.com`, `*.example.com` for
    /// every name below, `*` for any name. Their connections are passed through to `upstream` or
    /// `split` without being decrypted: the endpoint ends TLS. For listeners with `tls`, which end
    /// TLS of everything else, and for those with `protocols = ["tcp"]`, which relay everything
    /// else to their own target, if they have one. `listener` must be given; besides, only `alpn`
    /// and the time limits `connect` and `tunnel_idle` go with it. An exact name wins, then the
    /// longest wildcard.
    /// Default: the route takes requests.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-server-name"},
        "examples" = [["db.example.com", "*.internal.example.com"]]
    ))]
    pub server_name: Vec<String>,
    /// With `server_name`: protocols (ALPN) of which the client must offer one. It goes before a
    /// route for the same name without; between two, the client's order decides. Default: whatever
    /// the client offers.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-protocol"},
        "examples" = [["h2"]]
    ))]
    pub alpn: Vec<String>,
    /// Hosts: `api.example.com`, or `*.example.com` for every name below. Default: every host.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-host-pattern"},
        "examples" = [["api.example.com", "*.example.com"]]
    ))]
    pub hosts: Vec<String>,
    /// Path: `/v1/` a prefix that ends on segment borders, `=/v1/ping` exact, `~^/v[0-9]+/` a
    /// regular expression. Default: `/`.
    #[schemars(extend(
        "format" = "x-path-pattern",
        "examples" = ["/v1/", "=/v1/ping", "~^/v[0-9]+/"]
    ))]
    pub path: Option<String>,
    /// Methods. Default: every method but CONNECT.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-method"},
        "examples" = [["GET", "HEAD"]]
    ))]
    pub methods: Vec<String>,
    /// Fields that the request must have: a value, `~regex`, or `*` for any value.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "propertyNames" = {"format": "x-field-name"},
        "additionalProperties" = {"type": "string", "format": "x-value-pattern"},
        "examples" = [{"x-canary": "1"}]
    ))]
    pub headers: BTreeMap<String, String>,
    /// What the client's certificate must say: that of its own, or the one that a trusted proxy
    /// tells of. Default: whoever asks, with a certificate or without.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [{"spiffe_id": "spiffe://example.com/billing"}]))]
    pub client_certificate: CertificateMatch,
    /// Query parameters that the request must have: a value, `~regex`, or `*` for any value.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "additionalProperties" = {"type": "string", "format": "x-value-pattern"},
        "examples" = [{"debug": "*"}]
    ))]
    pub query: BTreeMap<String, String>,
    /// Action: forward to this upstream.
    pub upstream: Option<String>,
    /// Action: forward to one of several upstreams, by weight (0 to 1000).
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "additionalProperties" = {"type": "integer", "minimum": 0, "maximum": 1000},
        "examples" = [{"stable": 95, "canary": 5}]
    ))]
    pub split: BTreeMap<String, u32>,
    /// Action: answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Action: answer with a fixed response.
    pub respond: Option<Respond>,
    /// Changes to what is asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite: Rewrite,
    /// Changes to the request's fields.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request_headers: FieldEdits,
    /// Changes to the response's fields.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response_headers: FieldEdits,
    /// Time limits: `request`, `connect`, `response_head`, `body_idle`, `tunnel_idle`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// The field in which clients say how much time a request has: milliseconds, or a number with
    /// `ms` or `s`. It can only shorten `timeouts.request`; endpoints are told what is left of
    /// both. A value that is none of these is refused (400). gRPC's `grpc-timeout` is always
    /// heeded. Default: none.
    #[schemars(extend("format" = "x-field-name", "examples" = ["x-request-timeout-ms"]))]
    pub deadline_field: Option<String>,
    /// How a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// A second attempt where the first takes long. Default: none.
    pub hedge: Option<Hedge>,
    /// Requests of this route that are under way at once, and tunnels that they became, at all its
    /// listeners and over all workers. Beyond it they are answered 503 at once, and nobody else's
    /// are. Default: where another route or an upstream of the listener's own takes requests too,
    /// three quarters of a listener's `max_connections` may have such requests there, however many
    /// a connection of HTTP/2 has, and who is turned away by that loses its connection if it has no
    /// other request; else no limit.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
    /// Whether CONNECT opens a tunnel to an endpoint of the upstream. Default: false.
    pub connect: Option<bool>,
}

impl Route {
    /// Whether it takes connections, not requests.
    pub fn takes_connections(&self) -> bool {
        !self.server_name.is_empty()
    }

    /// Whether it takes requests of this listener.
    pub fn takes_requests_of(&self, listener: &str) -> bool {
        let named = self.listener.as_deref();
        !self.takes_connections() && named.is_none_or(|named| named == listener)
    }
}

/// What a client's certificate must say: each a value, `~regex`, or `*` for any value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateMatch {
    /// Its subject, as RFC 4514 writes names, the last part first: `CN=billing,O=Example`.
    #[schemars(extend("format" = "x-value-pattern", "examples" = ["~(^|,)O=Example(,|$)"]))]
    pub subject: Option<String>,
    /// One of its other names (subjectAltName): `DNS:a.example.com`, `URI:spiffe://example.com/a`,
    /// `email:a@example.com` or `IP:10.0.0.1`.
    #[schemars(extend("format" = "x-value-pattern", "examples" = ["DNS:billing.internal"]))]
    pub san: Option<String>,
    /// Its SPIFFE id. A certificate with more than one has none.
    #[schemars(extend(
        "format" = "x-value-pattern",
        "examples" = ["spiffe://example.com/billing"]
    ))]
    pub spiffe_id: Option<String>,
    /// The SHA-256 digest of the whole, in 64 small hexadecimal digits.
    #[schemars(extend("format" = "x-value-pattern"))]
    pub fingerprint: Option<String>,
}

/// A redirect. What is left out is kept from the request; at least one part must change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: Option<u16>,
    /// `http` or `https`. Default: that of the request.
    #[schemars(extend("enum" = ["http", "https"]))]
    pub scheme: Option<String>,
    /// Host of the target. Default: that of the request.
    #[schemars(extend("format" = "x-host"))]
    pub host: Option<String>,
    /// Port of the target. Default: that of the scheme.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Path of the target; the query is kept. Default: that of the request.
    #[schemars(extend("format" = "x-path"))]
    pub path: Option<String>,
}

/// A fixed response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// Status code, 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Body. Default: empty.
    pub body: Option<String>,
    /// Media type of the body. Default: `text/plain; charset=utf-8`.
    #[schemars(extend("format" = "x-field-value"))]
    pub content_type: Option<String>,
}

/// Changes to the target and the host of a request before it is forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Whether the route's path prefix is taken off. Default: false.
    pub strip_prefix: Option<bool>,
    /// What replaces the route's path prefix. Default: none.
    #[schemars(extend("format" = "x-path"))]
    pub replace_prefix: Option<String>,
    /// What replaces the host. Default: the host is passed on as it came.
    #[schemars(extend("format" = "x-authority"))]
    pub host: Option<String>,
}

/// Changes to fields, carried out in the order remove, set, add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldEdits {
    /// Fields that get this value, whatever was there.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "propertyNames" = {"format": "x-field-name"},
        "additionalProperties" = {"type": "string", "format": "x-field-value"}
    ))]
    pub set: BTreeMap<String, String>,
    /// Fields that are added beside what was there.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "propertyNames" = {"format": "x-field-name"},
        "additionalProperties" = {"type": "string", "format": "x-field-value"}
    ))]
    pub add: BTreeMap<String, String>,
    /// Fields that are taken out.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("items" = {"type": "string", "format": "x-field-name"}))]
    pub remove: Vec<String>,
}
