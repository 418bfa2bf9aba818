//! The Python whose libraries are counterparts of ours, where they are installed.
//!
//! `EVENKEEL_PYTHON` names the interpreter that has what `requirements.txt` lists.

use std::env;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The interpreter.
pub(crate) fn python() -> String {
    env::var("EVENKEEL_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Whether it has these modules, which is asked once. Says so where it has not, or fails where
/// `required` is the value of this variable.
#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
pub(crate) fn has(modules: &str, variable: &str, found: &OnceLock<bool>) -> bool {
    let is_there = *found.get_or_init(|| {
        let asked = Command::new(python())
            .args(["-c", &format!("import {modules}")])
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    });
    if !is_there {
        let is_required = env::var(variable).is_ok_and(|value| value == "required");
        assert!(!is_required, "not installed for Python: {modules}");
        eprintln!("skipped: not installed for Python: {modules}");
    }
    is_there
}
