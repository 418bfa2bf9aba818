//! What a service manager does, as far as a program sees it: it hears what the program says of
//! itself, and passes sockets to it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::io::{FdFlags, fcntl_setfd};

use super::clock::{PATIENCE, eventually};
use super::unix::Sockets;

/// A socket for `NOTIFY_SOCKET`.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: Sockets,
}

impl Manager {
    /// One with a socket of this name.
    ///
    /// # Panics
    /// When it cannot be there.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Sockets::new(name);
        let path = folder.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a free path");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self {
            socket,
            path,
            _folder: folder,
        }
    }

    /// The variable that names it.
    pub(crate) fn variable(&self) -> String {
        format!("NOTIFY_SOCKET={}\n", self.path.display())
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes.
    pub(crate) fn hear(&self) -> String {
        let mut buffer = vec![0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    /// The next message that says this, and what came before it.
    pub(crate) fn hear_of(&self, what: &str) -> (String, Vec<String>) {
        let mut before = Vec::new();
        eventually(&format!("the program says {what}"), || {
            let message = self.hear();
            if message.contains(what) {
                return Some((message, std::mem::take(&mut before)));
            }
            before.push(message);
            None
        })
    }

    /// What has come and was not heard.
    pub(crate) fn backlog(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut buffer = vec![0; 4096];
        let mut messages = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).expect("a socket");
        messages
    }
}

/// A script that starts the program as systemd does, with these sockets from descriptor 3 on.
///
/// It has them by their numbers here, so they must stay open until it has started.
pub(crate) fn passing(sockets: &[(&str, &OwnedFd)]) -> String {
    let mut script = "#!/bin/bash\n".to_owned();
    // Higher first: those from 3 on may be among them.
    for (place, (_, socket)) in sockets.iter().enumerate() {
        fcntl_setfd(socket, FdFlags::empty()).expect("our own socket");
        let (own, free) = (socket.as_raw_fd(), 200 + place);
        let line = format!("exec {free}<&{own} {own}<&-\n");
        script += &line;
    }
    for place in 0..sockets.len() {
        let (free, wanted) = (200 + place, 3 + place);
        let line = format!("exec {wanted}<&{free} {free}<&-\n");
        script += &line;
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let (count, names) = (sockets.len(), names.join(":"));
    let last = format!(
        "export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}\nexec PROGRAM \"$@\"\n"
    );
    script + &last
}
