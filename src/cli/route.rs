//! `evenkeel route`: what would become of a request, and why.
//!
//! Answers from the file, without an instance, so that a change can be asked about before it is
//! made; with `--running` from the configuration that is in force.

use std::time::Duration;

use clap::Args;
use http::Method;

use super::source::Source;
use super::{AdminAddress, Exit, Failure, Global, Output, Paint, show};
use crate::config::Config;
use crate::control::admin::Explained;
use crate::snapshot::{Inquiry, Routing};

/// The command line of it.
#[derive(Debug, Args)]
#[command(
    about = "Show which route and upstream a request would get, and why    \
                   (route GET https://host/path)"
)]
pub(super) struct Route {
    /// Method, such as GET
    method: String,
    /// URL: scheme, host and path
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
        let explained = if self.running {
            self.ask(global)?
        } else {
            self.look_up(global, output)?
        };
        if global.json {
            output.json(&explained);
        } else {
            print(&explained, output);
        }
        Ok(Exit::Done)
    }

    /// The decision of the instance.
    fn ask(&self, global: &Global) -> Result<Explained, Failure> {
        let mut path = String::from("/v1/route?");
        parameter(&mut path, "method", &self.method);
        parameter(&mut path, "url", &self.url);
        for header in &self.headers {
            parameter(&mut path, "header", header);
        }
        if let Some(listener) = &self.listener {
            parameter(&mut path, "listener", listener);
        }
        let answer = AdminAddress::of(global).call(Method::GET, &path, LIMIT)?;
        answer.success()?.json()
    }

    /// The decision of the file.
    fn look_up(&self, global: &Global, output: &mut Output) -> Result<Explained, Failure> {
        let source = Source::of(global)?;
        let outcome = source.load();
        if let Some(config) = &outcome.config {
            return self.decide(config);
        }
        show::findings(&outcome, output);
        let message = format!("{source} cannot be used");
        Err(Failure::new(Exit::Refused, message)
            .hint("--running asks the instance instead of the file"))
    }

    fn decide(&self, config: &Config) -> Result<Explained, Failure> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let mut fields = Vec::with_capacity(self.headers.len());
        for header in &self.headers {
            let field = header.split_once(':');
            let (name, value) = field.ok_or_else(|| {
                usage(format!(
                    "`{header}` is not a field of the form `name: value`"
                ))
            })?;
            fields.push((name.trim(), value.trim()));
        }
        let request = format!("{} {}", self.method, self.url);
        let inquiry = Inquiry::new(&request, fields).map_err(|error| usage(error.to_string()))?;
        let routing = Routing::new(config);
        let routing = routing.map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
        let decision = routing.decide(self.listener.as_deref(), &inquiry);
        let decision = decision.map_err(|error| usage(error.to_string()))?;
        Ok(Explained::new(decision, config))
    }
}

fn print(explained: &Explained, output: &mut Output) {
    let name = match &explained.route {
        Some(route) => format!("route {route}"),
        None if explained.location.is_some() => {
            format!("the redirect of listener {}", explained.listener)
        }
        None if explained.upstreams.is_empty() => "no route".to_owned(),
        None => format!("the upstream of listener {}", explained.listener),
    };
    let kind = if explained.status == Some(404) {
        Paint::Warning
    } else {
        Paint::Good
    };
    let name = output.paint(kind, name);
    output.line(format_args!("{name} at listener {}", explained.listener));
    if explained.passes_through {
        output.line("  is passed through unread, with its connection");
    }
    let total: u64 = explained
        .upstreams
        .iter()
        .map(|(_, weight)| u64::from(*weight))
        .sum();
    for (upstream, weight) in &explained.upstreams {
        if explained.upstreams.len() == 1 {
            output.line(format_args!("  goes to upstream {upstream}"));
        } else {
            output.line(format_args!(
                "  goes to upstream {upstream} ({weight} of {total})"
            ));
        }
    }
    if let Some(location) = &explained.location {
        output.line(format_args!("  is redirected to {location}"));
    }
    if let Some(status) = explained.status {
        output.line(format_args!("  is answered with status {status}"));
    }
    if explained.lost.is_empty() {
        return;
    }
    output.line("");
    let width = explained
        .lost
        .iter()
        .map(|lost| lost.route.chars().count())
        .max()
        .unwrap_or(0);
    for lost in &explained.lost {
        let word = if lost.matches {
            "outranked"
        } else {
            "no match "
        };
        let word = output.paint(Paint::Faint, word);
        output.line(format_args!(
            "  {:<width$}  {word}  {}",
            lost.route, lost.why
        ));
    }
}

/// Appends a parameter of a query.
fn parameter(path: &mut String, name: &str, value: &str) {
    if !path.ends_with('?') {
        path.push('&');
    }
    path.push_str(name);
    path.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.extend([format!("%{byte:02X}")]);
        }
    }
}

/// The instance has it in memory.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_arrives_as_it_was_typed() {
        let mut path = String::from("/v1/route?");
        parameter(&mut path, "method", "GET");
        parameter(&mut path, "header", "x: a&b=ü");
        assert_eq!(path, "/v1/route?method=GET&header=x:%20a%26b%3D%C3%BC");
    }
}
