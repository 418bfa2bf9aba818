//! What a configuration becomes, what a request meets in it, and what a reload keeps.

use std::sync::Arc;

use crate::config::{Config, Nothing, Style, load_text};

mod building;
mod routing;
mod series;
mod settings;

/// A configuration that has no errors.
#[track_caller]
fn config(text: &str) -> Config {
    let outcome = load_text("test.toml", text, &Nothing);
    let said = outcome.render(Style::default());
    outcome.config.unwrap_or_else(|| panic!("{said}"))
}

/// The same, shared.
#[track_caller]
fn shared(text: &str) -> Arc<Config> {
    Arc::new(config(text))
}
