//! `evenkeel doctor`: is this machine fit to run it, with this configuration?
//!
//! Each check says what it found and, where something is wrong, what to do. It changes nothing, and
//! needs no running instance; where one answers, its process is the one that is looked at, and the
//! ports that it holds are as they should be.

mod certificates;
mod cgroup;
mod clock;
mod directory;
mod kernel;
mod limits;
mod names;
mod ports;
mod sysctls;
#[cfg(test)]
mod tests;

use std::fs;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::source::Source;
use super::{AdminAddress, Exit, Failure, Global, Output, Paint};
use crate::config::{Config, Outcome};

/// Check the machine: limits, sysctls, certificates, clock, DNS, ports, cgroup
#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not on a bad day.
    Warn,
    /// It does not work.
    Bad,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The check: `limits`, `ports`, …
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What was found.
    pub(super) what: String,
    /// What to do about it; empty if nothing.
    #[serde(rename = "do")]
    pub(super) remedy: String,
}

/// What the checks look at.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) outcome: Outcome,
    pub(super) source: Source,
    pub(super) admin: AdminAddress,
    /// The running instance, if one answers.
    pub(super) instance: Option<Instance>,
}

/// A running instance.
#[derive(Debug)]
pub(super) struct Instance {
    /// Its directory under `/proc`: a number.
    pub(super) process: String,
    /// Its listeners, as the admin API tells them.
    pub(super) listeners: Value,
}

impl Doctor {
    #[expect(clippy::unused_self, reason = "every command has this form")]
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let findings = examine(&Subject::of(global)?);
        let worst = worst(&findings);
        if global.json {
            output.json(&report(&findings));
        } else {
            for finding in &findings {
                output.text(drawn(finding, output));
            }
            output.line(summary(&findings));
        }
        Ok(match worst {
            Level::Bad => Exit::Refused,
            Level::Ok | Level::Warn => Exit::Done,
        })
    }
}

impl Subject {
    /// What the command line names.
    pub(super) fn of(global: &Global) -> Result<Self, Failure> {
        let source = Source::of(global)?;
        let admin = AdminAddress::of(global);
        let instance = Instance::at(&admin);
        Ok(Self {
            outcome: source.load(),
            source,
            admin,
            instance,
        })
    }

    /// The configuration, if it is right.
    pub(super) fn config(&self) -> Option<&Config> {
        self.outcome.config.as_ref()
    }

    /// Whose limits count: the instance's, else our own.
    pub(super) fn process(&self) -> &str {
        let instance = self.instance.as_ref();
        instance.map_or("self", |instance| instance.process.as_str())
    }
}

impl Instance {
    fn at(admin: &AdminAddress) -> Option<Self> {
        let ask = |path| admin.call(Method::GET, path, LIMIT).ok()?.success().ok();
        let info: Value = ask("/v1/info")?.json().ok()?;
        let listeners: Value = ask("/v1/listeners")?.json().ok()?;
        let process = info["pid"].as_u64()?.to_string();
        // In another namespace its number is somebody else's here, or nobody's.
        let is_it = fs::read_to_string(format!("/proc/{process}/comm"))
            .is_ok_and(|name| name.trim_end() == "evenkeel" || name.trim_end() == "control");
        Some(Self {
            process: if is_it { process } else { "self".to_owned() },
            listeners,
        })
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            what: what.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn warn(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level: Level::Warn,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn bad(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Bad,
            ..Self::warn(check, what, remedy)
        }
    }
}

/// Everything that there is to say.
pub(super) fn examine(subject: &Subject) -> Vec<Finding> {
    [
        configuration(subject),
        vec![instance(subject)],
        limits::check(subject),
        sysctls::check(subject),
        ports::check(subject),
        certificates::check(subject),
        clock::check(),
        names::check(subject),
        cgroup::check(subject),
        directory::check(subject),
        kernel::check(subject),
    ]
    .concat()
}

/// The findings for programs.
pub(super) fn report(findings: &[Finding]) -> Value {
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    json!({
        "findings": findings,
        "ok": count(Level::Ok),
        "warn": count(Level::Warn),
        "bad": count(Level::Bad),
    })
}

/// The findings for people, without colours.
pub(super) fn text(findings: &[Finding]) -> String {
    let plain = Output::to(std::io::sink(), std::io::sink());
    let lines: String = findings.iter().map(|one| drawn(one, &plain)).collect();
    format!("{lines}{}\n", summary(findings))
}

fn drawn(finding: &Finding, output: &Output) -> String {
    let (word, paint) = match finding.level {
        Level::Ok => ("ok  ", Paint::Good),
        Level::Warn => ("warn", Paint::Warning),
        Level::Bad => ("bad ", Paint::Bad),
    };
    let word = output.paint(paint, word);
    let Finding {
        check,
        what,
        remedy,
        ..
    } = finding;
    let line = format!("{word}  {check:<13} {what}\n");
    if remedy.is_empty() {
        line
    } else {
        format!("{line}{:21}do: {remedy}\n", "")
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    match (count(Level::Bad), count(Level::Warn)) {
        (0, 0) => "everything is as it should be".to_owned(),
        (bad, warn) => format!("{bad} bad, {warn} to be warned of"),
    }
}

fn worst(findings: &[Finding]) -> Level {
    let levels = findings.iter().map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

fn configuration(subject: &Subject) -> Vec<Finding> {
    let (outcome, file) = (&subject.outcome, &subject.source);
    if outcome.config.is_some() {
        let warnings = outcome.warnings();
        return vec![Finding::ok(
            "configuration",
            format!("{file} can be read, with {warnings} warnings"),
        )];
    }
    let first = outcome.diagnostics.first();
    let first = first.map(|finding| finding.one_line(&outcome.sources));
    let what = first.unwrap_or_else(|| format!("{file} cannot be used"));
    let remedy = format!("`evenkeel check {file}` tells all of it; other checks need it");
    vec![Finding::bad("configuration", what, remedy)]
}

fn instance(subject: &Subject) -> Finding {
    match (&subject.instance, &subject.admin) {
        (Some(_), admin) => Finding::ok("instance", format!("one answers at {admin}")),
        (None, AdminAddress::Unix(path)) if path.exists() => Finding::warn(
            "instance",
            format!("{} is there, and nobody answers", path.display()),
            "if it should run: see its log; if you may not open it: ask as the instance's user",
        ),
        (None, admin) => Finding::ok("instance", format!("none answers at {admin}")),
    }
}

/// A file of one number.
fn number(path: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.trim().parse().ok()
}

/// The instance has it in memory.
const LIMIT: Duration = Duration::from_secs(5);
