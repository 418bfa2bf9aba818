use std::io;
use std::io::Read as _;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;
use crate::telemetry::access::{Format, Output, Settings, Writer as LogWriter};
use crate::telemetry::metrics;

/// What is written while `run` runs under a subscriber of ours.
fn written(json: bool, run: impl FnOnce(&LevelHandle)) -> String {
    let (mut reader, writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let settings = Settings {
        access: false,
        format: Format::Json,
        query: false,
        output: Output::File(path.into()),
        level: LevelFilter::INFO,
    };
    let sink = LogWriter::spawn(&settings, &metrics::Registry::new(1)).unwrap();
    drop(writer);
    let (subscriber, handle) = subscriber(settings.level, json, &sink);
    tracing::subscriber::with_default(subscriber, || run(&handle));
    assert!(sink.finish(Duration::from_secs(10)));
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_json_line_has_the_shape_of_the_other_logs() {
    let text = written(true, |_| {
        tracing::warn!(
            error = "a \"bad\"\nthing",
            port = 8080,
            share = 0.5,
            wild = f64::NAN,
            on = true,
            address = ?Some(1),
            "could not {}",
            "bind"
        );
    });
    assert_eq!(text.matches('\n').count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!(line["kind"], "log");
    assert_eq!(line["target"], module_path!());
    assert_eq!(line["message"], "could not bind");
    assert_eq!(line["error"], "a \"bad\"\nthing");
    assert_eq!(line["port"], 8080);
    assert_eq!(line["share"], 0.5);
    assert_eq!(line["wild"], "NaN");
    assert_eq!(line["on"], true);
    assert_eq!(line["address"], "Some(1)");
    assert!(line["ts"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn the_level_changes_while_it_runs() {
    let text = written(true, |level| {
        tracing::debug!("before");
        level.set(LevelFilter::DEBUG);
        tracing::debug!("while");
        level.set(LevelFilter::ERROR);
        tracing::warn!("after");
    });
    assert!(text.contains("while"));
    assert!(!text.contains("before") && !text.contains("after"));
}

#[test]
fn the_human_form_is_one_line_too() {
    let text = written(false, |_| tracing::info!(route = "api", "reloaded"));
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.contains("INFO") && text.contains("reloaded"), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
}
