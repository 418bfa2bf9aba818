//! What is measured about the network between clients and a listener.

use std::sync::Arc;

use super::spoken::ConnectionProtocol;
use crate::telemetry::metrics::{Family, Kind, Registry};
use crate::telemetry::tcp::{DELIVERY_RATES, ROUND_TRIPS, TcpFamilies, TcpMeasures};

/// The measures of a listener, unless it is datagrams that come there.
pub(super) fn clients_tcp(
    registry: &Registry,
    listener: &str,
    spoken: &[ConnectionProtocol],
) -> Option<Arc<TcpMeasures>> {
    if spoken.contains(&ConnectionProtocol::Udp) {
        return None;
    }
    let measures = TcpMeasures::new(registry, &FAMILIES, &[("listener", listener)]);
    Some(Arc::new(measures))
}

static FAMILIES: TcpFamilies = TcpFamilies {
    round_trip: &ROUND_TRIP,
    delivery_rate: &DELIVERY_RATE,
    segments: &SEGMENTS,
    retransmits: &RETRANSMITS,
};

static ROUND_TRIP: Family = Family {
    name: "evenkeel_tcp_rtt_seconds",
    help: "Smoothed round trips of clients' connections, by the kernel; sampled.",
    kind: Kind::Histogram,
    buckets: Some(ROUND_TRIPS),
};

static DELIVERY_RATE: Family = Family {
    name: "evenkeel_tcp_delivery_rate_bytes_per_second",
    help: "How fast the network took what was sent to clients; sampled, where it was the limit, and no slow reader.",
    kind: Kind::Histogram,
    buckets: Some(DELIVERY_RATES),
};

static SEGMENTS: Family = Family {
    name: "evenkeel_tcp_segments_total",
    help: "Segments with data sent on clients' connections; of those that were sampled.",
    kind: Kind::Counter,
    buckets: None,
};

static RETRANSMITS: Family = Family {
    name: "evenkeel_tcp_retransmits_total",
    help: "Those of these segments that were sent again.",
    kind: Kind::Counter,
    buckets: None,
};
