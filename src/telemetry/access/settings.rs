//! What `[log]` means.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use tracing::level_filters::LevelFilter;

use crate::config;

/// What is logged, in which form, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether requests are logged.
    pub access: bool,
    /// Form of the access log.
    pub format: Format,
    /// Whether the access log has the query.
    pub query: bool,
    /// Where lines go.
    pub output: Output,
    /// The least severe event of the program's own log.
    pub level: LevelFilter,
}

/// Form of a line of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// The Combined Log Format.
    Combined,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is appended to. Its directory must exist.
    File(PathBuf),
}

impl Settings {
    /// The meaning of what was written.
    pub fn new(written: &config::Log) -> Self {
        Self {
            access: written.access.unwrap_or(true),
            format: match written.format {
                None | Some(config::LogFormat::Json) => Format::Json,
                Some(config::LogFormat::Combined) => Format::Combined,
            },
            query: written.query.unwrap_or(false),
            output: match written.output.as_deref() {
                None | Some("stdout") => Output::Stdout,
                Some("stderr") => Output::Stderr,
                Some(path) => Output::File(path.into()),
            },
            level: match written.level {
                Some(config::LogLevel::Error) => LevelFilter::ERROR,
                Some(config::LogLevel::Warn) => LevelFilter::WARN,
                None | Some(config::LogLevel::Info) => LevelFilter::INFO,
                Some(config::LogLevel::Debug) => LevelFilter::DEBUG,
                Some(config::LogLevel::Trace) => LevelFilter::TRACE,
            },
        }
    }
}

impl Output {
    /// Whether a person is looking: then the program's own log is written for the eye.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::File(_) => false,
        }
    }

    /// Opens it for writing. A file is made with mode 0640: others have no business in it.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Self::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
            Self::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                // So that a named pipe without a reader does not hold up the start.
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(path),
        }
    }
}
