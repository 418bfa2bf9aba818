//! The probes of Kubernetes and its likes, in the API server's manner.
//!
//! None of them looks at endpoints: a liveness probe that did would turn their outage into ours,
//! and a readiness probe that did would take every instance out at once.

use http::StatusCode;

use super::answer::{self, Response};
use super::target::Query;
use crate::control::ready::{Check, Readiness};

/// Whether this process should go on. The answer is the proof: it took a task of the runtime.
pub(super) fn livez(query: &Query) -> Response {
    let ping = Check {
        name: "ping",
        holds: true,
    };
    report("livez", &[ping], query)
}

/// Whether traffic may be sent here.
pub(super) fn readyz(readiness: &Readiness, query: &Query) -> Response {
    report("readyz", &readiness.checks(), query)
}

/// Whether the start is over. Unlike readiness it stays so while the process drains.
pub(super) fn startupz(readiness: &Readiness, query: &Query) -> Response {
    let checks = readiness.checks();
    let started: Vec<Check> = checks
        .into_iter()
        .filter(|check| check.name != NOT_DRAINING)
        .collect();
    report("startupz", &started, query)
}

fn report(probe: &str, checks: &[Check], query: &Query) -> Response {
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
        verbose(probe, checks, passed)
    };
    answer::text(status, "text/plain; charset=utf-8", body)
}

fn verbose(probe: &str, checks: &[Check], passed: bool) -> String {
    let mut text = String::new();
    for check in checks {
        text.push_str(if check.holds { "[+]" } else { "[-]" });
        text.push_str(check.name);
        text.push_str(if check.holds { " ok\n" } else { " failed\n" });
    }
    text.push_str(probe);
    text.push_str(if passed {
        " check passed\n"
    } else {
        " check failed\n"
    });
    text
}

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
        assert_eq!(readyz(&readiness, &query).status(), StatusCode::OK);
        readiness.draining();
        assert_eq!(startupz(&readiness, &query).status(), StatusCode::OK);
        assert_eq!(
            readyz(&readiness, &query).status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(livez(&query).status(), StatusCode::OK);
    }

    #[test]
    fn each_check_has_a_line() {
        let checks = [("listeners", true), ("configuration", false)];
        let checks = checks.map(|(name, holds)| Check { name, holds });
        assert_eq!(
            verbose("readyz", &checks, false),
            "[+]listeners ok\n[-]configuration failed\nreadyz check failed\n"
        );
    }
}
