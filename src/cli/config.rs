//! `evenkeel config`: the configuration that is in force, and the format's schema.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{AdminAddress, Exit, Failure, Global, Output};
use crate::config;

/// Show the running configuration, or the format's schema    (config show, config schema)
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the configuration that the running instance has in force, with secrets masked
    Show {
        /// Also what is in force without having been written: defaults and inherited settings
        #[arg(long)]
        effective: bool,
    },
    /// Print the JSON Schema of the format, from which editors complete
    Schema,
}

impl Config {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        match self.command {
            What::Show { effective } => show(effective, global, output)?,
            What::Schema => output.json(&config::schema()),
        }
        Ok(Exit::Done)
    }
}

fn show(effective: bool, global: &Global, output: &mut Output) -> Result<(), Failure> {
    let path = if effective {
        "/v1/config?effective"
    } else {
        "/v1/config"
    };
    let answer = AdminAddress::of(global).call(Method::GET, path, LIMIT)?;
    let config: Value = answer.success()?.json()?;
    if global.json {
        output.json(&config);
        return Ok(());
    }
    match config["toml"].as_str() {
        Some(text) => output.text(text),
        None => output.json(&config),
    }
    Ok(())
}

/// The instance has it in memory.
const LIMIT: Duration = Duration::from_secs(5);
