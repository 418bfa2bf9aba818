//! The secrets of sessions, written down for whoever records traffic and wants to read it.
//!
//! Problem: what is wrong inside TLS shows in no record of the network. Browsers and tools write
//! the secrets of their sessions to the file that `SSLKEYLOGFILE` names (RFC 9850), and Wireshark
//! reads it. But with that file anybody reads everything, so a variable that was left in an
//! environment is not enough: the configuration must say so too.

use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use rustls::{KeyLog, KeyLogFile, NoKeyLog};

/// Whether secrets of sessions are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyLogging {
    /// They are not, whatever the environment says.
    #[default]
    Off,
    /// They are, if the environment names a file.
    On,
}

impl KeyLogging {
    /// The log to make sessions with.
    pub fn log(self) -> Arc<dyn KeyLog> {
        match self {
            Self::Off => Arc::new(NoKeyLog {}),
            Self::On => {
                create();
                Arc::new(KeyLogFile::new())
            }
        }
    }
}

/// Makes the file before rustls does, so that nobody else may read it. One that is there stays as
/// it is, and one that cannot be made is told by rustls.
fn create() {
    if let Some(path) = env::var_os("SSLKEYLOGFILE") {
        let mut options = OpenOptions::new();
        drop(options.append(true).create(true).mode(0o600).open(path));
    }
}
