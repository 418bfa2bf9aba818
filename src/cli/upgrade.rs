//! `evenkeel upgrade`: the program's file, as it is now, takes the running instance's place.

use std::time::Duration;

use clap::Args;

use super::{AdminAddress, Exit, Failure, Global, Output};
use crate::control::upgrade::{Report, Verdict};

/// Replace the running program by the one that is installed now, without losing a request
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// Seconds to wait for the result
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

impl Upgrade {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let limit = Duration::from_secs(self.timeout);
        let report: Report = AdminAddress::of(global).change("/v1/upgrade", limit)?;
        if global.json {
            output.json(&report);
        } else {
            print(&report, output);
        }
        Ok(match report.result {
            Verdict::Succeeded => Exit::Done,
            Verdict::Failed => Exit::Refused,
            Verdict::Late => Exit::TimedOut,
        })
    }
}

fn print(report: &Report, output: &mut Output) {
    output.notes(&report.notes);
    match report.result {
        Verdict::Succeeded => output.success(format_args!("upgraded: {}", report.why)),
        Verdict::Failed | Verdict::Late => {
            let (version, pid) = (&report.version, report.pid);
            let hint = format!("{version} goes on unchanged, as process {pid}");
            output.error(format_args!("not upgraded: {}", report.why), Some(&hint));
        }
    }
}
