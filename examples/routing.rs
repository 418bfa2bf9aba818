//! The router alone: which route of a configuration takes a request, and why the others do not.
//!
//! ```sh
//! cargo run --example routing -- evenkeel.toml GET http://api.example.com/v1/users
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use evenkeel::config::{self, Style, System};
use evenkeel::snapshot::{Inquiry, Routing};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, method, url] = arguments.as_slice() else {
        return Err("usage: routing FILE METHOD URL".into());
    };
    let mut stdout = io::stdout().lock();
    let outcome = config::load(Path::new(file), &System);
    write!(stdout, "{}", outcome.render(Style::default()))?;
    let Some(config) = &outcome.config else {
        return Err(outcome.summary("nothing to ask").into());
    };

    let routing = Routing::new(config)?;
    let inquiry = Inquiry::new(&format!("{method} {url}"), [("accept", "*/*")])?;
    let decision = routing.decide(None, &inquiry)?;
    for candidate in &decision.candidates {
        writeln!(stdout, "{:<20} {}", candidate.name, candidate.outcome)?;
    }
    match &decision.route {
        Some(route) => writeln!(stdout, "so {route} takes it")?,
        None => writeln!(stdout, "so no route takes it")?,
    }
    Ok(())
}
