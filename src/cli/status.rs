//! `evenkeel status`: one screen about the running instance, what is wrong first.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{AdminAddress, Exit, Failure, Global, Output, Paint};
use crate::control::admin::status::{self, Status as State};

/// One screen: what is up, what is not, and why
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Only say whether it could take traffic, whatever upstreams its readiness follows; exit
    /// code 1 if not
    #[arg(long)]
    ready: bool,
}

impl Status {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let address = AdminAddress::of(global);
        if self.ready {
            return ready(&address, output);
        }
        let answer = address.call(Method::GET, "/v1/status", LIMIT)?.success()?;
        if global.json {
            // As it came: an older program must not hide what a newer instance says.
            output.json(&answer.json::<Value>()?);
        } else {
            let state: State = answer.json()?;
            for line in status::render(&state).lines() {
                let line = painted(line, output);
                output.line(line);
            }
        }
        Ok(Exit::Done)
    }
}

/// Not about `admin.ready_when`: a container's check by this command decides whether it is
/// restarted, or its application started.
fn ready(address: &AdminAddress, output: &mut Output) -> Result<Exit, Failure> {
    let answer = address.call(Method::GET, "/readyz?verbose&exclude=upstreams", LIMIT)?;
    let checks = String::from_utf8_lossy(&answer.body);
    if answer.status == StatusCode::OK {
        output.success("ready");
        return Ok(Exit::Done);
    }
    output.note(checks.trim_end());
    output.note("\n");
    Ok(Exit::Refused)
}

/// A line of the screen in the colour of what it says.
fn painted(line: &str, output: &Output) -> String {
    let kind = match line {
        _ if line.starts_with("! ") => Paint::Bad,
        _ if line.starts_with("everything is") => Paint::Good,
        _ if line.starts_with("evenkeel ") => Paint::Strong,
        _ => return line.to_owned(),
    };
    output.paint(kind, line)
}

/// The instance has all of it in memory; one that needs longer is not well.
const LIMIT: Duration = Duration::from_secs(5);
