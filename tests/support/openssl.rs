//! OpenSSL as a counterpart, where it is installed. `EVENKEEL_OPENSSL=required` says that it must
//! be.

use std::env;
use std::process::{Child, Command, Stdio};

use super::command::Files;
use super::port::Port;

/// OpenSSL as a server, which ends with this.
#[derive(Debug)]
pub(crate) struct OpenSsl(Child);

impl OpenSsl {
    /// One that shows `db.pem` of these files and tells its clients what it knows of them; `None`
    /// where it is not installed.
    pub(crate) fn start(files: &Files, port: &Port, more: &[&str]) -> Option<Self> {
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept"])
            .arg(port.address().to_string())
            .arg("-cert")
            .arg(files.path("db.pem"))
            .arg("-key")
            .arg(files.path("db.key"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if child.is_err() {
            missing("openssl");
        }
        child.ok().map(Self)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Says that a test could not run, or fails where that must not be.
#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
pub(crate) fn missing(tool: &str) {
    let is_required = env::var("EVENKEEL_OPENSSL").is_ok_and(|value| value == "required");
    assert!(!is_required, "{tool} is not installed");
    eprintln!("skipped: {tool} is not installed");
}
