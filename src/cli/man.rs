//! `evenkeel man`: the manual pages, made of what `--help` says.
//!
//! One page of the program and one of each command, so that who types `man evenkeel-run` finds it.
//! They are written by the program itself, so that no package can bring pages of another version.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::{Arguments, Exit, Failure, Output};

/// Print the manual page, or write all of them into a directory
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write evenkeel.1 and the page of each command into this directory
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self, output: &mut Output) -> Result<Exit, Failure> {
        match self.into {
            Some(folder) => clap_mangen::generate_to(command(), &folder).map_err(|error| {
                let message = format!("{} cannot be written: {error}", folder.display());
                Failure::new(Exit::Refused, message)
            })?,
            None => output.text(String::from_utf8_lossy(&written(&Page::new(command())))),
        }
        Ok(Exit::Done)
    }
}

/// The command line as the pages tell it. `evenkeel help run` says what the page of `run` does.
fn command() -> clap::Command {
    Arguments::command().disable_help_subcommand(true)
}

fn written(page: &Page) -> Vec<u8> {
    let mut text = Vec::new();
    page.render(&mut text).expect("a vector takes everything");
    text
}
