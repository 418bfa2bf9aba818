//! Datagrams of one endpoint: counted by the sessions that it has.

use std::sync::OnceLock;

use super::metrics::Names;
use crate::telemetry::metrics::{Counter, Family, Handle as _, Kind, Registry};

/// Which way a datagram went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the endpoint.
    Sent,
    /// From the endpoint.
    Received,
}

/// Counters of both directions, made by the first datagram of either.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    /// Datagrams and their bytes, by direction.
    series: OnceLock<[[Counter; 2]; 2]>,
}

impl Datagrams {
    /// Counts datagrams that together have so many bytes.
    pub(super) fn add(
        &self,
        direction: Direction,
        (count, bytes): (u64, u64),
        (registry, names): (&Registry, &Names),
    ) {
        let series = self.series.get_or_init(|| make(registry, names));
        let [datagrams, octets] = &series[direction as usize];
        datagrams.add(count);
        octets.add(bytes);
    }

    /// The same series for the next build; those that found no room are asked for again.
    pub(super) fn renewed(&self) -> Self {
        let own = self.series.get().filter(|_| self.are_whole());
        Self {
            series: own.map_or_else(OnceLock::new, |series| OnceLock::from(series.clone())),
        }
    }

    /// Whether they found room, or were not asked for yet.
    pub(super) fn are_whole(&self) -> bool {
        let series = self.series.get();
        series.is_none_or(|series| series.iter().flatten().all(Counter::is_own))
    }
}

fn make(registry: &Registry, names: &Names) -> [[Counter; 2]; 2] {
    ["sent", "received"].map(|direction| {
        [&DATAGRAMS, &BYTES].map(|family| {
            let labels = [
                ("upstream", &*names.upstream),
                ("zone", &*names.zone),
                ("endpoint", &*names.endpoint),
                ("direction", direction),
            ];
            registry.counter(family, &labels)
        })
    })
}

static DATAGRAMS: Family = Family {
    name: "evenkeel_endpoint_datagrams_total",
    help: "Datagrams of UDP sessions: sent to the endpoint, received from it.",
    kind: Kind::Counter,
    buckets: None,
};

static BYTES: Family = Family {
    name: "evenkeel_endpoint_datagram_bytes_total",
    help: "Bytes of these datagrams.",
    kind: Kind::Counter,
    buckets: None,
};
