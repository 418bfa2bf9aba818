//! Endpoints and upstreams to tell of.

use super::*;

pub(super) fn endpoint(name: &str, zone: &str, state: &str) -> Endpoint {
    Endpoint {
        name: name.into(),
        address: name.into(),
        zone: zone.into(),
        state: state.into(),
        for_s: None,
        why: String::new(),
        ejected_for_s: None,
        ejections_in_a_row: 0,
        backing_off: false,
        backup: false,
        weight: 1,
        weight_percent: 100,
        penalty: 0,
        late_in_a_row: 0,
        sheds: false,
        in_flight: 0,
        connections: 0,
    }
}

pub(super) fn upstream(name: &str, endpoints: Vec<Endpoint>) -> Upstream {
    Upstream {
        name: name.into(),
        standing: "healthy".into(),
        is_checked: true,
        tls: String::new(),
        ejections_suspended: false,
        balance: String::new(),
        in_flight: 0,
        max_in_flight: None,
        waiting: 0,
        newest_first: false,
        retries: 0,
        retries_allowed: 100,
        hedge_after_ms: None,
        healthy: endpoints
            .iter()
            .filter(|endpoint| endpoint.state == "healthy")
            .count(),
        endpoints,
    }
}
