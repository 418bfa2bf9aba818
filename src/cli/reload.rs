//! `evenkeel reload`: the running instance takes the file, or says why not.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use super::{AdminAddress, Exit, Failure, Global, Output, Paint};
use crate::control::{Report, Verdict};

/// Apply the file to the running instance, and wait for the result
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Seconds to wait for the result
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

impl Reload {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let limit = Duration::from_secs(self.timeout);
        let answer = AdminAddress::of(global).call(Method::POST, "/v1/reload", limit)?;
        let report: Report = match answer.status {
            // Refused, with a report like that of a success.
            StatusCode::UNPROCESSABLE_ENTITY => answer.json()?,
            _ => answer.success()?.json()?,
        };
        if global.json {
            output.json(&report);
        } else {
            print(&report, output);
        }
        Ok(match report.result {
            Verdict::Applied => Exit::Done,
            Verdict::Rejected => Exit::Refused,
        })
    }
}

fn print(report: &Report, output: &mut Output) {
    output.note(&report.text);
    for note in &report.notes {
        let word = output.paint(Paint::Warning, "note");
        output.note(format_args!("{word}: {note}\n"));
    }
    let generation = report.generation;
    match report.result {
        Verdict::Applied => output.success(format_args!(
            "configuration {generation} is in force: {}",
            report.why
        )),
        Verdict::Rejected => {
            let hint = format!("configuration {generation} goes on unchanged");
            output.error(format_args!("refused: {}", report.why), Some(&hint));
        }
    }
}
