//! The first process of a container, after another one has taken over from it.
//!
//! Problem: a container ends with its first process, and signals to the container reach that one
//! alone. So where an instance is that process, it cannot go when its work is done. It stays as a
//! caretaker, of which nothing is left but this: it passes signals on to whoever serves, takes
//! leave of processes that have no parent any more (nobody else would), and ends when the one that
//! serves does, as that one ended.
//!
//! Who serves changes with further upgrades. Each instance inherits a line to the caretaker and
//! says on it who has taken over from it, before it ends; so an end that was announced is never
//! mistaken for that of the service. And whoever ends says with which code, for it may be the child
//! of one that still drains, and then nobody else hears of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdUnixDatagram;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, wait,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{self, SignalKind};

use super::channel::watched;

/// The line to the caretaker, from the side of an instance.
#[derive(Debug)]
pub(super) struct Line {
    /// What a successor inherits.
    socket: OwnedFd,
    /// The other end, where this process is to be the caretaker.
    own: Option<StdUnixDatagram>,
}

/// Says on the line that the service has ended.
#[derive(Debug)]
pub struct LastWord(StdUnixDatagram);

/// What is left of an instance that must not end.
#[derive(Debug)]
pub struct Caretaker {
    told: UnixDatagram,
    /// Children, and those that were left to the first process.
    children: unix::Signal,
    serving: Pid,
    /// Readable once that one has ended.
    ended: Option<AsyncFd<OwnedFd>>,
    /// What it said that it ends with.
    said: Option<u8>,
}

/// What is said on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// This process serves.
    Serves(Pid),
    /// Who serves ends with this code.
    Ends(u8),
}

impl LastWord {
    /// To the caretaker whose line was inherited.
    pub fn new(line: &OwnedFd) -> io::Result<Self> {
        Ok(Self(line.try_clone()?.into()))
    }

    /// The service ends with this code.
    pub fn say(self, code: u8) {
        if let Err(error) = self.0.send(format!("{ENDS}{code}").as_bytes()) {
            tracing::warn!(%error, "the caretaker of this container is not told of the end");
        }
    }
}

impl Line {
    /// The one that was inherited, or a new one where this is the first process. `None` where
    /// there is no need of a caretaker.
    pub(super) fn new(inherited: Option<OwnedFd>) -> io::Result<Option<Self>> {
        if let Some(socket) = inherited {
            return Ok(Some(Self { socket, own: None }));
        }
        if std::process::id() != FIRST {
            return Ok(None);
        }
        let (own, other) = StdUnixDatagram::pair()?;
        let own = Some(own);
        let socket = other.into();
        Ok(Some(Self { socket, own }))
    }

    /// What a successor inherits.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Another process serves. Where this one has to stay, it is the caretaker from now on.
    pub(super) fn tell(&mut self, serving: u32) -> io::Result<Option<Caretaker>> {
        if let Some(own) = self.own.take() {
            return Caretaker::new(own, serving).map(Some);
        }
        let line = StdUnixDatagram::from(self.socket.try_clone()?);
        line.send(serving.to_string().as_bytes())?;
        Ok(None)
    }
}

impl Caretaker {
    fn new(told: StdUnixDatagram, serving: u32) -> io::Result<Self> {
        told.set_nonblocking(true)?;
        let serving = i32::try_from(serving).ok().and_then(Pid::from_raw);
        let mut caretaker = Self {
            told: UnixDatagram::from_std(told)?,
            children: unix::signal(SignalKind::child())?,
            serving: serving.ok_or(io::ErrorKind::InvalidInput)?,
            ended: None,
            said: None,
        };
        caretaker.watch();
        Ok(caretaker)
    }

    /// Passes a signal on to whoever serves.
    pub(in crate::control) fn pass_on(&self, signal: Signal) {
        let id = self.serving.as_raw_nonzero();
        match kill_process(self.serving, signal) {
            Ok(()) => tracing::info!(?signal, serving = id, "passed on"),
            Err(error) => tracing::warn!(%error, ?signal, serving = id, "not passed on"),
        }
    }

    /// Waits for the end of the service, and says what it ended with. Safe to drop while it waits.
    pub(in crate::control) async fn ended(&mut self) -> u8 {
        loop {
            let status = self.take_leave();
            // Whoever has ended by now has said before who comes after it.
            if !self.hear() {
                if let Some(status) = status {
                    return code(status);
                }
                if self.has_ended() {
                    // Another one's child: nobody can know more than it said.
                    return self.said.unwrap_or(UNKNOWN);
                }
            }
            let over = async {
                match &self.ended {
                    Some(ended) => drop(ended.readable().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.children.recv() => {}
                _ = self.told.readable() => {}
                () = over => {}
            }
        }
    }

    /// Takes leave of all that have ended. Of the one that serves, says how it did.
    fn take_leave(&self) -> Option<WaitStatus> {
        let mut status = None;
        while let Ok(Some((id, how))) = wait(WaitOptions::NOHANG) {
            if id == self.serving {
                status = Some(how);
            }
        }
        status
    }

    /// Whether another one serves by now.
    fn hear(&mut self) -> bool {
        let mut is_other = false;
        let mut text = [0; 16];
        while let Ok(length) = self.told.try_recv(&mut text) {
            match Word::read(&text[..length]) {
                Some(Word::Serves(id)) => {
                    tracing::info!(serving = id.as_raw_nonzero(), "another instance serves");
                    (self.serving, self.said) = (id, None);
                    is_other = true;
                }
                Some(Word::Ends(code)) => self.said = Some(code),
                None => tracing::warn!("somebody says nonsense on the line to the caretaker"),
            }
        }
        if is_other {
            self.watch();
        }
        is_other
    }

    /// Whether the one that serves has ended, or is not there at all.
    fn has_ended(&self) -> bool {
        rustix::process::test_kill_process(self.serving).is_err() || is_zombie(self.serving)
    }

    /// Watches for the end of the one that serves, whose parent may be another.
    fn watch(&mut self) {
        let opened = pidfd_open(self.serving, PidfdFlags::empty()).map_err(io::Error::from);
        let ended = opened.and_then(|opened| watched(opened, Interest::READABLE));
        // Without it, its end is seen once its parent has ended as well.
        self.ended = ended.ok();
    }
}

impl Word {
    fn read(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        match text.strip_prefix(ENDS) {
            Some(code) => code.parse().ok().map(Self::Ends),
            None => Pid::from_raw(text.parse().ok()?).map(Self::Serves),
        }
    }
}

fn is_zombie(process: Pid) -> bool {
    let path = format!("/proc/{}/stat", process.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    state.starts_with('Z')
}

/// As shells say it: a signal's number is told beyond 128.
fn code(status: WaitStatus) -> u8 {
    let number = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(UNKNOWN),
    };
    u8::try_from(number).unwrap_or(UNKNOWN)
}

/// Begins what is said at the end.
const ENDS: &str = "ends ";

/// The first process of a system, or of a container.
const FIRST: u32 = 1;

/// How a service ended that was not seen to end.
const UNKNOWN: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_on_the_line_is_understood() {
        let serves = |id| Pid::from_raw(id).map(Word::Serves);
        assert_eq!(Word::read(b"17"), serves(17));
        assert_eq!(Word::read(b"ends 3"), Some(Word::Ends(3)));
        for nonsense in [&b""[..], b"0", b"-", b"ends", b"ends 300", b"\xff"] {
            assert_eq!(Word::read(nonsense), None);
        }
    }
}
