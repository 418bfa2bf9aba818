//! Listening Unix sockets, and the files that they are found by.
//!
//! Problem: the file outlives a process that was killed, and the next start must neither fail for
//! it nor take the place of a program that lives. So a file is replaced only if it is a socket that
//! nobody answers on, and in one step: the new socket is made beside it, given to whom it is for,
//! and renamed over it, all under a lock. It is removed at the end if it is still ours.
//!
//! A name that begins with `@` is abstract (unix(7)): no file, gone with the last who has it.

mod access;
mod place;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

use self::access::Made;
use self::place::{Place, Vacancy};

pub use access::Access;

/// The file of a socket, removed with this value if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: Made,
    /// Whether another process is to remove it.
    left: AtomicBool,
}

/// Which file a socket's is, whatever its name becomes: its device and its number there.
pub type FileNumbers = (u64, u64);

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
            io::ErrorKind::AddrInUse | io::ErrorKind::AlreadyExists => {
                SocketFileError::InUse(path.into())
            }
            _ => SocketFileError::Other(path.into(), error),
        };
        if is_abstract(path) {
            let kind = Type::STREAM.nonblocking();
            let socket = Socket::new(Domain::UNIX, kind, None).map_err(failed)?;
            socket
                .bind(&SockAddr::unix(name(path)).map_err(failed)?)
                .map_err(failed)?;
            socket.listen(backlog).map_err(failed)?;
            return Ok((socket, None));
        }
        let place = Place::of(path).map_err(failed)?;
        let lock = place.lock();
        let vacancy = vacancy(path)?;
        let beside = place.beside(access).map_err(failed)?;
        // Nobody was let in before it was given to whom it is for.
        beside.socket().listen(backlog).map_err(failed)?;
        let (socket, made) = beside.put(vacancy).map_err(failed)?;
        drop(lock);
        let file = Self {
            path: path.into(),
            made,
            left: AtomicBool::new(false),
        };
        Ok((socket, Some(file)))
    }

    /// That of a socket which another process has put there. It is left to that one until it is
    /// taken ([`SocketFile::take`]).
    ///
    /// Fails where something else is there by now.
    pub fn adopt(path: &Path, numbers: FileNumbers) -> io::Result<Self> {
        let place = Place::of(path)?;
        let made = Made::known(&place, numbers)?;
        Ok(Self {
            path: path.into(),
            made,
            left: AtomicBool::new(true),
        })
    }

    /// Leaves it to another process, which removes it.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Takes it over from another process.
    pub fn take(&self) {
        self.left.store(false, Ordering::Release);
    }

    /// Which file it is.
    pub fn numbers(&self) -> FileNumbers {
        self.made.numbers()
    }

    /// Tries what may be refused on a socket of its own, beside the path.
    pub(super) fn rehearse(path: &Path, access: &Access) -> io::Result<()> {
        if is_abstract(path) || !access.gives_away() {
            return Ok(());
        }
        Place::of(path)?.beside(access).map(drop)
    }

    /// Gives the file to others.
    pub(super) fn give(&self, access: &Access) -> io::Result<()> {
        self.made.give(access)
    }

    /// Whether clients still find it: nobody has removed it or put something else there.
    pub fn is_ours(&self) -> bool {
        let there = fs::symlink_metadata(&self.path);
        there.is_ok_and(|file| self.made.is(file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.left.get_mut() {
            return;
        }
        // A successor may be putting its own socket there. Not waited for: this may be a worker,
        // and while the socket is open, nobody takes its place.
        let place = Place::of(&self.path).ok();
        let lock = place.and_then(|place| place.try_lock().ok());
        if self.is_ours() {
            drop(fs::remove_file(&self.path));
        }
        drop(lock);
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
fn vacancy(path: &Path) -> Result<Vacancy, SocketFileError> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vacancy::Free),
        Err(error) => return Err(SocketFileError::Other(path.into(), error)),
    };
    if !there.file_type().is_socket() {
        return Err(SocketFileError::NotASocket(path.into()));
    }
    // Without waiting: where its queue is full, a living program may not answer for long.
    let asked = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match asked {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Vacancy::Stale),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vacancy::Free),
        // Its queue is full, so somebody has one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketFileError::InUse(path.into()))
        }
        Err(error) => Err(SocketFileError::Other(path.into(), error)),
        Ok(()) => Err(SocketFileError::InUse(path.into())),
    }
}

#[cfg(test)]
mod tests;
