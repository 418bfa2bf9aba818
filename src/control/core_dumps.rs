//! What the kernel may write of this process's memory, which holds private keys.
//!
//! Problem: a core dump holds every key, and lands where dumps are collected, on disks and in
//! tickets, readable by more people than the files of the keys ever were. So where there are keys,
//! the process is marked as one that is not dumped (`PR_SET_DUMPABLE`), before the first is read.
//! The mark also keeps other processes of the same user from reading its memory (`ptrace`).
//!
//! It is never taken back: keys that were in memory may be there still.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::config::{Config, Upstream};

/// Forbids core dumps if the configuration asks for that, or says nothing and has keys.
pub fn forbid(config: &Config) {
    if config.core_dumps.unwrap_or(!has_keys(config)) {
        return;
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("core dumps, which hold keys, cannot be forbidden: {error}");
    }
}

/// Whether it names private keys: those of listeners, or those that endpoints are shown.
fn has_keys(config: &Config) -> bool {
    let own = |upstream: &Upstream| {
        upstream
            .tls
            .as_ref()
            .is_some_and(|tls| tls.certificate.is_some())
    };
    config.listener.values().any(|one| one.tls.is_some()) || config.upstream.values().any(own)
}
