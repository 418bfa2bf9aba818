//! `evenkeel reload`: the running instance takes the file, or says why not.

use std::time::Duration;

use clap::Args;

use super::{AdminAddress, Exit, Failure, Global, Output};
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
        let report: Report = AdminAddress::of(global).change("/v1/reload", limit)?;
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
    output.notes(&report.notes);
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
