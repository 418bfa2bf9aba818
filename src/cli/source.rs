//! Where the configuration comes from: the file that is named, else the usual one, else what
//! `EVENKEEL_INBOUND` stands for.
//!
//! A file that is named or there always wins: who mounts one beside the variable has said more in
//! it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::sidecar::{self, Sidecar};
use super::{Exit, Failure, Global};
use crate::config::{self, Environment, Outcome, System};

/// What a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file, which can be read again.
    File(PathBuf),
    /// The environment alone.
    Sidecar(Sidecar),
}

impl Source {
    /// That of the options and the environment.
    pub(super) fn of(global: &Global) -> Result<Self, Failure> {
        Self::of_environment(global.config.as_deref(), Path::new(DEFAULT_CONFIG), &System)
    }

    fn of_environment(
        named: Option<&Path>,
        usual: &Path,
        environment: &dyn Environment,
    ) -> Result<Self, Failure> {
        let file = named.unwrap_or(usual);
        let inbound = environment.variable(sidecar::VARIABLE);
        match inbound {
            // One that is there and cannot be read is told of, not passed by.
            Some(inbound) if named.is_none() && !is_there(usual) => {
                let refused = |error| Failure::new(Exit::Refused, format!("{error}"));
                let sidecar = Sidecar::new(&inbound, environment).map_err(refused)?;
                Ok(Self::Sidecar(sidecar))
            }
            _ => Ok(Self::File(file.into())),
        }
    }

    /// Reads and checks it.
    pub(super) fn load(&self) -> Outcome {
        match self {
            Self::File(file) => config::load(file, &System),
            Self::Sidecar(sidecar) => {
                config::load_text(sidecar::VARIABLE, &sidecar.text(), &System)
            }
        }
    }

    /// The file that a reload reads.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Sidecar(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Sidecar(_) => f.write_str(sidecar::VARIABLE),
        }
    }
}

/// Whether something is at a path, be it unreadable.
fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Where packages put the configuration.
const DEFAULT_CONFIG: &str = "/etc/evenkeel/evenkeel.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Made;

    #[test]
    fn a_file_that_is_named_or_there_wins() {
        let made = Made::default().with_variable("EVENKEEL_INBOUND", "3000");
        let (nowhere, here) = (Path::new("/nowhere/evenkeel.toml"), Path::new("Cargo.toml"));
        let source = |named, usual| Source::of_environment(named, usual, &made);
        let file = |path: &Path| Source::File(path.into());
        assert_eq!(source(Some(nowhere), nowhere).ok(), Some(file(nowhere)));
        assert_eq!(source(None, here).ok(), Some(file(here)));
        assert!(matches!(source(None, nowhere), Ok(Source::Sidecar(_))));
        let without = Source::of_environment(None, nowhere, &Made::default());
        assert_eq!(without.ok(), Some(file(nowhere)));
    }
}
