//! The cgroup: how much CPU and memory there is, and whether there has been too little.

use std::fs;
use std::path::Path;

use super::{Finding, Subject};
use crate::config::Config;
use crate::control::cpus;

/// Looks at the cgroup of the instance, or at the one that this command runs in.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        CHECK,
        format!("{} CPUs may be used", cpus::available()),
    )];
    let Some(directory) = cpus::cgroup_of(subject.process()) else {
        findings.push(Finding::ok(CHECK, "no cgroup of version 2 limits it"));
        return findings;
    };
    findings.extend(throttled(&read(&directory, "cpu.stat")));
    findings.extend(memory(&directory, subject.config()));
    findings
}

/// Periods in which the quota was used up.
pub(super) fn throttled(stat: &str) -> Option<Finding> {
    let value = |name: &str| -> Option<u64> {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let (periods, throttled) = (value("nr_periods ")?, value("nr_throttled ")?);
    let what = format!("the CPU quota was used up in {throttled} of {periods} periods");
    Some(if throttled * 100 > periods {
        let remedy = "raise the quota: while it is used up, every request waits for up to 100 ms";
        Finding::warn(CHECK, what, remedy)
    } else {
        Finding::ok(CHECK, what)
    })
}

fn memory(directory: &Path, config: Option<&Config>) -> Vec<Finding> {
    let number = |name: &str| read(directory, name).trim().parse::<u64>().ok();
    let Some(most) = number("memory.max") else {
        return vec![Finding::ok(CHECK, "no limit of memory")];
    };
    let mut findings = Vec::new();
    let killed = read(directory, "memory.events");
    let killed = killed
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "));
    if let Some(killed) = killed.filter(|killed| *killed != "0") {
        let what = format!("{killed} processes were killed here for want of memory");
        findings.push(Finding::warn(CHECK, what, "raise the limit of memory"));
    }
    let expected = config.map(expected);
    findings.push(match (number("memory.current"), expected) {
        (Some(now), _) if now > most / 100 * 95 => Finding::bad(
            CHECK,
            format!(
                "{} MiB of memory are used, of {} MiB",
                now >> 20,
                most >> 20
            ),
            "raise the limit of memory, or lower max_connections",
        ),
        (_, Some(expected)) if expected > most => Finding::warn(
            CHECK,
            format!(
                "{} MiB of memory may be used; as many connections as the listeners take may need \
                 {} MiB",
                most >> 20,
                expected >> 20
            ),
            "raise the limit of memory, or lower max_connections to what is meant",
        ),
        _ => Finding::ok(CHECK, format!("{} MiB of memory may be used", most >> 20)),
    });
    findings
}

/// What an instance needs whose listeners have as many connections as they take.
fn expected(config: &Config) -> u64 {
    let listeners = config.listener.values();
    let each = listeners.map(|listener| {
        let connections = u64::from(listener.max_connections.unwrap_or(10_000));
        let bytes = if listener.tls.is_some() {
            WITH_TLS
        } else {
            PLAIN
        };
        connections * bytes
    });
    AT_REST + each.sum::<u64>()
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_default()
}

const CHECK: &str = "cgroup";

/// In bytes, without connections.
const AT_REST: u64 = 32 << 20;

/// Of a connection with a request under way and its connection to an endpoint: see
/// `docs/benchmarks.md`, and the kernel's share of its sockets.
const PLAIN: u64 = 16 << 10;
const WITH_TLS: u64 = 48 << 10;
