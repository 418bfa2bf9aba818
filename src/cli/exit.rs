//! How a command ended, as the shell sees it.
//!
//! Scripts branch on these numbers, so a number never changes its meaning. 4 to 7 are kept for
//! commands that do not exist yet (refused for safety, plan, drill, rolled back).

use std::process::ExitCode;

/// The end of a command that did what it is for, with a good or a bad result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or valid.
    Done,
    /// The configuration is wrong, or one of its tests failed; also what stops `run` from starting.
    Refused,
    /// Wrong use of the command line.
    Usage,
    /// No running instance answers.
    NoInstance,
    /// Timed out while waiting.
    TimedOut,
    /// What another process ended with, which this one stands for.
    Of(u8),
}

/// Why a command could not do what it is for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// What happened, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NoInstance => 3,
            Self::TimedOut => 8,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// With advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
