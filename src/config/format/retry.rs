//! `[route.<name>.retry]`, `[route.<name>.hedge]` and `[upstream.<name>.retry_budget]` as they are
//! written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GrpcStatus, StatusPattern, is_default};
use crate::config::units::{Ratio, Size, Time};

/// How a failed attempt is repeated, at another endpoint where there is one. What surely reached
/// nobody may be sent again whatever its method; all else only if `methods` has it. A retry is
/// taken from the upstream's `retry_budget`, and none is made once a byte of a response has gone to
/// the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, 1 to 10; a hedge is one of them. Default: 2, which is one retry.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: Option<u8>,
    /// Failures that are followed by another attempt: `connect` (no connection stood, or it took
    /// nothing of the request), `unprocessed` (the endpoint said that it took no notice:
    /// `REFUSED_STREAM`, GOAWAY), `reset` (the connection ended before a byte of the response) and
    /// `timeout` (`per_try_timeout` passed). Default: all of them.
    pub on: Option<Vec<RetryCause>>,
    /// Statuses that are followed by another attempt, 400 to 599: `503`, `"5xx"`, `"502-504"`.
    /// Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [[502, 503, 504]]))]
    pub statuses: Vec<StatusPattern>,
    /// Statuses of gRPC that are followed by another attempt, where the whole answer is its head: a
    /// call of which anything has come back is not repeated. They hold whatever `methods` says,
    /// since every call is a POST. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [["UNAVAILABLE"]]))]
    pub grpc_codes: Vec<GrpcStatus>,
    /// Methods of requests that may be sent again after an endpoint may have acted on them.
    /// Default: the idempotent ones (GET, HEAD, OPTIONS, PUT, DELETE).
    #[schemars(extend("items" = {"type": "string", "format": "x-method"}))]
    pub methods: Option<Vec<String>>,
    /// Limit of a single attempt until the response head. It stands still while the client's body
    /// is waited for. Default: none.
    pub per_try_timeout: Option<Time>,
    /// The longest pause before the first retry; it doubles with each further one. Each pause is
    /// drawn between nothing and that. What surely reached nobody goes to another endpoint without.
    /// Default: 25ms.
    #[schemars(extend("x-zero" = true))]
    pub backoff: Option<Time>,
    /// The longest pause before any retry. Default: 1s.
    #[schemars(extend("x-zero" = true))]
    pub backoff_at_most: Option<Time>,
    /// Bytes of a request's body that are kept until its response begins, so that it can be sent
    /// again; a longer one is not. `0B` keeps none. Default: 16KiB.
    #[schemars(extend("x-least" = 0, "x-most" = 16_777_216))]
    pub body: Option<Size>,
}

/// A failure that is followed by another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// No connection stood, or it took nothing of the request.
    Connect,
    /// The endpoint said that it took no notice of the request.
    Unprocessed,
    /// The connection ended before a byte of the response.
    Reset,
    /// The limit of the attempt passed.
    Timeout,
}

/// Hedging: an answer that takes unusually long is asked for at a second endpoint as well, the
/// first answer counts and the other attempt is given up. For requests without a body, and within
/// the upstream's `retry_budget`. `hedge = {}` switches it on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// After how long the second endpoint is asked. Default: what 95 % of such requests to the
    /// upstream took lately until their response began; before a hundred are known, none is.
    pub after: Option<Time>,
    /// Methods of requests that may be at two endpoints at once; only idempotent ones. Default:
    /// GET, HEAD and OPTIONS.
    #[schemars(extend("items" = {"type": "string", "format": "x-method"}))]
    pub methods: Option<Vec<String>>,
}

/// How many retries and second attempts there may be, over all workers: in ten seconds as many as
/// both together allow for ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Share of the requests. Default: 20%.
    pub ratio: Option<Ratio>,
    /// Besides, so many a second, whatever the traffic. Default: 10.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub per_second: Option<u32>,
}
