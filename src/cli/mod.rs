//! The command line: one file per command, one table of exit codes.
//!
//! Every command prints its result on stdout and all else on stderr, takes `--json` where it reads
//! something, and ends with a code of [`Exit`]. What a running instance knows is asked of its admin
//! socket; nothing here touches the data plane.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

mod answer;
mod bundle;
mod check;
mod client;
mod completions;
mod config;
mod demo;
mod doctor;
mod exit;
mod help;
mod man;
mod output;
mod reload;
mod route;
mod run;
mod show;
mod sidecar;
mod source;
mod status;
#[cfg(test)]
mod tests;
mod upgrade;
mod version;

pub use client::{AdminAddress, AdminAddressError};
pub use exit::{Exit, Failure};
pub use output::{Color, Output, Paint};

/// A load balancer and reverse proxy that is built to survive bad days.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: /etc/evenkeel/evenkeel.toml; where there is none, what
    /// `EVENKEEL_INBOUND=[LISTEN:]PORT` stands for: a sidecar of the application at that port]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "EVENKEEL_CONFIG"
    )]
    config: Option<PathBuf>,
    /// Admin socket of the instance [default: that of the configuration file, or
    /// /run/evenkeel/admin.sock]
    #[arg(long, global = true, value_name = "SOCKET", env = "EVENKEEL_ADMIN")]
    admin: Option<AdminAddress>,
    /// Machine-readable output of any reading command
    #[arg(long, global = true)]
    json: bool,
    /// When to colour: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    color: Color,
    /// Print nothing on success
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Whether `--config` stands on the command line, not just in the environment.
    #[arg(skip)]
    config_is_written: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Demo(demo::Demo),
    Route(route::Route),
    Reload(reload::Reload),
    Upgrade(upgrade::Upgrade),
    Status(status::Status),
    Config(config::Config),
    Doctor(doctor::Doctor),
    Bundle(bundle::Bundle),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
}

impl Arguments {
    /// Reads a command line, the program's name first.
    pub fn parse_from_line(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = help::grouped(Self::command()).try_get_matches_from(line)?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        arguments.global.config_is_written = is_written(&matches, "config");
        Ok(arguments)
    }

    /// Carries the command out.
    fn execute(self, output: &mut Output) -> Result<Exit, Failure> {
        let global = &self.global;
        match self.command {
            Command::Run(run) => run.execute(global, output),
            Command::Check(check) => check.execute(global, output),
            Command::Demo(demo) => demo.execute(output),
            Command::Route(route) => route.execute(global, output),
            Command::Reload(reload) => reload.execute(global, output),
            Command::Upgrade(upgrade) => upgrade.execute(global, output),
            Command::Status(status) => status.execute(global, output),
            Command::Config(config) => config.execute(global, output),
            Command::Doctor(doctor) => doctor.execute(global, output),
            Command::Bundle(bundle) => bundle.execute(global, output),
            Command::Completions(completions) => Ok(completions.execute(output)),
            Command::Man(man) => man.execute(output),
            Command::Version(version) => Ok(version.execute(global, output)),
        }
    }
}

/// Whether an option stands on the command line, at whatever level.
fn is_written(matches: &ArgMatches, option: &str) -> bool {
    let here = matches.value_source(option) == Some(ValueSource::CommandLine);
    here || matches
        .subcommand()
        .is_some_and(|(_, matches)| is_written(matches, option))
}

/// The program: reads the command line, carries it out, and says how that ended.
pub fn main(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::parse_from_line(line) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too. Nobody is left to be told of a closed pipe.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let mut output = Output::new(arguments.global.color, arguments.global.quiet);
    let exit = match arguments.execute(&mut output) {
        Ok(exit) => exit,
        Err(failure) => {
            output.error(&failure, failure.hint.as_deref());
            failure.exit
        }
    };
    match output.finish() {
        Ok(()) => exit.into(),
        Err(error) => {
            Output::new(Color::Auto, false).error(
                format_args!("the output could not be written: {error}"),
                None,
            );
            Exit::Refused.into()
        }
    }
}
