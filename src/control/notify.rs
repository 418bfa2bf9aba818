//! What the service manager is told: systemd's notification protocol (`sd_notify(3)`).
//!
//! Only where `NOTIFY_SOCKET` is set; a message that cannot be delivered changes nothing for the
//! traffic, so it is logged and forgotten.

use sd_notify::NotifyState;

/// Everything is bound and configured.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun. `Type=notify-reload` wants the monotonic time of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

/// The process is about to end.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// All is well: it need not be restarted.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// Another process is the service now. The manager believes only the present one.
pub fn main_pid(pid: u32) {
    send(&[NotifyState::MainPid(pid)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
