//! A proxy inside another program: it starts, reports where it is, and ends when the program wants.
//!
//! ```sh
//! cargo run --example embedded -- 127.0.0.1:3000 127.0.0.1:3001
//! ```

use std::error::Error;
use std::io::{self, Write};

use evenkeel::app::{App, Options};
use evenkeel::config::{self, Nothing, Style};

fn main() -> Result<(), Box<dyn Error>> {
    let endpoints: Vec<String> = std::env::args()
        .skip(1)
        .map(|to| format!("{to:?}"))
        .collect();
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nto = [{}]\n[log]\noutput = \"stderr\"\n",
        endpoints.join(", ")
    );
    let mut stdout = io::stdout().lock();

    // Every mistake is found at once, with its place; here nothing outside the text is consulted.
    let outcome = config::load_text("embedded", &text, &Nothing);
    write!(stdout, "{}", outcome.render(Style::default()))?;

    // Port 0 lets the system choose; `addresses` knows what it chose.
    let bound = App::bind(outcome, Options::default())?;
    let address = bound.addresses()["web"];
    let running = bound.start();
    writeln!(stdout, "balancing on http://{address}; press Enter to end")?;
    io::stdin().read_line(&mut String::new())?;

    // The same drain as on SIGTERM: what runs may finish.
    running.stop();
    let ended = running.wait()?;
    writeln!(stdout, "{}", ended.summary())?;
    Ok(())
}
