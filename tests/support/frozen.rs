//! A thread that stands still while the rest of its process goes on.
//!
//! SIGSTOP stops whole processes. strace holds the one thread up when it asks the kernel for
//! something next, for longer than any test, and lets it go when it ends.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::clock::eventually;
use super::evenkeel::Evenkeel;

/// A thread of the program that stands still while this lives.
#[derive(Debug)]
pub(crate) struct Frozen(Child);

impl Frozen {
    /// Stops the thread of this name; `None` where strace is not installed, or may not.
    ///
    /// # Panics
    /// When the program has no such thread.
    pub(crate) fn thread(proxy: &Evenkeel, name: &str) -> Option<Self> {
        Self::thread_of(u64::from(proxy.id()), name)
    }

    /// The same of a process.
    ///
    /// # Panics
    /// When it has no such thread.
    pub(crate) fn thread_of(id: u64, name: &str) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
        let tasks = tasks.map(|task| task.expect("it runs").path());
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mut named = tasks.filter(|task| read(task.join("comm")).trim_end() == name);
        let task = named.next().expect("a thread of this name");
        let id = task.file_name().expect("its number");
        let strace = Command::new("strace")
            .args(["-qq", "-e", "trace=all", "-e"])
            .args(["inject=all:delay_enter=2000000000", "-o", "/dev/null", "-p"])
            .arg(id)
            .stderr(Stdio::null())
            .spawn();
        let Ok(strace) = strace else {
            return skipped("strace is not installed");
        };
        let mut frozen = Self(strace);
        // First when strace begins to look, and then, a moment later, at its next call.
        let stands = || read(task.join("status")).contains("\nState:\tt");
        let held = eventually("strace holds it, or may not", || {
            let over = frozen.0.try_wait().expect("our own child").is_some();
            (over || stands()).then_some(!over)
        });
        if held {
            return Some(frozen);
        }
        skipped("strace may not hold threads here")
    }
}

/// Lets it go on.
impl Drop for Frozen {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended already.
            let _ = kill_process(id, Signal::INT);
        }
        drop(self.0.wait());
    }
}

/// Says that a test does not run for want of strace. Where `EVENKEEL_STRACE` is `required`, it has
/// to be there.
#[expect(clippy::print_stderr, reason = "a test that does not run must say so")]
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    let required = std::env::var("EVENKEEL_STRACE").is_ok_and(|value| value == "required");
    assert!(!required, "{why}");
    eprintln!("skipped: {why}");
    None
}
