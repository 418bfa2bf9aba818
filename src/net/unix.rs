//! Listening Unix sockets, and the files that they are found by.
//!
//! Problem: the file outlives a process that was killed, and the next start must neither fail for
//! it nor take the place of a program that lives. So a file is replaced only if it is a socket that
//! nobody answers on, and in one step: the new socket is made beside it, given to whom it is for,
//! and renamed over it. It is removed at the end if it is still ours.
//!
//! A name that begins with `@` is abstract (unix(7)): no file, gone with the last who has it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::ListenerSocket;

/// The file of a socket, removed with this value if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// Whom a socket's file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    owner: Option<Box<str>>,
    group: Option<Box<str>>,
}

/// Why nothing can be accepted at a path; says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    /// The directory is missing.
    #[error("the directory of {} does not exist: create it (systemd: RuntimeDirectory=)", .0.display())]
    NoDirectory(PathBuf),
    /// Something else has the path.
    #[error("{} exists and is no socket: remove it, or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Somebody answers there.
    #[error(
        "somebody listens on {} already (`ss -lxp src {}` names it)",
        .0.display(), .0.display()
    )]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot accept on {}: {}", .0.display(), .1)]
    Other(PathBuf, io::Error),
}

impl Access {
    /// The user of this process, and nobody else.
    pub const OWN: Self = Self {
        mode: OWNER_ONLY,
        owner: None,
        group: None,
    };

    /// What was written.
    pub(super) fn new(written: &ListenerSocket) -> Self {
        let mode = written.mode.as_deref();
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Self {
            mode: mode.unwrap_or(OWNER_AND_GROUP),
            owner: written.owner.as_deref().map(Into::into),
            group: written.group.as_deref().map(Into::into),
        }
    }

    /// Tries on a file of its own, beside the path, what may be refused.
    pub(super) fn rehearse(&self, path: &Path) -> io::Result<()> {
        if self.owner.is_none() && self.group.is_none() {
            return Ok(());
        }
        let new = beside(path);
        fs::write(&new, "")?;
        let given = self.give(&new);
        drop(fs::remove_file(&new));
        given
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        let id = |file: &str, what: &'static str, name: &Option<Box<str>>| {
            let id = |name| id_of(file, name).ok_or_else(|| unknown(what, name));
            name.as_deref().map(id).transpose()
        };
        let owner = id("/etc/passwd", "owner", &self.owner)?;
        let group = id("/etc/group", "group", &self.group)?;
        if owner.is_some() || group.is_some() {
            std::os::unix::fs::chown(path, owner, group).map_err(|error| {
                let why = "only root may give files away, and others only to groups of their own";
                io::Error::new(
                    error.kind(),
                    format!("its owner cannot be set: {error}: {why}"),
                )
            })?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
    }
}

impl SocketFile {
    /// A socket that listens at this path, non-blocking, for those whom it is for. An abstract one
    /// has no file.
    pub fn listen(
        path: &Path,
        access: &Access,
        backlog: i32,
    ) -> Result<(Socket, Option<Self>), SocketFileError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => SocketFileError::NoDirectory(path.into()),
            io::ErrorKind::AddrInUse => SocketFileError::InUse(path.into()),
            _ => SocketFileError::Other(path.into(), error),
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(failed)?;
        if is_abstract(path) {
            socket
                .bind(&SockAddr::unix(name(path)).map_err(failed)?)
                .map_err(failed)?;
            socket.listen(backlog).map_err(failed)?;
            return Ok((socket, None));
        }
        make_way(path)?;
        let new = beside(path);
        // Left over if a process of the same number was killed between the next steps.
        drop(fs::remove_file(&new));
        socket
            .bind(&SockAddr::unix(&new).map_err(failed)?)
            .map_err(failed)?;
        let made = access.give(&new).and_then(|()| {
            // Nobody was let in before it was given to whom it is for.
            socket.listen(backlog)?;
            let inode = fs::symlink_metadata(&new)?.ino();
            fs::rename(&new, path)?;
            Ok(inode)
        });
        match made {
            Ok(inode) => {
                let path = path.into();
                Ok((socket, Some(Self { path, inode })))
            }
            Err(error) => {
                drop(fs::remove_file(&new));
                Err(failed(error))
            }
        }
    }

    /// Gives the file to others.
    pub(super) fn give(&self, access: &Access) -> io::Result<()> {
        if self.is_ours() {
            access.give(&self.path)?;
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        // A successor may have put its own socket there already.
        fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A path as the kernel takes it: an abstract name begins with NUL.
pub(super) fn name(path: &Path) -> Cow<'_, Path> {
    if !is_abstract(path) {
        return Cow::Borrowed(path);
    }
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes[0] = 0;
    Cow::Owned(OsString::from_vec(bytes).into())
}

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&b'@')
}

/// Sees that a socket may be put at this path: nothing is there, or a socket that nobody answers
/// on.
fn make_way(path: &Path) -> Result<(), SocketFileError> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketFileError::Other(path.into(), error)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketFileError::NotASocket(path.into()));
    }
    // Without waiting: where its queue is full, a living program may not answer for long.
    let asked = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match asked {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its queue is full, so somebody has one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketFileError::InUse(path.into()))
        }
        Err(error) => Err(SocketFileError::Other(path.into(), error)),
        Ok(()) => Err(SocketFileError::InUse(path.into())),
    }
}

/// A path in the same directory, since only within one can a rename replace in one step. Its name
/// is short: the path that is wanted may be as long as the kernel allows.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{:x}", std::process::id()))
}

/// The number of a user or group: as written, or by its name.
fn id_of(file: &str, name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        found.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn unknown(what: &str, name: &str) -> io::Error {
    let why = format!("`socket.{what}`: this machine does not know `{name}`");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Whoever can connect to it can do everything.
const OWNER_ONLY: u32 = 0o600;

/// Who shares a group with this program is meant to come; anybody else has to be written.
const OWNER_AND_GROUP: u32 = 0o660;
