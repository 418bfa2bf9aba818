//! The probes of Kubernetes and its likes, in the API server's manner.
//!
//! None of them looks at endpoints by itself: a liveness probe that did would turn their outage
//! into ours, and a readiness probe that did would take every instance out at once. Readiness
//! follows those of the upstreams in `admin.ready_when`; `?exclude=upstreams` asks about this
//! instance alone, and `?exclude=NAME` leaves one check out, as the API server has it.

use http::StatusCode;

use super::answer::{self, Response};
use super::target::Query;
use crate::control::ready::{Check, Readiness, UPSTREAM, followed};
use crate::snapshot::Snapshot;

/// Whether this process should go on. The answer is the proof: it took a task of the runtime.
pub(super) fn livez(query: &Query) -> Response {
    let ping = Check {
        name: "ping".into(),
        holds: true,
    };
    report("livez", &[ping], "", query)
}

/// Whether traffic may be sent here.
pub(super) fn readyz(readiness: &Readiness, snapshot: &Snapshot, query: &Query) -> Response {
    let mut checks = readiness.checks().to_vec();
    checks.extend(followed(snapshot));
    checks.retain(|check| !query.all("exclude").any(|name| is_of(check, name)));
    report("readyz", &checks, &notes(readiness), query)
}

/// Whether a check is meant by a name.
fn is_of(check: &Check, name: &str) -> bool {
    check.name == name || name == UPSTREAMS && check.name.starts_with(UPSTREAM)
}

/// Whether the start is over. Unlike readiness it stays so while the process drains.
pub(super) fn startupz(readiness: &Readiness, query: &Query) -> Response {
    let checks = readiness.checks();
    let started: Vec<Check> = checks
        .into_iter()
        .filter(|check| check.name != NOT_DRAINING)
        .collect();
    report("startupz", &started, &notes(readiness), query)
}

/// What is to be known though it fails nothing.
fn notes(readiness: &Readiness) -> String {
    readiness.instead().map_or_else(String::new, |instead| {
        // Whoever may ask this may not be shown the configuration: `status` tells what is wrong.
        let why = instead.why.first().map_or("", String::as_str);
        format!("[+]last-good-configuration in force: {}\n", one_line(why))
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn report(probe: &str, checks: &[Check], notes: &str, query: &Query) -> Response {
    let passed = checks.iter().all(|check| check.holds);
    let status = if passed {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // The reason of a failure is told unasked: it stands in the events of the pod then.
    let body = if passed && query.first("verbose").is_none() {
        "ok\n".to_owned()
    } else {
        verbose(probe, checks, notes, passed)
    };
    answer::text(status, "text/plain; charset=utf-8", body)
}

fn verbose(probe: &str, checks: &[Check], notes: &str, passed: bool) -> String {
    let mut text = String::new();
    for check in checks {
        text.push_str(if check.holds { "[+]" } else { "[-]" });
        text.push_str(&check.name);
        text.push_str(if check.holds { " ok\n" } else { " failed\n" });
    }
    text.push_str(notes);
    text.push_str(probe);
    text.push_str(if passed {
        " check passed\n"
    } else {
        " check failed\n"
    });
    text
}

/// All upstreams that readiness follows.
const UPSTREAMS: &str = "upstreams";

/// The check that a start does not wait for.
const NOT_DRAINING: &str = "not-draining";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_stays_over_while_the_process_drains() {
        let (readiness, query) = (Readiness::new(), Query::default());
        assert_eq!(
            startupz(&readiness, &query).status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        readiness.listening();
        readiness.configured();
        assert_eq!(startupz(&readiness, &query).status(), StatusCode::OK);
        assert!(readiness.is_ready());
        readiness.draining();
        assert_eq!(startupz(&readiness, &query).status(), StatusCode::OK);
        assert!(!readiness.is_ready());
        assert_eq!(livez(&query).status(), StatusCode::OK);
    }

    #[test]
    fn each_check_has_a_line() {
        let checks = [("listeners", true), ("configuration", false)];
        let checks = checks.map(|(name, holds)| Check {
            name: name.into(),
            holds,
        });
        assert_eq!(
            verbose("readyz", &checks, "", false),
            "[+]listeners ok\n[-]configuration failed\nreadyz check failed\n"
        );
    }
}
