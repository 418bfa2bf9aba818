//! `evenkeel completions`: what a shell needs to complete a command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Exit, Output};

/// Print completions for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self, output: &mut Output) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "evenkeel",
            &mut script,
        );
        output.text(String::from_utf8_lossy(&script));
        Exit::Done
    }
}
