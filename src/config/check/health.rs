//! Health checks: one probe, which ends before the next begins.

use std::time::Duration;

use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Upstream;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        if upstream.has(&["health"]) {
            probe(upstream, findings);
            interval(upstream, findings);
        }
    }
}

fn probe(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let (http, tcp) = (&["health", "http"][..], &["health", "tcp"][..]);
    let name = upstream.name;
    match (upstream.has(http), upstream.has(tcp)) {
        (true, true) => {
            let title = format!("the health check of upstream `{name}` has two probes");
            findings.push(
                Diagnostic::new(Code::HealthProbe, title)
                    .at(upstream.key_place(tcp), "connects")
                    .also(
                        upstream.key_place(http),
                        "asks for a resource, which connects as well",
                    ),
            );
        }
        (false, false) if upstream.sound => {
            let title = format!("the health check of upstream `{name}` has no probe");
            findings.push(
                Diagnostic::new(Code::HealthProbe, title)
                    .at(
                        upstream.key_place(&["health"]),
                        "`http` or `tcp` is missing",
                    )
                    .help("`http = { path = \"/healthz\" }` asks, `tcp = {}` connects"),
            );
        }
        (true, false) | (false, true | false) => {}
    }
}

fn interval(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(health) = upstream
        .written
        .as_ref()
        .and_then(|written| written.health.as_ref())
    else {
        return;
    };
    let interval = health.interval.unwrap_or(DEFAULT_INTERVAL);
    let timeout = health.timeout.unwrap_or(DEFAULT_TIMEOUT);
    if timeout <= interval {
        return;
    }
    let title = format!(
        "a probe of upstream `{}` may take longer than the time to the next",
        upstream.name
    );
    let of_interval = upstream.node.at(&["health", "interval"]);
    let of_timeout = upstream.node.at(&["health", "timeout"]);
    let found = Diagnostic::new(Code::HealthInterval, title);
    findings.push(match (of_interval, of_timeout) {
        (Some(every), Some(limit)) => found
            .at(limit.place, format!("a probe ends after {timeout}"))
            .also(every.place, format!("the next begins after {interval}")),
        (None, Some(limit)) => found
            .at(limit.place, format!("a probe ends after {timeout}"))
            .help(format!("`interval` is {interval} unless it is set")),
        (Some(every), None) => found
            .at(
                every.place,
                format!("the next probe begins after {interval}"),
            )
            .help(format!("`timeout` is {timeout} unless it is set")),
        (None, None) => return,
    });
}

/// As documented at `health.interval` and `health.timeout`.
const DEFAULT_INTERVAL: Time = Time(Duration::from_secs(2));
const DEFAULT_TIMEOUT: Time = Time(Duration::from_secs(1));
