//! `evenkeel demo`: the whole thing in one command, with nothing to install or to write.
//!
//! Sample endpoints in two zones stand behind the real proxy, which reads a real configuration file
//! from a temporary directory. Everything that the demo suggests can be done to a production
//! instance in the same words. The directory goes when the demo ends.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::run::bind;
use super::{Exit, Failure, Output, Paint};
use crate::app::{Options, Running};
use crate::config::{self, System};
use crate::telemetry::events::Recorded;

mod endpoints;
mod story;
#[cfg(test)]
mod tests;

use endpoints::Fleet;
use story::Story;

/// See it work: sample endpoints in two zones behind the real proxy, and what to try
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Port of the proxy; another free one is taken if this one is in use, or for 0
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// A temporary directory that goes with its value.
#[derive(Debug)]
struct Home {
    path: PathBuf,
}

impl Demo {
    pub(super) fn execute(self, output: &mut Output) -> Result<Exit, Failure> {
        let fleet = Fleet::start().map_err(|error| failed("start the sample endpoints", &error))?;
        let home = Home::create().map_err(|error| failed("make a temporary directory", &error))?;
        // Two demos that begin at once would both find the usual port free.
        let admin_port = if self.port == 0 { 0 } else { ADMIN_PORT };
        let story = Story {
            port: free_port(self.port).map_err(|error| failed("find a free port", &error))?,
            admin_port: free_port(admin_port)
                .map_err(|error| failed("find a free port", &error))?,
            home: &home.path,
            samples: fleet.samples(),
            switchboard: fleet.switchboard(),
            program: std::env::args()
                .next()
                .unwrap_or_else(|| "evenkeel".to_owned()),
        };
        let file = story.config_file();
        fs::write(&file, story.config()).map_err(|error| failed("write the file", &error))?;
        let bound = bind(
            config::load(&file, &System),
            Options {
                file: Some(file.clone()),
                signals: true,
                ..Options::default()
            },
            output,
        )?;
        output.text(story.opening(output));
        let running = bound.start();
        tell(&running, &fleet, output);
        output.line("");
        output.line("That was it. The temporary directory is gone.");
        Ok(Exit::Done)
    }
}

impl Home {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("evenkeel-demo-{}", std::process::id()));
        // Nobody else may write a configuration that this process then obeys.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory, which is cleaned by the system.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Tells what happens, until it is over.
fn tell(running: &Running, fleet: &Fleet, output: &mut Output) {
    let events = running.events().clone();
    let mut last = 0;
    let mut served = fleet.served();
    loop {
        let over = running.wait_for(TICK).is_some();
        for recorded in events.list(last) {
            last = recorded.id;
            output.line(event(&recorded, fleet, output));
        }
        let now = fleet.served();
        if now != served {
            output.line(traffic(&served, &now, fleet, output));
            served = now;
        }
        if over {
            return;
        }
    }
}

/// An event in one line, with the sample's name where it is about one.
fn event(recorded: &Recorded, fleet: &Fleet, output: &Output) -> String {
    let event = &recorded.event;
    let paint = match event.kind {
        "endpoint_up" | "config_applied" | "panic_off" => Paint::Good,
        "endpoint_down" | "panic_on" => Paint::Bad,
        "config_rejected" => Paint::Warning,
        _ => Paint::Strong,
    };
    let kind = output.paint(paint, format_args!("{:<16}", event.kind));
    let endpoint = event.fields.iter().find(|(name, _)| *name == "endpoint");
    let about = endpoint
        .and_then(|(_, address)| fleet.sample_at(address))
        .map(|sample| format!("{} in {}: ", sample.name, sample.zone))
        .unwrap_or_default();
    format!("  {}  {kind}  {about}{}", clock(recorded), event.why)
}

/// What the endpoints have answered since the last line.
fn traffic(before: &[u64], now: &[u64], fleet: &Fleet, output: &Output) -> String {
    let shares: Vec<String> = fleet
        .samples()
        .iter()
        .zip(before.iter().zip(now))
        .map(|(sample, (before, now))| format!("{} {}", sample.name, now - before))
        .collect();
    let kind = output.paint(Paint::Strong, format_args!("{:<16}", "requests"));
    let time = time_of_day(Timestamp::now());
    format!("  {time}  {kind}  {}", shares.join("   "))
}

fn clock(recorded: &Recorded) -> String {
    Timestamp::try_from(recorded.at).map_or_else(|_| "        ".to_owned(), time_of_day)
}

fn time_of_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%H:%M:%S")
        .to_string()
}

/// The port if nobody listens there, else any free one.
///
/// The proxy's own sockets share their port among its workers, so they would bind beside another
/// instance of the same user without an error; an ordinary socket tells the truth.
fn free_port(wanted: u16) -> io::Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, wanted)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    Ok(listener.local_addr()?.port())
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Refused, format!("the demo could not {what}: {error}"))
}

/// Where the metrics are looked for first.
const ADMIN_PORT: u16 = 9901;

/// Time between two looks at what has happened.
const TICK: Duration = Duration::from_millis(500);
