//! The directory of a socket's file, and what is done there in one piece.
//!
//! To see that nobody answers at a path and to put a socket there are two steps, and two programs
//! that start together would both take the first one before either takes the second. So a lock on
//! the directory is held meanwhile. It is gone with whoever held it, and leaves no file behind.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::access::{Access, Made};

/// Where a socket is to be found: a directory, and a name there.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    path: PathBuf,
    name: Box<OsStr>,
}

/// A socket beside the place where it is to be found. If it is not put there, its file is removed
/// with this value.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    name: Name<'a>,
    socket: Socket,
    made: Made,
}

/// A name that was made here, removed with this value.
#[derive(Debug)]
struct Name<'a> {
    place: &'a Place,
    name: String,
}

/// What is at a place where a socket may be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Nothing.
    Free,
    /// A socket that nobody answers on.
    Stale,
}

impl Place {
    /// Fails with [`io::ErrorKind::NotFound`] where the directory is missing.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::open(parent, flags, Mode::empty())?,
            path: path.into(),
            name: name.into(),
        })
    }

    /// The file's name there.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Keeps others who put sockets here from doing so until it is dropped. None where that cannot
    /// be had in time: whoever may read the directory may hold the lock for ever, and must not keep
    /// us from starting.
    pub(super) fn lock(&self) -> Option<OwnedFd> {
        for _ in 1..LOCK_TRIES {
            match self.try_lock() {
                Err(Errno::WOULDBLOCK | Errno::INTR) => pause(LOCK_PAUSE),
                result => return result.ok(),
            }
        }
        self.try_lock().ok()
    }

    /// The same without waiting.
    pub(super) fn try_lock(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.directory, c".", flags, Mode::empty())?;
        rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive)?;
        Ok(opened)
    }

    /// A socket here under a name of its own, for those whom it is for. Only within one directory
    /// can a rename replace in one step.
    pub(super) fn beside(&self, access: &Access) -> io::Result<Beside<'_>> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        // What it is bound with; some of it may be masked.
        rustix::fs::fchmod(&socket, access.mode())?;
        let name = Name {
            place: self,
            name: bound(&socket, &self.path)?,
        };
        let made = Made::open(self, &name.name)?;
        // Before it is given away: then it takes a further privilege.
        made.set_mode(access.mode())?;
        made.give(access)?;
        Ok(Beside { name, socket, made })
    }
}

impl Beside<'_> {
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Puts it where it is to be found. Fails with [`io::ErrorKind::AlreadyExists`] where something
    /// has come meanwhile to a place that was free.
    pub(super) fn put(self, vacancy: Vacancy) -> io::Result<(Socket, Made)> {
        let (here, name) = (&self.name.place.directory, &*self.name.place.name);
        let flags = match vacancy {
            Vacancy::Free => RenameFlags::NOREPLACE,
            Vacancy::Stale => RenameFlags::empty(),
        };
        match rustix::fs::renameat_with(here, &self.name.name, here, name, flags) {
            // Not every file system can do it.
            Err(Errno::INVAL | Errno::NOSYS) if vacancy == Vacancy::Free => {
                rustix::fs::renameat(here, &self.name.name, here, name)?;
            }
            result => result?,
        }
        Ok((self.socket, self.made))
    }
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        // What was put where it is to be found has this name no more. Of a link it is the link that
        // is removed.
        let here = &self.place.directory;
        _ = rustix::fs::unlinkat(here, &self.name, AtFlags::empty());
    }
}

/// Binds a socket beside a path, and returns by which name. The kernel follows nothing there, and
/// takes no name that there is.
fn bound(socket: &Socket, path: &Path) -> io::Result<String> {
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..NAMES {
        let name = random_name();
        let beside = path.with_file_name(&name);
        result = socket.bind(&SockAddr::unix(beside)?).map(|()| name);
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            return result;
        }
    }
    result
}

/// Short: the path that is wanted may be as long as the kernel allows. That it is not known before
/// is only to spare another try.
fn random_name() -> String {
    let random = RandomState::new().hash_one(()) & 0x00ff_ffff;
    format!(".{random:06x}")
}

/// The control plane's thread stands still meanwhile, and little enough.
fn pause(time: Duration) {
    let time = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // It ends early by a signal; then the lock is asked for once more.
    _ = rustix::event::poll(&mut [], Some(&time));
}

/// Others hold the lock for less than a millisecond.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Half a second in all.
const LOCK_TRIES: u32 = 100;

/// Of 16 million, so that no more are taken unless somebody takes them all.
const NAMES: u32 = 16;
