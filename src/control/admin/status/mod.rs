//! The status: what is up, what is not, and why; as data, and as one screen.
//!
//! The types are what `/v1/status` sends and what `evenkeel status` reads; [`render`] draws them.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Admin;
use crate::control::changes::only_at_start;
use crate::control::prepare::logs_tls_keys;
use crate::control::ready::followed;
use crate::telemetry::events::{Events, Recorded};
use crate::telemetry::process::BUILD;
use crate::telemetry::rfc3339;

mod certificates;
mod collect;
mod render;
#[cfg(test)]
mod tests;
mod warnings;

pub(super) use certificates::certificates;
pub use certificates::{Certificate, Ocsp};
pub(super) use collect::{listeners, routes, upstream, upstreams};
pub use render::render;

/// The state of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Revision that it was built from.
    pub revision: String,
    /// The zone that the instance stands in; empty if it was not told.
    pub zone: String,
    /// Whether traffic may be sent to it.
    pub ready: bool,
    /// Whether it is about to end.
    pub draining: bool,
    /// Start, in RFC 3339.
    pub started_at: String,
    /// Time since the start.
    pub uptime_s: u64,
    /// Data-plane threads.
    pub workers: usize,
    /// What is in force.
    pub configuration: Configuration,
    /// What needs attention, the gravest first.
    pub warnings: Vec<Warning>,
    /// By name.
    pub listeners: Vec<Listener>,
    /// By name, then by listener; what no route takes comes last, without a name.
    pub routes: Vec<Route>,
    /// By name.
    pub upstreams: Vec<Upstream>,
    /// By listener.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its number.
    pub generation: u64,
    /// Digest of its text.
    pub sha256: String,
    /// Since when, in RFC 3339.
    pub applied_at: String,
    /// Time since then.
    pub applied_s: u64,
    /// Whether its files are looked at, and taken when they change.
    #[serde(default)]
    pub watched: bool,
    /// Who asked for it; empty for the start, or if it is too long ago to be known.
    pub by: String,
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about: `upstream api`, `configuration`, `listener web`, `instance`.
    pub about: String,
    /// What is wrong, in a few words.
    pub what: String,
    /// Why, one line for each cause.
    pub why: Vec<String>,
    /// What that means for traffic; empty if nothing.
    pub effect: String,
    /// Time since it began, if that is known.
    pub for_s: Option<u64>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address as written.
    pub bind: String,
    /// The address as bound.
    pub address: String,
    /// What is spoken there, as the configuration names it: `h2, http/1.1`, `tcp`.
    pub protocol: String,
    /// Connections now.
    pub connections: u32,
    /// Connections that it takes at once.
    pub max_connections: u32,
    /// Connections that wait for a place.
    #[serde(default)]
    pub waiting: u32,
    /// How near clients come to `limits.per_client`; none without that.
    #[serde(default)]
    pub per_client: Option<Fullest>,
    /// How near networks come to `limits.per_subnet`; none without that.
    #[serde(default)]
    pub per_subnet: Option<Fullest>,
}

/// How near those come to a limit on connections that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fullest {
    /// Connections that each may have.
    pub limit: u32,
    /// Connections of the one that has most.
    pub connections: u32,
    /// Which one that is: an address, or a network with its length; empty without any.
    pub who: String,
    /// How many have as many as they may.
    pub full: usize,
}

/// A route at one listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The listener.
    pub listener: String,
    /// `forward`, `redirect`, `respond` or `not_found`.
    pub action: String,
    /// Where it forwards to.
    pub upstreams: Vec<String>,
    /// Requests under way.
    pub in_flight: i64,
    /// How many may be, at all listeners and with the tunnels that they became, or how many of this
    /// listener's connections may have any; none for no limit.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// Whether as many are.
    #[serde(default)]
    pub is_full: bool,
    /// Requests since the start.
    pub requests: u64,
    /// Retries since the start.
    pub retries: u64,
    /// Retries since the start that were wanted and not made: `evenkeel_retries_total` has why.
    #[serde(default)]
    pub retries_refused: u64,
    /// Requests since the start that a second endpoint was asked as well.
    #[serde(default)]
    pub hedges: u64,
    /// Mean duration since the start; none without a request.
    pub mean_s: Option<f64>,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Which endpoints get the traffic: `healthy`, `backup`, `unproven`, `panic`, `down`, `empty`;
    /// or `original_dst`, where it leads to wherever connections were going.
    pub standing: String,
    /// Whether its endpoints are probed.
    pub is_checked: bool,
    /// `verified` where its endpoints are spoken to in TLS, `unverified` where they need not prove
    /// who they are, else empty.
    #[serde(default)]
    pub tls: String,
    /// Whether no endpoint is ejected, since many fail at once.
    #[serde(default)]
    pub ejections_suspended: bool,
    /// How an endpoint is picked.
    #[serde(default)]
    pub balance: String,
    /// Endpoints that are healthy.
    pub healthy: usize,
    /// Requests and tunnels in flight at all endpoints.
    #[serde(default)]
    pub in_flight: u32,
    /// How many may be; none for no limit.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// Requests and TCP sessions that wait for an endpoint with room.
    #[serde(default)]
    pub waiting: usize,
    /// Whether the newest of the requests is served first, since more come than can be served.
    #[serde(default)]
    pub newest_first: bool,
    /// Retries and hedges of the last ten seconds.
    #[serde(default)]
    pub retries: u32,
    /// How many of them the budget allows.
    #[serde(default)]
    pub retries_allowed: u32,
    /// After how long a request is hedged where its route hedges and says no time: what 95 % of
    /// such requests took lately. None while too little is known, or nothing is hedged.
    #[serde(default)]
    pub hedge_after_ms: Option<u64>,
    /// In the order of the file.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name in metrics and logs.
    pub name: String,
    /// The address that connections go to.
    pub address: String,
    /// Its failure domain; empty for none.
    pub zone: String,
    /// `healthy`, `unhealthy`, `ejected`, `half_open` (one request at a time tries it) or
    /// `unknown`.
    pub state: String,
    /// Time since it is so; none if it always was.
    pub for_s: Option<u64>,
    /// Why it is so; empty if nobody has said.
    pub why: String,
    /// For how long it stays ejected at most; none if it is not.
    #[serde(default)]
    pub ejected_for_s: Option<u64>,
    /// The how manieth ejection in a row that is; 0 if it is none.
    #[serde(default)]
    pub ejections_in_a_row: u32,
    /// Whether it is backing off: a pause in picks, since connections to it failed.
    pub backing_off: bool,
    /// Whether it is used only when no other is healthy.
    pub backup: bool,
    /// Share of the traffic.
    pub weight: u32,
    /// How much of that counts by now, in per cent: less than 100 while it is warming.
    #[serde(default)]
    pub weight_percent: u32,
    /// What its failures count as beside requests under way, rounded up to requests.
    #[serde(default)]
    pub penalty: u32,
    /// Answers in a row that came far later than usual.
    #[serde(default)]
    pub late_in_a_row: u32,
    /// Whether it has asked to be left alone for a while (503 or 429 with `Retry-After`).
    #[serde(default)]
    pub sheds: bool,
    /// Requests under way.
    pub in_flight: u32,
    /// Open connections.
    pub connections: u32,
}

impl Admin {
    /// The state of this instance now.
    pub fn status(&self) -> Status {
        let parts = self.parts();
        let snapshot = parts.snapshot.load();
        let started = self.shared.started;
        let applied = self.applied(snapshot.generation);
        let listeners = listeners(&snapshot);
        let routes = routes(&snapshot);
        let upstreams = upstreams(&snapshot);
        let certificates = certificates(&snapshot);
        let last = last_reload(&parts.events);
        let by = last.as_ref().filter(|last| last.event.kind == APPLIED);
        Status {
            version: BUILD.version.into(),
            revision: BUILD.revision.into(),
            zone: snapshot.zone.to_string(),
            ready: parts.readiness.is_ready() && followed(&snapshot).iter().all(|one| one.holds),
            draining: parts.readiness.is_draining(),
            started_at: rfc3339(started),
            uptime_s: since(started),
            workers: parts.workers,
            configuration: Configuration {
                generation: snapshot.generation,
                sha256: snapshot.sha256.to_string(),
                applied_at: rfc3339(applied),
                applied_s: since(applied),
                watched: snapshot.config.reload.watch == Some(true),
                by: by.map(|event| field(event, "by")).unwrap_or_default(),
            },
            warnings: warnings::find(&warnings::Seen {
                listeners: &listeners,
                routes: &routes,
                upstreams: &upstreams,
                certificates: &certificates,
                last_reload: last.as_deref(),
                refusals: &parts.refusals.list(),
                waiting: only_at_start(&self.shared.started_with, &snapshot.config),
                logs_tls_keys: logs_tls_keys(&snapshot.config),
                readiness: &parts.readiness,
            }),
            routes,
            listeners,
            upstreams,
            certificates,
        }
    }
}

/// The event of the last reload, if it is still kept.
fn last_reload(events: &Events) -> Option<std::sync::Arc<Recorded>> {
    let mut kept = events.list(0);
    kept.retain(|recorded| [APPLIED, REJECTED].contains(&recorded.event.kind));
    kept.pop()
}

fn field(recorded: &Recorded, name: &str) -> String {
    let mut fields = recorded.event.fields.iter();
    let found = fields.find(|(other, _)| *other == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Whole seconds since then.
fn since(then: SystemTime) -> u64 {
    let elapsed = then.elapsed();
    elapsed.map_or(0, |elapsed: Duration| elapsed.as_secs())
}

const APPLIED: &str = "config_applied";
const REJECTED: &str = "config_rejected";
