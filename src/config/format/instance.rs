//! What an instance does with itself, as it is written: `[reload]`, `[security]`, and a part of
//! `[shutdown]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// `[reload]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Whether the file, those that it includes and those of its `${file:…}` are looked at every
    /// second, by their content, and taken when they have changed, have been the same for 250 ms
    /// and are without mistakes. For a mounted `ConfigMap`, whose folder is swapped behind a link.
    /// Default: false, a reload is asked for.
    pub watch: Option<bool>,
}

/// `[security]`: what the program may do once it serves, all of it decided at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// What it keeps of root's powers as `user`, beside those that the configuration at the start
    /// needs for its traffic (`net_admin` for marks and TPROXY): `net_bind_service` for reloads
    /// that bind further ports below 1024. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("examples" = [["net_bind_service"]]))]
    pub keep_capabilities: Vec<Capability>,
    /// Whether the kernel confines the program to the folders of what the configuration names at
    /// the start, and what the system's resolver needs (Landlock); where the kernel has none, that
    /// is told. Default: true with `user`, else false.
    pub landlock: Option<bool>,
    /// Further folders or files that it may read then: of certificates that reloads will name.
    /// Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend(
        "items" = {"type": "string", "format": "x-socket"},
        "examples" = [["/srv/certificates"]]
    ))]
    pub allow_paths: Vec<PathBuf>,
}

/// One of the powers of root (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// To bind ports below 1024.
    NetBindService,
    /// To mark packets (`mark`) and to take connections to any address (`tproxy`).
    NetAdmin,
    /// To bind to an interface, on older kernels.
    NetRaw,
}

/// What outbound listeners wait for when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// That no inbound request runs any more.
    InboundIdle,
}
