//! What `[log]` means.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use super::opened::Opened;
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

    /// The file that it is, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Stdout | Self::Stderr => None,
            Self::File(path) => Some(path),
        }
    }

    /// Opens it for writing. May take as long as a disk does.
    pub fn open(&self) -> io::Result<Opened> {
        let given = |descriptor: BorrowedFd<'_>| {
            let file = descriptor.try_clone_to_owned()?.into();
            Ok(Opened::given(self.clone(), file))
        };
        match self {
            Self::Stdout => given(io::stdout().as_fd()),
            Self::Stderr => given(io::stderr().as_fd()),
            Self::File(path) => Opened::at(path),
        }
    }
}
