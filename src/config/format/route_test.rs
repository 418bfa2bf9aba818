//! `[[test]]` as it is written: what the configuration's author promises about its routing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// `[[test]]`: a request, and what must happen to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTest {
    /// Method and URL: `GET https://api.example.com/v1/users`.
    #[schemars(extend("format" = "x-request", "examples" = ["GET http://api.example.com/v1/users"]))]
    pub request: String,
    /// Fields of the request.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "propertyNames" = {"format": "x-field-name"},
        "additionalProperties" = {"type": "string", "format": "x-field-value"}
    ))]
    pub headers: BTreeMap<String, String>,
    /// The listener that gets it. Default: any that has the route.
    pub listener: Option<String>,
    /// What must hold.
    pub expect: RouteExpectation,
}

/// What must hold for a `[[test]]`. What is left out is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteExpectation {
    /// Name of the route that wins; `listener.<name>` if the listener's own `upstream` or `to` gets
    /// the request.
    pub route: Option<String>,
    /// Upstream that it goes to (one of them, for a split).
    pub upstream: Option<String>,
    /// Status of a redirect, a fixed response or a refusal (404 where no route matches).
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// `Location` of a redirect.
    pub location: Option<String>,
}
