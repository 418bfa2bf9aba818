//! `[upstream.<name>.outlier]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StatusPattern;
use crate::config::units::{Ratio, Time};

/// `[upstream.<name>.outlier]`: endpoints whose requests fail are ejected, which means that they
/// get no more of them for a while (`docs/resilience.md`). It is on where nothing is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Whether endpoints are ejected at all. Default: true.
    pub enabled: Option<bool>,
    /// Failures in a row that eject an endpoint, at once. Default: 5.
    #[schemars(range(min = 1, max = 100_000))]
    pub consecutive_failures: Option<u32>,
    /// Share of failures within ten `interval`s from which on an endpoint is ejected, where there
    /// were `min_requests`; `0%` never does. Default: 50%.
    pub failure_ratio: Option<Ratio>,
    /// Requests to one endpoint within ten `interval`s without which nothing is concluded from a
    /// share. Endpoints are compared from five times as many on. Default: 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: Option<u32>,
    /// How far below its peers the success rate of an endpoint may be, in thousandths of the
    /// standard deviation of theirs (Envoy's `success_rate_stdev_factor`); needs four peers with
    /// requests enough; 0 never compares. Default: 1900.
    #[schemars(range(max = 100_000))]
    pub success_rate_deviation: Option<u32>,
    /// How many times slower than its peers an endpoint may answer, as medians of the time until
    /// the first byte. Beyond that, and 20ms more, it is picked less; with 100ms more it is ejected
    /// if it has three peers; 0 never compares. Default: 10; with
    /// `first_healthy`, `ring_hash`, `maglev` or `sticky` 0.
    #[schemars(range(max = 100_000))]
    pub latency_factor: Option<u32>,
    /// How often it is looked what has become of requests, at least 100ms. Default: 1s.
    pub interval: Option<Time>,
    /// How long the first ejection lasts, ± 15 %; the second in a row twice as long, and so on. The
    /// row is forgotten one by one, each after as long a time without an ejection. Default: 30s.
    pub eject_for: Option<Time>,
    /// How long an ejection lasts at most; if that is less than the default of `eject_for`, the
    /// first one too. Default: 300s.
    pub eject_at_most: Option<Time>,
    /// Share of the endpoints that may be out at once, those that checks found unhealthy included;
    /// `0%` ejects none. Never the last one, one from three endpoints on, and never so many that
    /// less than `panic_threshold` are healthy, whatever is written here. Default: a third.
    pub max_ejected: Option<Ratio>,
    /// What is a failure besides answers: `connect` (no connection, or one that ended before a byte
    /// of the first response), `reset` (a request or a response that broke off, or is no message)
    /// and `timeout` (nothing came in a fair time). Default: all of them.
    pub on: Option<Vec<OutlierCause>>,
    /// Statuses that are failures: `500`, `"5xx"`, `"502-504"`. Default: 5xx but 501, 505, 506,
    /// 510, 511, and those with a Retry-After.
    #[schemars(extend("examples" = [["5xx", 429]]))]
    pub statuses: Option<Vec<StatusPattern>>,
    /// Statuses of gRPC that are failures. Default: UNKNOWN, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
    pub grpc_codes: Option<Vec<GrpcStatus>>,
}

/// A failure that is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutlierCause {
    /// No connection, or one that ended before a byte of the first response.
    Connect,
    /// A request or a response that broke off, or is no message.
    Reset,
    /// Nothing came in a fair time.
    Timeout,
}

/// A status of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "gRPC says what they mean")]
pub enum GrpcStatus {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}
