//! `evenkeel route`: what would become of a request, and why.
//!
//! Answers from the file, without an instance, so that a change can be asked about before it is
//! made; with `--running` from the configuration that is in force.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{AdminAddress, Exit, Failure, Global, Output, Paint, show};
use crate::config::{self, Config, System};
use crate::route::Outcome;
use crate::snapshot::{Decision, Inquiry, Routing};

/// Show which route and upstream a request would get, and why    (route GET https://host/path)
#[derive(Debug, Args)]
pub(super) struct Route {
    /// Method, such as GET
    method: String,
    /// URL, such as https://host/path
    url: String,
    /// Field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The listener that gets it [default: the first that has a route for it]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Ask the running instance instead of the file
    #[arg(long)]
    running: bool,
}

impl Route {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        if self.running {
            return self.ask(global, output);
        }
        let outcome = config::load(global.config(), &System);
        let Some(config) = &outcome.config else {
            show::findings(&outcome, output);
            let message = format!("{} has mistakes", global.config().display());
            return Err(Failure::new(Exit::Refused, message)
                .hint("--running asks the instance instead of the file"));
        };
        let decision = self.decide(config)?;
        if global.json {
            output.json(&as_json(&decision));
        } else {
            print(&decision, config, output);
        }
        Ok(Exit::Done)
    }

    fn decide(&self, config: &Config) -> Result<Decision, Failure> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let mut fields = Vec::new();
        for header in &self.headers {
            let field = header.split_once(':').ok_or_else(|| {
                usage(format!("`{header}` is not a field of the form `name: value`"))
            })?;
            fields.push((field.0.trim(), field.1.trim()));
        }
        let request = format!("{} {}", self.method, self.url);
        let inquiry = Inquiry::new(&request, fields).map_err(|error| usage(error.to_string()))?;
        let routing = Routing::new(config)
            .map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
        routing
            .decide(self.listener.as_deref(), &inquiry)
            .map_err(|error| usage(error.to_string()))
    }
}

impl Route {
    /// The decision of the running instance.
    fn ask(&self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        todo!()
    }
}
