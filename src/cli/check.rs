//! `evenkeel check`: is this configuration right, and does it do what its author promised?
//!
//! Nothing is touched: no port is bound, no name is looked up, no instance is asked. Certificates
//! and keys are read, since only a start that fails would tell otherwise.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use super::run::wants_last_good;
use super::source::Source;
use super::{Exit, Failure, Global, Output, show};
use crate::config::{Diagnostic, Outcome};
use crate::control::admin::read_token;
use crate::control::aside::at_once;
use crate::control::certificates::{expiring, read_at_once};
use crate::control::client_authorities;
use crate::control::core_dumps;
use crate::control::coverage;
use crate::control::materials;
use crate::snapshot::{Routing, TestFailure};

/// Check a configuration and run its tests, without touching anything
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file, instead of --config
    file: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let source = match &self.file {
            Some(file) => Source::File(file.clone()),
            None => Source::of(global)?,
        };
        let mut outcome = source.load();
        let failures = match &outcome.config {
            Some(config) => Routing::new(config)
                .map_err(|error| Failure::new(Exit::Refused, error.to_string()))?
                .failures(),
            None => Vec::new(), // the mistakes come first
        };
        let findings: Vec<_> = failures
            .iter()
            .map(|failure| failure.finding(&outcome.places))
            .collect();
        outcome.add(findings);
        if let Some(config) = &outcome.config {
            core_dumps::forbid(config);
        }
        let findings = [
            certificates(&outcome),
            client_authorities(&outcome),
            token(&outcome),
            keeps_nothing(&outcome, wants_last_good()),
        ];
        outcome.add(findings.concat());
        let is_valid = outcome.config.is_some()
            && outcome.errors() == 0
            && failures.is_empty()
            && !(self.strict && outcome.warnings() > 0);
        if global.json {
            let mut report = outcome.to_json();
            report["valid"] = json!(is_valid);
            report["tests"] = tests(
                outcome.config.as_ref().map_or(0, |c| c.test.len()),
                &failures,
            );
            output.json(&report);
        } else {
            show::findings(&outcome, output);
        }
        if is_valid {
            if !global.json {
                let tests = outcome
                    .config
                    .as_ref()
                    .map_or(0, |config| config.test.len());
                let warnings = outcome.warnings();
                output.success(format_args!(
                    "{source}: fine ({}, {})",
                    show::counted(warnings, "warning"),
                    show::counted(tests, "test")
                ));
            }
            return Ok(Exit::Done);
        }
        if !global.json {
            let (errors, warnings) = (outcome.errors(), outcome.warnings());
            output.note(format_args!(
                "{source}: {}, {}\n",
                show::counted(errors, "error"),
                show::counted(warnings, "warning")
            ));
        }
        Ok(Exit::Refused)
    }
}

/// What is wrong with the certificates.
fn certificates(outcome: &Outcome) -> Vec<Diagnostic> {
    let Some(config) = &outcome.config else {
        return Vec::new();
    };
    let places = &outcome.places;
    let now = SystemTime::now();
    let mut findings: Vec<_> = match read_at_once(config) {
        Err(unusable) => unusable.iter().map(|one| one.finding(places)).collect(),
        Ok(certificates) => {
            let expiring = expiring(&certificates, now);
            let mut findings: Vec<_> = expiring.iter().map(|one| one.finding(places)).collect();
            findings.extend(coverage::findings(config, &certificates, places));
            findings
        }
    };
    match materials::read_at_once(config) {
        Err(unusable) => findings.extend(unusable.iter().map(|one| one.finding(places))),
        Ok(read) => findings.extend(
            materials::expiring(&read, now)
                .into_iter()
                .map(|(upstream, why)| places.expiring_of_upstream(upstream, &why)),
        ),
    }
    findings
}

/// What is wrong with the authorities of clients.
fn client_authorities(outcome: &Outcome) -> Vec<Diagnostic> {
    let Some(config) = &outcome.config else {
        return Vec::new();
    };
    let places = &outcome.places;
    match client_authorities::read_at_once(config) {
        Err(unusable) => unusable.iter().map(|one| one.finding(places)).collect(),
        Ok(rules) => {
            let doubts = client_authorities::doubts(&rules, SystemTime::now());
            doubts.iter().map(|one| one.finding(places)).collect()
        }
    }
}

/// What is wrong with the token of the admin API.
fn token(outcome: &Outcome) -> Vec<Diagnostic> {
    let written = outcome.config.as_ref();
    let Some(file) = written.and_then(|config| config.admin.token_file.clone()) else {
        return Vec::new();
    };
    let why = match at_once(move || read_token(&file)) {
        Ok(Ok(_)) => return Vec::new(),
        Ok(Err(error)) => error.to_string(),
        Err(why) => why,
    };
    vec![outcome.places.token_file(&why)]
}

/// Whether the last good configuration is asked for, and there is no place to keep it in.
pub(super) fn keeps_nothing(outcome: &Outcome, is_asked_for: bool) -> Vec<Diagnostic> {
    let written = outcome.config.as_ref();
    let is_kept = written.is_none_or(|config| config.state_dir.is_some());
    if is_kept || !is_asked_for {
        return Vec::new();
    }
    vec![outcome.places.keeps_nothing()]
}

fn tests(run: usize, failures: &[TestFailure]) -> Value {
    let failed: Vec<Value> = failures
        .iter()
        .map(|failure| {
            let differences = failure.differences.iter();
            let differences = differences.map(|difference| &difference.sentence);
            json!({
                "index": failure.index,
                "request": failure.request,
                "differences": differences.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "run": run, "failed": failed })
}
