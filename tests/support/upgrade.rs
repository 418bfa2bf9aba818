//! Upgrades from outside: a program in the place of another, and what was made of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::clock::eventually;
use super::evenkeel::Evenkeel;

/// How a command `upgrade` ended.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) code: i32,
    pub(crate) report: serde_json::Value,
}

impl Evenkeel {
    /// Starts an instance whose program can be replaced.
    pub(crate) fn start_replaceable(config: &str) -> Self {
        Self::start_among(&[("program".to_owned(), String::new())], config)
    }

    /// Asks for an upgrade and waits for its result.
    pub(crate) fn upgrade(&self) -> Upgraded {
        let output = self.command(&["upgrade", "--json"]);
        let out = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_str(&out);
        Upgraded {
            report: report.unwrap_or_else(|_| panic!("no report: {out}{said}\n{}", self.log())),
            code: output.status.code().expect("a code"),
        }
    }

    /// The same of one that has to succeed. Returns the new process's id.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn upgrade_well(&self) -> u64 {
        let upgraded = self.upgrade();
        assert_eq!(upgraded.code, 0, "{upgraded:?}\n{}", self.log());
        upgraded.report["pid"].as_u64().expect("a number")
    }

    /// The process that answers at the admin's address.
    pub(crate) fn serving(&self) -> u64 {
        self.admin_json("/v1/info")["pid"]
            .as_u64()
            .expect("a number")
    }

    /// Puts a script in the program's place.
    pub(crate) fn replace_program(&self, script: &str) {
        let path = self.path("program");
        fs::remove_file(&path).expect("a file");
        // Whole at once: a file that is still written to cannot be started.
        let beside = self.path("program.new");
        fs::write(&beside, script).expect("a writable directory");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("our own file");
        fs::rename(beside, path).expect("a writable directory");
    }

    /// Puts the program itself there again.
    pub(crate) fn put_program_back(&self) {
        let path = self.path("program");
        // It may have been taken away.
        drop(fs::remove_file(&path));
        symlink(env!("CARGO_BIN_EXE_evenkeel"), path).expect("a writable directory");
    }
}

/// Asks a process that an upgrade has started for its end.
pub(crate) fn end(id: u64) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has an id"), Signal::TERM).expect("a running program");
}

/// Ends one of them as a crash would.
pub(crate) fn end_at_once(id: u64) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has an id"), Signal::KILL).expect("a running program");
}

/// The children of a process. Each is listed with the thread that started it.
pub(crate) fn children_of(id: u64) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children: String = children.collect();
    let ids = children.split_whitespace();
    ids.map(|id| id.parse().expect("a number")).collect()
}

/// Waits until a process is gone, or only its parent has not noticed.
pub(crate) fn wait_until_ended(id: u64) {
    eventually("the process ends", || {
        let state = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
        let Ok(state) = state else { return Some(()) };
        let state = state.rsplit(") ").next().unwrap_or_default().to_owned();
        state.starts_with('Z').then_some(())
    });
}
