//! The clock: certificates, tickets and logs are judged by it.

use std::fs;
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::time::since_epoch;

/// Whether somebody keeps it, and whether it is cheap to read.
pub(super) fn check() -> Vec<Finding> {
    let mut findings = Vec::new();
    let remedy = "start chrony or systemd-timesyncd; in a virtual machine, see the host's";
    if since_epoch(SystemTime::now()) < PAST {
        findings.push(Finding::bad(CHECK, "it is set to years ago", remedy));
    }
    findings.push(match kept() {
        Some(true) => Finding::ok(CHECK, "it is synchronised"),
        Some(false) => Finding::warn(CHECK, "the kernel says that nobody synchronises it", remedy),
        None => Finding::warn(
            CHECK,
            "the kernel does not say whether it is synchronised",
            remedy,
        ),
    });
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    if let Ok(source) = fs::read_to_string(source) {
        let source = source.trim();
        findings.push(if ["hpet", "acpi_pm", "jiffies"].contains(&source) {
            let what =
                format!("the clock is read from {source}, which takes a microsecond each time");
            Finding::warn(
                CHECK,
                what,
                "clocksource=tsc on the kernel's command line, if it is steady",
            )
        } else {
            Finding::ok(CHECK, format!("the clock is read from {source}"))
        });
    }
    findings
}

/// Whether the kernel holds the clock for synchronised; `None` if it does not tell.
fn kept() -> Option<bool> {
    #[expect(unsafe_code, reason = "`rustix` has no adjtimex")]
    // SAFETY: all of it may be zero, and without modes nothing is set: the kernel only fills it.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    match state {
        ..0 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}

const CHECK: &str = "clock";

/// 2025: this program is younger.
const PAST: Duration = Duration::from_hours(482_136);
