//! The secrets of sessions, written down for whoever records traffic and wants to read it.
//!
//! Problem: what is wrong inside TLS shows in no record of the network. Browsers and tools write
//! the secrets of their sessions to the file that `SSLKEYLOGFILE` names (RFC 9850), and Wireshark
//! reads it. But with that file anybody reads everything, so a variable that was left in an
//! environment is not enough: the configuration must say so too.

use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
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
    /// The log to make sessions with. Where there is a fault with the file, nothing is written.
    pub fn log(self) -> Arc<dyn KeyLog> {
        if self == Self::Off || Self::fault().is_some() {
            return Arc::new(NoKeyLog {});
        }
        Arc::new(KeyLogFile::new())
    }

    /// Why the file that the environment names is not written to, if there is one. It is made if it
    /// is not there, before rustls does, so that nobody but its owner may read it.
    pub fn fault() -> Option<String> {
        let path = PathBuf::from(env::var_os("SSLKEYLOGFILE")?);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path);
        let mode = file.and_then(|file| Ok(file.metadata()?.permissions().mode()));
        let path = path.display();
        match mode {
            Ok(mode) if mode & READABLE_BY_OTHERS == 0 => None,
            Ok(_) => Some(format!("{path} may be read by others than its owner")),
            Err(error) => Some(format!("{path} cannot be opened: {error}")),
        }
    }
}

/// The bits of a file's mode for its group and for everybody.
const READABLE_BY_OTHERS: u32 = 0o044;
