//! Health checks: one probe, which can be, and ends before the next begins.

use std::time::Duration;

use super::protocols::may_speak_http2;
use super::{Findings, Item, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::format::Upstream;
use crate::config::units::Time;

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    for upstream in world.upstreams.values() {
        if upstream.has(&["health"]) {
            probe(upstream, findings);
            grpc(upstream, findings);
            interval(upstream, findings);
        }
    }
}

fn probe(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let written = PROBES
        .iter()
        .filter(|(kind, _)| upstream.has(&["health", kind]));
    let written: Vec<&(&str, &str)> = written.collect();
    let name = upstream.name;
    match &written[..] {
        [] if upstream.sound => {
            let title = format!("the health check of upstream `{name}` has no probe");
            findings.push(
                Diagnostic::new(Code::HealthProbe, title)
                    .at(
                        upstream.key_place(&["health"]),
                        "`http`, `grpc`, `tcp` or `udp` is missing",
                    )
                    .help("`http = { path = \"/healthz\" }` asks, `tcp = {}` connects"),
            );
        }
        [] | [_] => {}
        [first, .., last] => {
            let title = format!("the health check of upstream `{name}` has several probes");
            findings.push(
                Diagnostic::new(Code::HealthProbe, title)
                    .at(upstream.key_place(&["health", last.0]), last.1)
                    .also(upstream.key_place(&["health", first.0]), first.1),
            );
        }
    }
}

/// gRPC is spoken over HTTP/2.
fn grpc(upstream: &Item<'_, Upstream>, findings: &mut Findings) {
    let Some(written) = upstream.whole() else {
        return;
    };
    if may_speak_http2(written) || !upstream.has(&["health", "grpc"]) {
        return;
    }
    let title = format!(
        "the health check of upstream `{}` is gRPC, and its endpoints are not",
        upstream.name
    );
    let tls = written.tls.is_some();
    let protocol = if tls { "h2" } else { "h2c" };
    let finding = Diagnostic::new(Code::GrpcProbe, title)
        .at(upstream.key_place(&["health", "grpc"]), "asks over HTTP/2")
        .help(format!(
            "`protocol = \"{protocol}\"` speaks HTTP/2 with them"
        ));
    findings.push(if upstream.has(&["protocol"]) {
        finding.also(upstream.place(&["protocol"]), "HTTP/1.1 is spoken")
    } else {
        finding.also(upstream.key, "HTTP/1.1 is spoken")
    });
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

/// The kinds of probes, and what each does.
const PROBES: [(&str, &str); 4] = [
    ("http", "asks for a resource, which connects as well"),
    (
        "grpc",
        "asks the gRPC health service, which connects as well",
    ),
    ("tcp", "connects"),
    ("udp", "sends a datagram"),
];

/// As documented at `health.interval` and `health.timeout`.
const DEFAULT_INTERVAL: Time = Time(Duration::from_secs(2));
const DEFAULT_TIMEOUT: Time = Time(Duration::from_secs(1));
