//! The successor as a process: started with what it inherits, and ended if it is of no use.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::channel::Channel;
use super::program::Program;
use crate::control::privileges::confined::Confined;

/// A successor that has not taken over. It is ended with this value.
#[derive(Debug)]
pub(super) struct Spawned {
    child: Option<Child>,
}

impl Spawned {
    /// Starts the program with one end of a line, and with the line to the caretaker if there is
    /// one; it is told what it is confined to.
    pub(super) fn start(
        program: &Program,
        caretaker: Option<BorrowedFd<'_>>,
        confined: &Confined,
    ) -> io::Result<(Self, Channel)> {
        let (channel, other) = Channel::pair()?;
        let mut command = Command::new(&program.path);
        command.arg0(&program.name).args(&program.arguments);
        for name in OF_THIS_PROCESS {
            command.env_remove(name);
        }
        command.envs(confined.tell().map(|confined| (CONFINED, confined)));
        let mut given: Vec<OwnedFd> = vec![other];
        command.env(UPGRADE_FD, given[0].as_raw_fd().to_string());
        if let Some(caretaker) = caretaker {
            let caretaker = caretaker.try_clone_to_owned()?;
            command.env(CARETAKER_FD, caretaker.as_raw_fd().to_string());
            given.push(caretaker);
        }
        for descriptor in &given {
            // Nothing else in this process starts others.
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        let child = command.spawn()?;
        // The child's end is the child's alone, so that its end is seen.
        drop(given);
        let spawned = Self { child: Some(child) };
        Ok((spawned, channel))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).unwrap_or_default()
    }

    /// It has taken over: it is nobody's child in need any more.
    pub(super) fn set_free(mut self) -> Successor {
        Successor(self.child.take())
    }

    /// How it ended, if it does so within a moment.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        timeout(MOMENT, self.has_ended()).await.ok()?
    }

    /// It may serve by now, so it is not ended with this value.
    pub(super) fn spare(&mut self) -> Option<Child> {
        self.child.take()
    }

    /// Waits for its end.
    async fn has_ended(&mut self) -> Option<ExitStatus> {
        wait_for(self.child.as_mut()?).await
    }
}

/// Waits for the end of a child; its status, unless somebody else has taken leave of it.
pub(super) async fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => sleep(STEP).await,
            Err(_) => return None,
        }
    }
}

/// The instance that serves instead of this one.
///
/// Nobody else may notice its end: a service manager watches its own children, and this process
/// stands between as long as it drains.
#[derive(Debug)]
pub struct Successor(Option<Child>);

impl Successor {
    /// Completes when it has ended as no instance ends that was asked to, or that has left to
    /// another one: with how it did.
    pub(in crate::control) async fn has_died(&mut self) -> ExitStatus {
        while let Some(child) = &mut self.0 {
            match child.try_wait() {
                Ok(Some(status)) if !status.success() => return status,
                Ok(None) => sleep(LOOK_AFTER).await,
                // It has ended well, or another one has taken leave of it.
                Ok(Some(_)) | Err(_) => self.0 = None,
            }
        }
        std::future::pending().await
    }

    /// Passes a signal on to it, unless it has ended.
    pub(in crate::control) fn pass_on(&self, signal: Signal) {
        // Not waited for yet, so the number is still its own.
        let id = self
            .0
            .as_ref()
            .and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        match id.map(|id| (id.as_raw_nonzero(), kill_process(id, signal))) {
            Some((id, Ok(()))) => tracing::info!(?signal, serving = id, "passed on"),
            Some((id, Err(error))) => {
                tracing::warn!(%error, ?signal, serving = id, "not passed on");
            }
            None => tracing::warn!(?signal, "not passed on: who took over has left, or ended"),
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Our own child, and not waited for yet, so the number is still its own.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Names the descriptor of the line to the instance before.
pub(super) const UPGRADE_FD: &str = "EVENKEEL_UPGRADE_FD";

/// Names the descriptor of the line to the caretaker.
pub(super) const CARETAKER_FD: &str = "EVENKEEL_CARETAKER_FD";

/// What the process is confined to, which it is from its first moment: before it could hear of it
/// on its line.
pub(super) const CONFINED: &str = "EVENKEEL_CONFINED";

/// What was said to this process alone.
const OF_THIS_PROCESS: [&str; 7] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_PID",
    UPGRADE_FD,
    CARETAKER_FD,
    CONFINED,
];

/// Between two looks at the one that serves.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// From the end of its line to its own end.
const MOMENT: Duration = Duration::from_secs(1);

const STEP: Duration = Duration::from_millis(5);
