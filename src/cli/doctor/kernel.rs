//! The kernel: what it can do that is used where it can.

use std::fs;

use super::{Finding, Subject, number};

/// Looks at its version, and at what it lets programs do.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut findings = vec![match version_of(release) {
        Some(version) if version < OLDEST => Finding::warn(
            CHECK,
            format!("Linux {release} is older than what is tested"),
            "Linux 5.10 or newer",
        ),
        _ => Finding::ok(CHECK, format!("Linux {release}")),
    }];
    findings.push(match rustix::pipe::pipe() {
        Ok(_) => Finding::ok(CHECK, "splice: large bodies pass by our memory"),
        Err(error) => Finding::warn(
            CHECK,
            format!("no pipe can be made: {error}"),
            "see the limit of open files, and of pipes (fs.pipe-user-pages-soft)",
        ),
    });
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    findings.push(
        if modules.split(',').any(|module| module.trim() == "landlock") {
            Finding::ok(CHECK, "Landlock: the instance can shut itself in")
        } else {
            Finding::ok(
                CHECK,
                "Landlock: this kernel does not say that it has it; without, it is left out",
            )
        },
    );
    let wants = subject.config().is_some_and(|config| {
        config
            .listener
            .values()
            .any(|listener| listener.socket.fast_open.is_some())
    });
    let flags = number("/proc/sys/net/ipv4/tcp_fastopen").unwrap_or_default();
    findings.push(if wants && flags & 2 == 0 {
        let remedy = "sysctl -w net.ipv4.tcp_fastopen=3, and in /etc/sysctl.d to last";
        Finding::warn(
            CHECK,
            "TCP Fast Open: asked for by a listener, and off",
            remedy,
        )
    } else {
        Finding::ok(
            CHECK,
            format!("TCP Fast Open: net.ipv4.tcp_fastopen is {flags}"),
        )
    });
    findings
}

/// The first two numbers of a release.
pub(super) fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

const CHECK: &str = "kernel";

/// What CI has is newer; what distributions still keep up is not older.
const OLDEST: (u32, u32) = (5, 10);
