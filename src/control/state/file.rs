//! A state as a file: replaced as a whole, read once, and out of the way if it is of no use.
//!
//! A file is written beside the one before, made durable, and put into its place by a rename; so
//! whenever the process or the machine dies, one of the two is there, whole. A second one says that
//! the first one was written at the end of a process and holds all that it counted: see
//! [`Found::is_whole`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, openat};
use rustix::process::geteuid;

use super::State;
use super::format::{Unreadable, first_line};

/// Where it is.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

/// A state that was found.
#[derive(Debug)]
pub struct Found {
    /// The state.
    pub state: State,
    /// Whether it was written when nothing was counted any more: only then can be gone on from its
    /// counts. A counter that begins below what was scraped of it last is taken for one that began
    /// at 0, and all of it for new.
    pub is_whole: bool,
}

/// What a look for it came to.
#[derive(Debug)]
pub(super) enum Sought {
    /// There is one.
    Found(Box<Found>),
    /// There is none.
    Nothing,
    /// There is something else, which is out of the way now.
    Useless(Unreadable),
}

impl Place {
    /// In this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is there. What cannot be used is set aside for whoever wants to know why.
    pub(super) fn read(&self) -> io::Result<Sought> {
        self.sweep();
        let path = self.directory.join(STATE);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sought::Nothing),
            Err(error) => return Err(error),
        };
        match State::from_bytes(&bytes) {
            Ok(state) => {
                let end = read(&self.directory.join(ENDED)).unwrap_or_default();
                let line = first_line(&bytes).unwrap_or_default();
                let is_whole = first_line(&end) == Some(line);
                Ok(Sought::Found(Box::new(Found { state, is_whole })))
            }
            Err(why) => {
                fs::rename(&path, self.directory.join(ASIDE))?;
                Ok(Sought::Useless(why))
            }
        }
    }

    /// Removes what processes have left behind that were killed while they wrote.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(writer_of);
            let is_left = |process| process == std::process::id() || !is_running(process);
            if process.is_some_and(is_left) {
                // Whoever looks next tries it again.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Takes the word back that all counts are there: somebody counts again. Whether that was done.
    pub fn begin(&self) -> bool {
        let removed = fs::remove_file(self.directory.join(ENDED));
        removed.is_ok()
    }

    /// Replaces what is there, and makes that durable. `is_whole` as in [`Found::is_whole`].
    pub fn write(&self, bytes: &[u8], is_whole: bool) -> io::Result<()> {
        if bytes.len() as u64 > LARGEST {
            let text = format!("{} bytes are more than {LARGEST}", bytes.len());
            return Err(io::Error::other(text));
        }
        make(&self.directory)?;
        replace(&self.directory, STATE, bytes)?;
        if is_whole {
            let line = first_line(bytes).unwrap_or_default();
            replace(&self.directory, ENDED, format!("{line}\n").as_bytes())?;
        }
        sync(&self.directory)
    }
}

/// Makes the directory, if it is not there. What is in it is for nobody else.
pub(in crate::control) fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Puts a file in the place of the one of this name, as a whole. [`sync`] makes that durable.
pub(in crate::control) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // By the process, so that two that were given one directory do not write into one file.
    let process = std::process::id();
    let beside = directory.join(format!("{name}.{process}{UNFINISHED}"));
    let written =
        write_durably(&beside, bytes).and_then(|()| fs::rename(&beside, directory.join(name)));
    if written.is_err() {
        // The rest of it takes room on a disk that may have none left.
        drop(fs::remove_file(&beside));
    }
    written
}

/// Makes durable what was renamed in a directory.
pub(in crate::control) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Gives a user the files in a directory that root has written as this program, so that it reads
/// them when it is root no more. What else is there stays whose it is: whoever may write to the
/// directory can put links into it, of both kinds.
pub(in crate::control) fn give(directory: &Path, (user, group): (u32, u32)) {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, directory, flags | OFlags::DIRECTORY, Mode::empty()) else {
        return;
    };
    for name in [STATE, ENDED, ASIDE, LAST_GOOD] {
        give_one((&directory, Path::new(name)), (user, Some(group)));
    }
}

/// Gives a user what a start has made: a file that has no other name, a directory or a socket, if
/// it is ours. All else stays whose it is: devices are everybody's.
pub(in crate::control) fn give_one(
    (directory, path): (impl AsFd, &Path),
    (user, group): (u32, Option<u32>),
) {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = openat(directory, path, flags, Mode::empty()) else {
        return;
    };
    let is_ours = fstat(&file).is_ok_and(|found| {
        let is_such = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => found.st_nlink == 1,
            kind => matches!(kind, FileType::Directory | FileType::Socket),
        };
        is_such && found.st_uid == geteuid().as_raw()
    });
    if is_ours {
        let (user, group) = (Some(Uid::from_raw(user)), group.map(Gid::from_raw));
        // Whoever reads it tells why that cannot be.
        _ = chownat(&file, c"", user, group, AtFlags::EMPTY_PATH);
    }
}

/// Why what is there cannot be read, and what to do if it is somebody else's.
pub(in crate::control) fn unreadable(directory: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let (user, place) = (geteuid().as_raw(), directory.display());
    format!("{error}: what another user has left there, root perhaps: `chown -R {user} {place}`")
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Which process writes, or has written, to a file of this name.
fn writer_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(UNFINISHED)?;
    let (of, process) = stem.rsplit_once('.')?;
    [STATE, ENDED, LAST_GOOD]
        .contains(&of)
        .then(|| process.parse().ok())?
}

fn is_running(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// A file of ours; not a pipe, which would be waited for.
pub(in crate::control) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    // One byte more: then its length does not match.
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const STATE: &str = "state";
const ENDED: &str = "state.ended";
const ASIDE: &str = "state.unreadable";
/// The copy of the configuration that was in force last: see `last_good`.
pub(in crate::control) const LAST_GOOD: &str = "last-good";
const UNFINISHED: &str = ".new";

/// A hundred thousand endpoints and as many series take less.
const LARGEST: u64 = 64 * 1024 * 1024;
