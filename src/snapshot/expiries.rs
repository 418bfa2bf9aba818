//! When certificates expire, as metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Upstreams;
use crate::telemetry::metrics::{Family, Gauge, Kind, Registry};
use crate::time::since_epoch;
use crate::tls::Certificate;

/// Those of certificates that endpoints are shown, by their files. Told before every scrape, since
/// they are renewed without a new snapshot.
#[derive(Debug)]
pub(super) struct Expiries {
    registry: Registry,
    gauges: Mutex<BTreeMap<String, Gauge>>,
}

impl Expiries {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            gauges: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, upstreams: &Upstreams) {
        let clients = upstreams.values().filter_map(|upstream| upstream.tls());
        let certificates = clients.filter_map(|tls| tls.certificate());
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        for certificate in certificates {
            let file = certificate.file.to_string_lossy().into_owned();
            let gauge = gauges.entry(file);
            let gauge = gauge.or_insert_with_key(|file| gauge_of(&self.registry, file));
            tell(gauge, &certificate);
        }
    }
}

/// The gauge of a certificate's file.
pub(super) fn gauge_of(registry: &Registry, file: &str) -> Gauge {
    registry.gauge(&EXPIRY, &[("cert", file)])
}

/// Tells when a certificate expires.
pub(super) fn tell(gauge: &Gauge, certificate: &Certificate) {
    gauge.set_f64(since_epoch(certificate.not_after).as_secs_f64());
}

static EXPIRY: Family = Family {
    name: "evenkeel_tls_cert_expiry_timestamp_seconds",
    help: "When a certificate that clients or endpoints are shown expires.",
    kind: Kind::Gauge,
    buckets: None,
};
