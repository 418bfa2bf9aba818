//! What the operating system asks for: signals as values.
//!
//! SIGPIPE needs nothing: Rust's runtime ignores it from the start, so a closed pipe or socket is
//! an error of the write that met it. While a reload runs, further SIGHUPs coalesce into one, since
//! tokio keeps one pending notification per kind.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: reopen the log's file, since logrotate has moved it.
    ReopenLogs,
    /// SIGTERM or SIGINT: drain and end.
    Stop(Stop),
}

/// The signal that asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// From a service manager.
    Terminate,
    /// From a terminal.
    Interrupt,
}

/// The signals that this process listens to.
#[derive(Debug)]
pub struct Signals {
    hangup: unix::Signal,
    user1: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Stop {
    /// The signal's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

impl Signals {
    /// Takes the signals over from their default actions. Within a runtime only.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// The next request. Safe to drop while it waits.
    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            biased; // the end before all else
            _ = self.terminate.recv() => Request::Stop(Stop::Terminate),
            _ = self.interrupt.recv() => Request::Stop(Stop::Interrupt),
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::ReopenLogs,
        }
    }
}
