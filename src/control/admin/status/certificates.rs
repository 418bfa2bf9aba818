//! Certificates that clients and endpoints are shown, as the status tells of them.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::control::certificates::Validity;
use crate::snapshot::Snapshot;
use crate::telemetry::rfc3339;
use crate::tls;

/// A certificate that clients or endpoints are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The listener that shows it to clients; empty if it is not for them.
    pub listener: String,
    /// The upstream that shows it to its endpoints; empty if it is not for them.
    #[serde(default)]
    pub upstream: String,
    /// The file that it was read from.
    pub file: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// From when it is valid, in RFC 3339.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// Time until then, less than zero once it has passed.
    pub expires_s: i64,
    /// `valid`, `expiring` within two weeks, `expired`, or `early` if it is not valid yet.
    pub state: String,
    /// What its authority says of it, if there is a file of that.
    #[serde(default)]
    pub ocsp: Option<Ocsp>,
}

/// What an authority says of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ocsp {
    /// The file that it was read from.
    pub file: String,
    /// From when it holds, in RFC 3339; empty if that is not known.
    pub this_update: String,
    /// Until when.
    pub next_update: String,
    /// Whether clients are shown it.
    pub is_shown: bool,
    /// What is wrong with it; empty if only its time is.
    #[serde(default)]
    pub why: String,
}

/// All certificates, by listener and then by upstream.
pub(crate) fn certificates(snapshot: &Snapshot) -> Vec<Certificate> {
    let now = SystemTime::now();
    let mut views = Vec::new();
    for listener in &snapshot.listeners {
        let certificates = listener.tls.iter().flat_map(|tls| tls.certificates());
        views.extend(certificates.map(|one| view((&listener.name, ""), &one, now)));
    }
    for upstream in snapshot.upstreams.values() {
        let certificate = upstream.tls().and_then(|tls| tls.certificate());
        views.extend(certificate.map(|one| view(("", &upstream.name), &one, now)));
    }
    views
}

fn view(
    (listener, upstream): (&str, &str),
    certificate: &tls::Certificate,
    now: SystemTime,
) -> Certificate {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let left = certificate.not_after.duration_since(now);
    let state = match Validity::of(certificate, now) {
        Validity::Early => "early",
        Validity::Valid => "valid",
        Validity::Expiring => "expiring",
        Validity::Expired => "expired",
    };
    Certificate {
        listener: listener.to_owned(),
        upstream: upstream.to_owned(),
        file: certificate.file.to_string_lossy().into_owned(),
        names: certificate.names.iter().map(ToString::to_string).collect(),
        issuer: certificate.issuer.to_string(),
        not_before: rfc3339(certificate.not_before),
        not_after: rfc3339(certificate.not_after),
        expires_s: left.map_or_else(|passed| -seconds(passed.duration()), seconds),
        state: state.to_owned(),
        ocsp: ocsp(certificate, now),
    }
}

/// What has expired since the last look at the files is about to be left away.
fn ocsp(certificate: &tls::Certificate, now: SystemTime) -> Option<Ocsp> {
    let unshown = certificate.unshown.as_ref().map(|unshown| Ocsp {
        file: unshown.file.to_string_lossy().into_owned(),
        this_update: String::new(),
        next_update: String::new(),
        is_shown: false,
        why: unshown.why.clone(),
    });
    let staple = certificate.staple.as_ref().map(|staple| Ocsp {
        file: staple.file.to_string_lossy().into_owned(),
        this_update: rfc3339(staple.this_update),
        next_update: rfc3339(staple.next_update),
        is_shown: staple.is_shown && staple.is_valid_at(now),
        why: String::new(),
    });
    unshown.or(staple)
}
