//! What a running instance answered to a command.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Exit, Failure};
use crate::control::admin::ASK_AGAIN;

/// What an instance answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The answer, if it is a success; else what the instance said against it.
    pub(super) fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem: Option<Value> = serde_json::from_slice(&self.body).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem["detail"].as_str());
        let detail = detail.unwrap_or("without a reason");
        let message = format!("the instance refused with status {}: {detail}", self.status);
        Err(Failure::new(Exit::Refused, message))
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let message = format!("the instance answered something else than expected: {error}");
            Failure::new(Exit::NoInstance, message)
                .hint("is it another version? `evenkeel version` and its /v1/status tell")
        })
    }

    /// Whether another instance has taken over from the one that was asked, and is to be asked.
    pub(super) fn is_to_ask_again(&self) -> bool {
        let problem: Option<Value> = serde_json::from_slice(&self.body).ok();
        self.status == StatusCode::SERVICE_UNAVAILABLE
            && problem.is_some_and(|problem| problem[ASK_AGAIN] == true)
    }
}
