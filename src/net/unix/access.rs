//! Whom the file of a Unix socket is for.
//!
//! Problem: the directory may belong to those whom the socket is for, and who may write in it can
//! put anything in the file's place at any moment: a link to a file of root's, which would then be
//! given away. So no file is named when it is given. It is opened first, which follows nothing and
//! opens nothing behind it (`O_PATH`); it must be the socket that was just made; and it is changed
//! by that descriptor, whatever becomes of its name.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid, geteuid};

use super::place::Place;
use crate::config::ListenerSocket;
use crate::net::{Accounts, UnknownAccount};

/// Whom a socket's file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    /// Without one, who made it.
    owner: Option<Box<str>>,
    group: Option<Box<str>>,
}

/// The file of a socket that this process has made, whatever its name becomes.
#[derive(Debug)]
pub(super) struct Made {
    file: OwnedFd,
    device: u64,
    inode: u64,
    /// Whose it was when it was made: what holds again where no other is written. A directory may
    /// have a say in it.
    owner: u32,
    group: u32,
}

impl Access {
    /// The user of this process, and nobody else.
    pub const OWN: Self = Self {
        mode: OWNER_ONLY,
        owner: None,
        group: None,
    };

    /// What was written.
    pub(in crate::net) fn new(written: &ListenerSocket) -> Self {
        let mode = written.mode.as_deref();
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Self {
            mode: mode.unwrap_or(OWNER_AND_GROUP),
            owner: written.owner.as_deref().map(Into::into),
            group: written.group.as_deref().map(Into::into),
        }
    }

    /// A mode in octal and a group, of what is otherwise this program's own: whoever may connect
    /// can do everything, so others have to be written.
    pub fn own_with(mode: Option<&str>, group: Option<&str>) -> Self {
        let usual = if group.is_some() {
            OWNER_AND_GROUP
        } else {
            OWNER_ONLY
        };
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Self {
            mode: mode.unwrap_or(usual),
            owner: None,
            group: group.map(Into::into),
        }
    }

    /// Whether the file is to be somebody else's than its maker's.
    pub(super) fn gives_away(&self) -> bool {
        self.owner.is_some() || self.group.is_some()
    }

    pub(super) fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.mode)
    }
}

impl Made {
    /// The socket that was just bound at a name.
    pub(super) fn open(place: &Place, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place.directory(), name, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        // A link to a socket of somebody else's would have a second name.
        let is_ours = FileType::from_raw_mode(found.st_mode) == FileType::Socket
            && found.st_nlink == 1
            && found.st_uid == geteuid().as_raw();
        if !is_ours {
            let why = "somebody else has put a file where it was just made";
            return Err(io::Error::other(why));
        }
        Ok(Self {
            file,
            device: found.st_dev,
            inode: found.st_ino,
            owner: found.st_uid,
            group: found.st_gid,
        })
    }

    /// The socket of these numbers, which another process made. Whose it was then is not known:
    /// where no other is written, it stays whose it is.
    pub(super) fn known(place: &Place, (device, inode): (u64, u64)) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place.directory(), place.name(), flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        let is_it = FileType::from_raw_mode(found.st_mode) == FileType::Socket
            && (found.st_dev, found.st_ino) == (device, inode);
        if !is_it {
            return Err(io::Error::other("something else is at the socket's path"));
        }
        Ok(Self {
            file,
            device,
            inode,
            owner: found.st_uid,
            group: found.st_gid,
        })
    }

    /// Which file it is.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether this is the file of these numbers. They belong to no other while it is held.
    pub(super) fn is(&self, device: u64, inode: u64) -> bool {
        (self.device, self.inode) == (device, inode)
    }

    /// Makes its mode what is wanted. A process may have a mask that took some of it.
    pub(super) fn set_mode(&self, wanted: Mode) -> io::Result<()> {
        let found = Mode::from_raw_mode(rustix::fs::fstat(&self.file)?.st_mode);
        if found == wanted {
            return Ok(());
        }
        // The kernel changes no mode by a descriptor that only says where (before 6.6).
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::chmod(path, wanted).map_err(|error| {
            let error = io::Error::from(error);
            let help = match error.kind() {
                io::ErrorKind::NotFound => ": it needs /proc",
                _ => "",
            };
            let why = format!("its mode cannot be set: {error}{help}");
            io::Error::other(why)
        })
    }

    /// Gives it to those whom it is for. Nobody is let in on the way who may neither before nor
    /// after.
    pub(super) fn give(&self, access: &Access) -> io::Result<()> {
        let accounts = Accounts::read();
        let user = |name: &str| {
            accounts
                .user(name)
                .map_err(|error| unknown("owner", &error))
        };
        let owner = access.owner.as_deref().map(user).transpose()?;
        let of_name = |name: &str| {
            accounts
                .group(name)
                .map_err(|error| unknown("group", &error))
        };
        let group = access.group.as_deref().map(of_name).transpose()?;
        let (owner, group) = (owner.unwrap_or(self.owner), group.unwrap_or(self.group));
        let found = rustix::fs::fstat(&self.file)?;
        if (found.st_uid, found.st_gid) != (owner, group) {
            self.set_mode(Mode::from_raw_mode(found.st_mode) & access.mode())?;
            let ids = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)));
            rustix::fs::chownat(&self.file, c"", ids.0, ids.1, AtFlags::EMPTY_PATH)
                .map_err(not_given)?;
        }
        self.set_mode(access.mode())
    }
}

fn not_given(error: rustix::io::Errno) -> io::Error {
    let error = io::Error::from(error);
    let why = "only root may give files away, and others only to groups of their own";
    io::Error::new(
        error.kind(),
        format!("its owner cannot be set: {error}: {why}"),
    )
}

/// The number of whom the file is given to, if that was written.
fn unknown(what: &str, error: &UnknownAccount) -> io::Error {
    let why = format!("`socket.{what}`: {error}");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Whoever can connect to it can do everything.
const OWNER_ONLY: u32 = 0o600;

/// Who shares a group with this program is meant to come; anybody else has to be written.
const OWNER_AND_GROUP: u32 = 0o660;
