//! What a process knows that the next one should not have to learn anew at the cost of requests:
//! which endpoints are healthy, ejected and for how much longer, what was learned about them, and
//! what was counted.
//!
//! It is bytes in, bytes out ([`State::to_bytes`], [`State::from_bytes`]): the next process finds
//! them in a file ([`Keeper`]), or is handed them by the one that it replaces. Bytes that are torn
//! or foreign are told from others by a digest before anything of them is believed, and what is
//! believed is believed as a whole.
//!
//! The settings of now decide: an endpoint that is not in the configuration any more is dropped,
//! one that is not probed any more is not held for unhealthy, no ejection lasts longer than one may
//! now. Nothing is older than it is useful: see [`State::restore`].
//!
//! What people have overridden will have a section here. A section that this program does not know
//! is passed over.

mod beginning;
pub(super) mod file;
pub(super) mod format;
mod keeper;
mod moment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

pub use beginning::Beginning;
pub use file::{Found, Place};
pub use format::Unreadable;
pub use keeper::Keeper;
pub use moment::Moment;

use crate::control::health::Asking;
use crate::endpoint::{Condition, Health, Kept};
use crate::snapshot::Handle;
use crate::telemetry::metrics::Counts;
use crate::telemetry::process;
use crate::upstream::{self, KeptMember, KeptWaits, Upstream};

/// What is known at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// When that was.
    at: Moment,
    /// Which program wrote it. For people.
    version: String,
    upstreams: BTreeMap<String, OfUpstream>,
    /// What was counted; nothing where that would be half of the truth.
    #[serde(default)]
    counts: Counts,
}

/// What is known of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct OfUpstream {
    #[serde(skip_serializing_if = "KeptWaits::is_empty")]
    waits: KeptWaits,
    /// By address.
    endpoints: BTreeMap<String, OfEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OfEndpoint {
    live: Kept,
    /// What it is held for.
    member: Option<KeptMember>,
}

/// What became of a state in another process.
#[derive(Debug, Default)]
pub struct Restored {
    /// Endpoints that go on from what was known of them.
    pub endpoints: usize,
    /// Those of them that are out.
    pub out: usize,
    /// Endpoints that are gone.
    pub gone: usize,
    /// What endpoints are held for, by their numbers; for the prober.
    pub members: BTreeMap<u64, upstream::State>,
}

impl State {
    /// What is known of these upstreams now. `members`: what the prober keeps of the endpoints.
    /// `counts`: what was counted, if whoever reads it is the next to count.
    pub fn of<'a>(
        upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>,
        members: &BTreeMap<u64, KeptMember>,
        counts: Counts,
        (at, now): (Moment, Instant),
    ) -> Self {
        let upstreams = upstreams.into_iter().map(|upstream| {
            let endpoints = upstream.endpoints();
            let endpoints = endpoints.iter().map(|endpoint| {
                let known = OfEndpoint {
                    live: endpoint.live.kept(now),
                    member: members.get(&endpoint.live.id()).cloned(),
                };
                (endpoint.address.to_string(), known)
            });
            let known = OfUpstream {
                waits: upstream.usual_wait().kept(now),
                endpoints: endpoints.collect(),
            };
            (upstream.name.to_string(), known)
        });
        Self {
            at,
            version: process::BUILD.version.to_owned(),
            upstreams: upstreams.collect(),
            counts,
        }
    }

    /// The same of the snapshot in force, without counts. The prober, which asks nobody for it, has
    /// so much time to tell what it keeps.
    pub async fn now(handle: &Handle, prober: &Asking, patience: Duration) -> Self {
        let members = timeout(patience, prober.kept()).await;
        let snapshot = handle.load();
        let upstreams = snapshot.upstreams.values();
        let now = (Moment::now(), Instant::now());
        Self::of(
            upstreams,
            &members.unwrap_or_default(),
            Counts::default(),
            now,
        )
    }

    /// How old it is; `None` if no clock tells.
    pub fn age(&self, now: &Moment) -> Option<Duration> {
        self.at.age(now)
    }

    /// Has these upstreams go on from what is known here, which is so old. Only before anything is
    /// asked of them, and before they are installed.
    ///
    /// Up to [`YOUNG`], all of it holds, less the time gone by: how endpoints are, and for how much
    /// longer they are out. Up to a day, what was learned of their settings. Then nothing.
    pub fn restore<'a>(
        &self,
        upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>,
        age: Duration,
        now: Instant,
    ) -> Restored {
        let mut restored = Restored::default();
        if age > LEARNED {
            return restored;
        }
        let mut found = 0;
        for upstream in upstreams {
            let Some(known) = self.upstreams.get(&*upstream.name) else {
                continue;
            };
            upstream.usual_wait().resume(&known.waits, age, now);
            let rules = (
                upstream.outlier_detection(),
                upstream.health_check().is_some(),
            );
            for endpoint in upstream.endpoints().iter() {
                let Some(known) = known.endpoints.get(&endpoint.address.to_string()) else {
                    continue;
                };
                found += 1;
                if age > YOUNG {
                    let unknown = Condition::new(Health::Unknown, now);
                    let settings = known.live.settings();
                    endpoint.live.resume(&settings, &unknown, age, now);
                    continue;
                }
                let Some(member) = &known.member else {
                    continue;
                };
                let state = upstream::State::resume(member, rules, age, now);
                endpoint
                    .live
                    .resume(&known.live, state.condition(), age, now);
                restored.endpoints += 1;
                restored.out += usize::from(state.condition().health().is_out());
                restored.members.insert(endpoint.live.id(), state);
            }
        }
        let all = self.upstreams.values().map(|known| known.endpoints.len());
        restored.gone = all.sum::<usize>() - found;
        restored
    }

    /// What was counted, to go on from.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

/// How long what is known of an endpoint's health says anything: what is out for longer has mostly
/// been mended or replaced, and ejections last so long by default.
pub const YOUNG: Duration = Duration::from_mins(5);

/// How long what was learned of an endpoint's settings holds: they change with its deploys.
pub const LEARNED: Duration = Duration::from_hours(24);
