//! `[upstream.<name>.sticky]` as it is written.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Time;

/// `[upstream.<name>.sticky]`: a cookie ties a client to the endpoint that served it first, as long
/// as that is well. It names the endpoint to nobody but us, endpoints do not get it, and one that
/// somebody made up is ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The cookie's name. Default: evenkeel.
    #[schemars(extend("format" = "x-cookie-name"))]
    pub cookie: Option<String>,
    /// What the cookie is made by, at least 16 characters: the same at every instance, known to
    /// nobody else. It is never shown.
    #[schemars(extend("format" = "x-secret", "examples" = ["${file:/etc/evenkeel/sticky.key}"]))]
    pub secret: String,
    /// For how long browsers keep it, from the first answer on (`Max-Age`). Default: as long as the
    /// browser runs.
    pub max_age: Option<Time>,
    /// Below which path browsers send it (`Path`). Default: `/`.
    #[schemars(extend("format" = "x-cookie-path"))]
    pub path: Option<String>,
    /// To which hosts, this one and those below it (`Domain`). Default: only the host that was
    /// asked.
    #[schemars(extend("format" = "x-host", "examples" = ["example.com"]))]
    pub domain: Option<String>,
    /// Whether browsers send it over TLS only (`Secure`). Default: where the request came so.
    pub secure: Option<bool>,
    /// Whether scripts of the page cannot read it (`HttpOnly`). Default: true.
    pub http_only: Option<bool>,
    /// With which requests from other sites it is sent (`SameSite`). Default: lax.
    pub same_site: Option<SameSite>,
}

/// With which requests from other sites a cookie is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// With none.
    Strict,
    /// With those that open a page.
    #[default]
    Lax,
    /// With all, which browsers allow with `Secure` only: so that goes with it.
    None,
}

/// Without the secret, wherever it is printed.
impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky")
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}
