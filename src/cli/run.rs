//! `evenkeel run`: the proxy itself.

use std::path::PathBuf;

use clap::Args;

use super::check::keeps_nothing;
use super::client::DEFAULT_SOCKET;
use super::source::Source;
use super::{AdminAddress, Exit, Failure, Global, Output, show};
use crate::app::{App, BindError, Bound, Options};
use crate::config::{self, Outcome, System};
use crate::control::upgrade::{Inheritance, Program, SuccessionError};

/// Serve traffic with a configuration file, or without one: --listen :8080 --to host:port
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Address to accept HTTP on, instead of a configuration file
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    listen: Option<String>,
    /// Endpoint to forward to; may be given several times
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    to: Vec<String>,
    /// Start with the last good configuration where the file's cannot be put in force
    #[arg(long, env = LAST_GOOD)]
    last_good: bool,
}

impl Run {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let last_good = self.last_good;
        // Before anything else opens files.
        let inheritance = Inheritance::of_this_process();
        let refused = |error: SuccessionError| Failure::new(Exit::Refused, error.to_string());
        let inheritance = inheritance.map_err(refused)?;
        let (mut outcome, file) = self.configuration(global)?;
        outcome.add(keeps_nothing(&outcome, last_good));
        let options = Options {
            file,
            signals: true,
            privileges: true,
            admin: admin(global),
            last_good,
            usual_socket: Some(DEFAULT_SOCKET.into()),
            inheritance,
            program: Program::of_this_process(),
        };
        let bound = bind(outcome, options, output)?;
        match bound.run() {
            // The log's last line has said how it ended.
            Ok(ended) => Ok(ended.kept.map_or(Exit::Done, Exit::Of)),
            Err(error) => Err(Failure::new(Exit::Refused, error.to_string())),
        }
    }

    /// The configuration, and the file that a reload reads.
    fn configuration(self, global: &Global) -> Result<(Outcome, Option<PathBuf>), Failure> {
        let Some(listen) = self.listen else {
            let source = Source::of(global)?;
            return Ok((source.load(), source.file().map(Into::into)));
        };
        if global.config_is_written {
            let message = "--listen stands for a configuration file: give one of the two";
            return Err(Failure::new(Exit::Usage, message));
        }
        let text = written(&listen, &self.to);
        Ok((config::load_text("command line", &text, &System), None))
    }
}

/// Puts everything together up to the bound listeners, and shows what was found on the way.
pub(super) fn bind(
    outcome: Outcome,
    options: Options,
    output: &mut Output,
) -> Result<Bound, Failure> {
    show::findings(&outcome, output);
    let (places, sources) = (outcome.places.clone(), outcome.sources.clone());
    App::bind(outcome, options).map_err(|error| {
        if let BindError::Rejected(rejection) | BindError::NothingGood { rejection, .. } = &error {
            show::drawn(&rejection.findings(&places), &sources, output);
        }
        Failure::new(Exit::Refused, error.to_string())
    })
}

/// `--admin` names where this instance is to be found.
fn admin(global: &Global) -> config::Admin {
    let mut admin = config::Admin::default();
    match &global.admin {
        Some(AdminAddress::Unix(path)) => admin.socket = Some(path.clone()),
        Some(AdminAddress::Http(address)) => admin.http = Some(address.clone()),
        None => {}
    }
    admin
}

/// The configuration file that `--listen` and `--to` stand for.
fn written(listen: &str, to: &[String]) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let to: Vec<String> = to.iter().map(|endpoint| quoted(endpoint)).collect();
    let (listen, to) = (quoted(listen), to.join(", "));
    format!("[listener.web]\nbind = {listen}\nto = [{to}]\n")
}

/// Whether the environment asks for the last good configuration, by the words that the flag takes.
pub(super) fn wants_last_good() -> bool {
    let written = std::env::var(LAST_GOOD).unwrap_or_default().to_lowercase();
    !matches!(&*written, "" | "n" | "no" | "f" | "false" | "off" | "0")
}

const LAST_GOOD: &str = "EVENKEEL_LAST_GOOD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_cannot_break_the_syntax() {
        let text = written(":80\"\nx = 1", &["a:1".to_owned(), "b:2".to_owned()]);
        let table: toml::Table = text.parse().unwrap();
        let listener = table["listener"]["web"].as_table().unwrap();
        assert_eq!(listener["bind"].as_str(), Some(":80\"\nx = 1"));
        assert_eq!(listener["to"].as_array().unwrap().len(), 2);
        assert_eq!(listener.len(), 2);
    }
}
