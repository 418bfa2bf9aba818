//! Configurations: whatever the text, it is either taken or refused with places that exist.

#![no_main]

use evenkeel::config::{self, Nothing, Style};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let outcome = config::load_text("fuzz.toml", text, &Nothing);
    assert_eq!(outcome.config.is_some(), outcome.errors() == 0);
    // A diagnostic points into the text, so showing it is where a wrong place would panic.
    drop(outcome.render(Style::default()));
    drop(outcome.to_json());
    if let Some(config) = outcome.config {
        drop(config::show(&config, true));
    }
});
