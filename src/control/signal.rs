//! What the operating system asks for: signals as values.
//!
//! SIGPIPE needs nothing: Rust's runtime ignores it from the start, so a closed pipe or socket is
//! an error of the write that met it. While a reload runs, further SIGHUPs coalesce into one, since
//! tokio keeps one pending notification per kind.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: reopen the log's file, since logrotate has moved it.
    ReopenLogs,
    /// SIGUSR2: start another program in this one's place.
    Upgrade,
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

/// The signals that would end a process which knows nothing of them, and that ask this one for
/// something else. Listened to from before the first port is bound: who finds it open may send one.
#[derive(Debug)]
pub struct Gentle {
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
}

/// The signals that this process listens to.
#[derive(Debug)]
pub struct Signals {
    gentle: Gentle,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Request {
    /// The signal that asks for it.
    pub(super) fn signal(self) -> Signal {
        match self {
            Self::Reload => Signal::HUP,
            Self::ReopenLogs => Signal::USR1,
            Self::Upgrade => Signal::USR2,
            Self::Stop(Stop::Terminate) => Signal::TERM,
            Self::Stop(Stop::Interrupt) => Signal::INT,
        }
    }
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

impl Gentle {
    /// Takes them over from their default actions. Within a runtime only.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            user2: unix::signal(SignalKind::user_defined2())?,
        })
    }
}

impl Signals {
    /// Takes the others over too, which until now end a start that takes long. Within a runtime
    /// only.
    pub fn install(gentle: Gentle) -> io::Result<Self> {
        Ok(Self {
            gentle,
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
            _ = self.gentle.hangup.recv() => Request::Reload,
            _ = self.gentle.user1.recv() => Request::ReopenLogs,
            _ = self.gentle.user2.recv() => Request::Upgrade,
        }
    }
}
