//! The directory of the state: whether it can be written, and has room.

use std::fs;
use std::path::Path;

use super::{Finding, Subject};
use crate::cli::run::wants_last_good;

/// Writes a file there, and removes it.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let Some(config) = subject.config() else {
        return Vec::new();
    };
    let Some(directory) = &config.state_dir else {
        if wants_last_good() {
            return vec![Finding::warn(
                CHECK,
                "the last good configuration is kept nowhere (EVENKEEL_LAST_GOOD): state_dir is not set",
                "set state_dir: until then a broken file keeps the next start from serving",
            )];
        }
        let what = "nothing is kept over restarts: state_dir is not set";
        return vec![Finding::ok(CHECK, what)];
    };
    vec![tried(directory)]
}

fn tried(directory: &Path) -> Finding {
    let place = directory.display();
    let remedy =
        format!("make it writable for the user of the instance; this was tried as you: {place}");
    // One that is not there yet is made by the instance.
    let there = if directory.is_dir() {
        directory
    } else {
        directory.parent().unwrap_or(directory)
    };
    let file = there.join(format!(".doctor.{}", std::process::id()));
    if let Err(error) = fs::write(&file, b"x") {
        return Finding::bad(CHECK, format!("{place} cannot be written: {error}"), remedy);
    }
    drop(fs::remove_file(&file));
    let room = rustix::fs::statvfs(there).map(|stat| stat.f_bavail * stat.f_frsize);
    match room {
        Ok(room) if room < LEAST => Finding::warn(
            CHECK,
            format!("{place} has room for {} MiB", room >> 20),
            "make room: what is known is lost with a restart once nothing can be written",
        ),
        _ => Finding::ok(CHECK, format!("{place} can be written")),
    }
}

const CHECK: &str = "state_dir";

/// A state of ten thousand endpoints is a few megabytes, and there are two while one is written.
const LEAST: u64 = 64 << 20;
