//! An output that has been opened, and writes to it that come back.
//!
//! Problem: a write to a pipe or a socket whose reader has stopped takes until it reads again, and
//! whoever is in it does not hear that lines are to go elsewhere by now. So a write takes what
//! fits, and where nothing does, [`Opened::wait`] waits for a while only.
//!
//! A pipe that was handed to us is opened once more: the flag that makes writes come back would
//! hold for all who have it, and they do not expect that. A socket is asked each time. A file, and
//! a terminal, may still hold a write up for as long as they like.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::Output;

/// An output, open for writing.
#[derive(Debug)]
pub struct Opened {
    pub(super) output: Output,
    file: File,
    is_socket: bool,
}

impl Opened {
    /// What the process was given, opened by somebody else.
    pub(super) fn given(output: Output, file: File) -> Self {
        let kind = file.metadata().map(|metadata| metadata.file_type()).ok();
        let is_socket = kind.is_some_and(|kind| kind.is_socket());
        let own = kind.filter(FileTypeExt::is_fifo).and_then(|_| {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // Fails without /proc, without a reader, and if the pipe is another user's.
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(at_once()).open(path).ok()
        });
        Self {
            output,
            file: own.unwrap_or(file),
            is_socket,
        }
    }

    /// A file, which is made with mode 0640: others have no business in it. Or a named pipe.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o640);
        let file = match options.custom_flags(at_once()).open(path) {
            // A named pipe that nobody reads. With its other end in our own hand it takes lines
            // until it is full, and whoever reads it later finds them.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                let mut options = OpenOptions::new();
                options.read(true).write(true);
                options.custom_flags(at_once()).open(path)
            }
            opened => opened,
        };
        Ok(Self {
            output: Output::File(path.to_owned()),
            file: file?,
            is_socket: false,
        })
    }

    /// One write of what fits; `WouldBlock` where nothing does.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_socket {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            return Ok(send(&self.file, bytes, flags)?);
        }
        self.file.write(bytes)
    }

    /// Waits until something fits, at most for [`PATIENCE`].
    pub(super) fn wait(&self) {
        let mut writable = [PollFd::new(&self.file, PollFlags::OUT)];
        if poll(&mut writable, Some(&PATIENCE)).is_err() {
            thread::park_timeout(RETRY);
        }
    }

    /// Whether both write to the same place, behind each other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let place = |file: &File| {
            let metadata = file.metadata().ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        place(&self.file).is_some_and(|own| place(&other.file) == Some(own))
    }
}

fn at_once() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// How long a wait for room takes no notice of what is asked meanwhile: a person does not either.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The pause where not even waiting works.
const RETRY: Duration = Duration::from_millis(10);
