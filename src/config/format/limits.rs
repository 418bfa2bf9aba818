//! `[listener.<name>.limits]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Rate, Time};

/// `[listener.<name>.limits]`: limits on connections, over all workers, beside `max_connections`.
/// What is beyond one is reset at once, and counted by reason. Clients are told apart by the
/// address that they connect from, or that a PROXY header names where one is believed; IPv4 within
/// IPv6 is IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerLimits {
    /// Connections at once from one client: an address of IPv4, a network of IPv6. Default: no
    /// limit.
    #[schemars(range(min = 1))]
    pub per_client: Option<u32>,
    /// Bits of what counts as one client of IPv6. A host has a /64 to itself, and any address in
    /// it. Default: 64.
    #[schemars(range(min = 1, max = 128))]
    pub client_v6: Option<u8>,
    /// Connections at once from one network. Default: no limit.
    #[schemars(range(min = 1))]
    pub per_subnet: Option<u32>,
    /// Bits of what counts as one network of IPv4. Default: 24.
    #[schemars(range(min = 1, max = 32))]
    pub subnet_v4: Option<u8>,
    /// Bits of what counts as one network of IPv6. Default: 64.
    #[schemars(range(min = 1, max = 128))]
    pub subnet_v6: Option<u8>,
    /// How fast connections may come: `100/s`, or a table with a burst. Default: no limit.
    pub rate: Option<RateEntry>,
    /// The same from one client. Default: no limit.
    pub rate_per_client: Option<RateEntry>,
    /// How long a connection may wait for a place at `max_connections`; at most 1024 wait at once.
    /// Default: none, it is refused.
    pub wait: Option<Time>,
}

/// How fast things may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RateEntry {
    /// So many in a time, and as many at once.
    Rate(Rate),
    /// With a burst.
    Detailed(RateDetails),
}

/// How fast connections may come, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateDetails {
    /// So many in a time.
    pub rate: Rate,
    /// So many at once. Default: as many as in the time that `rate` names.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}
