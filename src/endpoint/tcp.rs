//! What is measured about the network between this instance and an endpoint.

use std::sync::{Arc, OnceLock};

use super::metrics::Names;
use crate::telemetry::metrics::{Family, Kind, Registry};
use crate::telemetry::tcp::{DELIVERY_RATES, ROUND_TRIPS, TcpFamilies, TcpMeasures};

/// The measures of one endpoint, made by its first connection.
#[derive(Debug, Default)]
pub(super) struct EndpointTcp {
    series: OnceLock<Arc<TcpMeasures>>,
}

impl EndpointTcp {
    pub(super) fn measures(&self, registry: &Registry, names: &Names) -> Arc<TcpMeasures> {
        let made = self.series.get_or_init(|| {
            let labels = [
                ("upstream", &*names.upstream),
                ("zone", &*names.zone),
                ("endpoint", &*names.endpoint),
            ];
            Arc::new(TcpMeasures::new(registry, &FAMILIES, &labels))
        });
        Arc::clone(made)
    }

    /// The same series for the next build; those that found no room are asked for again.
    pub(super) fn renewed(&self) -> Self {
        let own = self.series.get().filter(|_| self.are_whole());
        Self {
            series: own.map_or_else(OnceLock::new, |series| OnceLock::from(Arc::clone(series))),
        }
    }

    /// Whether they found room, or were not asked for yet.
    pub(super) fn are_whole(&self) -> bool {
        self.series.get().is_none_or(|series| series.is_whole())
    }
}

static FAMILIES: TcpFamilies = TcpFamilies {
    round_trip: &ROUND_TRIP,
    delivery_rate: &DELIVERY_RATE,
    segments: &SEGMENTS,
    retransmits: &RETRANSMITS,
};

static ROUND_TRIP: Family = Family {
    name: "evenkeel_endpoint_tcp_rtt_seconds",
    help: "Smoothed round trips of connections to the endpoint, by the kernel; sampled.",
    kind: Kind::Histogram,
    buckets: Some(ROUND_TRIPS),
};

static DELIVERY_RATE: Family = Family {
    name: "evenkeel_endpoint_tcp_delivery_rate_bytes_per_second",
    help: "How fast the network took what was sent to the endpoint; sampled, where it was the limit, and no slow reader.",
    kind: Kind::Histogram,
    buckets: Some(DELIVERY_RATES),
};

static SEGMENTS: Family = Family {
    name: "evenkeel_endpoint_tcp_segments_total",
    help: "Segments with data sent on connections to the endpoint; of those that were sampled.",
    kind: Kind::Counter,
    buckets: None,
};

static RETRANSMITS: Family = Family {
    name: "evenkeel_endpoint_tcp_retransmits_total",
    help: "Those of these segments that were sent again.",
    kind: Kind::Counter,
    buckets: None,
};
