//! Open files: whether there are as many as the listeners may need.

use std::fs;

use super::{Finding, Subject};
use crate::config::Config;

/// Looks at the limit of the instance, or at the one that one would be started with here.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let path = format!("/proc/{}/limits", subject.process());
    let text = fs::read_to_string(&path).unwrap_or_default();
    let Some(limit) = hard_limit(&text) else {
        let what = format!("{path} cannot be read");
        return vec![Finding::warn(
            CHECK,
            what,
            "run it as the user of the instance, or as root",
        )];
    };
    vec![judged(limit, subject.config().map(needed))]
}

pub(super) fn judged(limit: u64, needed: Option<u64>) -> Finding {
    match needed {
        _ if limit < LEAST => Finding::bad(
            CHECK,
            format!("{limit} files may be open: a proxied connection is two"),
            "LimitNOFILE=1048576 in the unit, --ulimit nofile=1048576 for a container",
        ),
        Some(needed) if limit < needed => Finding::warn(
            CHECK,
            format!("{limit} files may be open; the listeners' max_connections need {needed}"),
            format!("raise it (LimitNOFILE={needed}), or lower max_connections to what is meant"),
        ),
        Some(needed) => Finding::ok(
            CHECK,
            format!("{limit} files may be open; the listeners' max_connections need {needed}"),
        ),
        None => Finding::ok(CHECK, format!("{limit} files may be open")),
    }
}

/// Each connection is one to a client and one to an endpoint.
fn needed(config: &Config) -> u64 {
    let most = config.listener.values().map(|listener| {
        let most = listener.max_connections.unwrap_or(MAX_CONNECTIONS);
        u64::from(most) * 2
    });
    most.sum::<u64>() + OWN
}

/// The hard limit of open files in `/proc/<pid>/limits`: the soft one is raised to it.
pub(super) fn hard_limit(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

const CHECK: &str = "limits";

/// What a listener takes that says nothing of it.
const MAX_CONNECTIONS: u32 = 10_000;

/// Files beside connections: sockets of listeners, of workers, the log.
const OWN: u64 = 256;

/// Below this a quiet afternoon is enough.
const LEAST: u64 = 1_024;
