//! Certificates: whether they can be used, for how long, and who can read their keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::{Finding, Subject};
use crate::config::Config;
use crate::control::certificates::{expiring, read_at_once};
use crate::control::materials;

/// Reads all that the configuration names.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let Some(config) = subject.config() else {
        return Vec::new();
    };
    let (places, sources) = (&subject.outcome.places, &subject.outcome.sources);
    let now = SystemTime::now();
    let mut findings = Vec::new();
    match read_at_once(config) {
        Err(unusable) => findings.extend(unusable.iter().map(|one| {
            let what = one.finding(places).one_line(sources);
            Finding::bad(CHECK, what, "`evenkeel check` shows the place")
        })),
        Ok(certificates) => {
            let all: usize = certificates.values().map(Vec::len).sum();
            let valid = certificates.values().flatten();
            let invalid = valid.filter(|one| !one.is_valid_at(now)).count();
            let soon = expiring(&certificates, now);
            let judged = if invalid > 0 {
                Finding::bad
            } else {
                Finding::warn
            };
            findings.extend(soon.iter().map(|one| {
                judged(
                    CHECK,
                    one.to_string(),
                    "see whether it is renewed, and by what",
                )
            }));
            if soon.is_empty() && all > 0 {
                findings.push(Finding::ok(
                    CHECK,
                    format!("{all} are valid for two weeks or more"),
                ));
            }
        }
    }
    match materials::read_at_once(config) {
        Err(unusable) => findings.extend(unusable.iter().map(|one| {
            let what = one.finding(places).one_line(sources);
            Finding::bad(CHECK, what, "`evenkeel check` shows the place")
        })),
        Ok(read) => findings.extend(materials::expiring(&read, now).into_iter().map(
            |(upstream, why)| {
                let what = format!("upstream {upstream}: {why}");
                Finding::warn(CHECK, what, "see whether it is renewed, and by what")
            },
        )),
    }
    findings.extend(keys(config).filter_map(readable_key));
    findings
}

fn keys(config: &Config) -> impl Iterator<Item = &Path> {
    let listeners = config.listener.values();
    let of_clients = listeners
        .filter_map(|listener| listener.tls.as_ref())
        .flat_map(|tls| tls.certificates.iter())
        .map(|certificate| certificate.key.as_path());
    let upstreams = config.upstream.values();
    let of_endpoints = upstreams
        .filter_map(|upstream| upstream.tls.as_ref()?.certificate.as_ref())
        .map(|certificate| certificate.key.as_path());
    of_clients.chain(of_endpoints)
}

fn readable_key(key: &Path) -> Option<Finding> {
    let mode = fs::metadata(key).ok()?.permissions().mode() & 0o777;
    let path = key.display();
    (mode & 0o004 != 0).then(|| {
        let what = format!("{path} can be read by every user of this machine (mode {mode:o})");
        Finding::bad(
            CHECK,
            what,
            format!("chmod o-rwx {path}; then think about a new key"),
        )
    })
}

const CHECK: &str = "certificates";
