//! `evenkeel bundle`: one archive for a bug report, with secrets removed.
//!
//! What is in it is what the first answers to a report would ask for: what runs, how it is
//! configured, how it stands, what happened, and the machine. It is made with and without a running
//! instance; what could not be had is told in it. Every text goes through [`Scrubber`].

mod scrub;
mod tar;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use self::scrub::Scrubber;
use self::tar::Archive;
use super::doctor::{self, Subject};
use super::{Exit, Failure, Global, Output};
use crate::config;
use crate::control::cpus;
use crate::telemetry::process::BUILD;
use crate::telemetry::rfc3339;
use crate::time::since_epoch;

/// Write one archive for a bug report, secrets removed
#[derive(Debug, Args)]
pub(super) struct Bundle {
    /// The archive [default: evenkeel-bundle-<time>.tar in this directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The archive as it grows.
struct Contents {
    archive: Archive,
    scrubber: Scrubber,
    root: String,
    seconds: u64,
    names: Vec<String>,
    missing: Vec<String>,
}

impl Bundle {
    pub(super) fn execute(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let subject = Subject::of(global)?;
        let now = SystemTime::now();
        let time = rfc3339(now);
        let time: String = time
            .chars()
            .take(19)
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let root = format!("evenkeel-bundle-{time}");
        let mut contents = Contents {
            archive: Archive::default(),
            scrubber: Scrubber::new(
                subject.config(),
                subject.outcome.sources.files(),
                std::env::vars_os().filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                }),
            ),
            root,
            seconds: since_epoch(now).as_secs(),
            names: Vec::new(),
            missing: Vec::new(),
        };
        contents.gather(&subject);
        let path = self
            .output
            .unwrap_or_else(|| format!("{}.tar", contents.root).into());
        let names = contents.names.clone();
        let missing = contents.missing.clone();
        let bytes = contents.archive.finish();
        write(&path, &bytes)?;
        if global.json {
            output.json(&json!({ "file": path, "contents": names, "missing": missing }));
        } else {
            for missing in &missing {
                output.note(format_args!("without {missing}\n"));
            }
            let (count, size) = (names.len(), bytes.len().div_ceil(1024));
            output.success(format_args!(
                "{}: {count} files, {size} KiB; look through it before it is sent",
                path.display()
            ));
        }
        Ok(Exit::Done)
    }
}

impl Contents {
    fn gather(&mut self, subject: &Subject) {
        let version = json!({
            "version": BUILD.version,
            "revision": BUILD.revision,
            "made_at": rfc3339(SystemTime::now()),
            "instance": subject.instance.is_some(),
        });
        self.json("version.json", &version);
        self.configuration(subject);
        self.instance(subject);
        let findings = doctor::examine(subject);
        self.add("doctor.txt", &doctor::text(&findings));
        self.json("doctor.json", &doctor::report(&findings));
        self.log(subject);
        self.machine(subject);
        if !self.missing.is_empty() {
            let missing = self.missing.join("\n");
            self.add("missing.txt", &format!("{missing}\n"));
        }
    }

    /// The files as they are, and what they come to.
    fn configuration(&mut self, subject: &Subject) {
        let mut index = Vec::new();
        for (number, (name, text)) in subject.outcome.sources.files().enumerate() {
            let file = format!("config/{number}.toml");
            index.push(format!("{file}\t{name}\n"));
            self.add(&file, text);
        }
        self.add("config/index.txt", &index.concat());
        let findings = subject.outcome.to_json();
        self.json("config/check.json", &findings);
        if let Some(config) = subject.config() {
            let text = config::show(config, true);
            let text = self.scrubber.clean_config(&text);
            self.add("config/effective.toml", &text);
        }
        let overrides = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let mut overrides: Vec<String> = overrides
            .filter(|name| name.starts_with("EVENKEEL"))
            .collect();
        overrides.sort();
        self.add(
            "config/variables.txt",
            &format!("{}\n", overrides.join("\n")),
        );
    }

    /// What the running instance tells.
    fn instance(&mut self, subject: &Subject) {
        if subject.instance.is_none() {
            let admin = &subject.admin;
            self.missing
                .push(format!("what an instance tells: none answers at {admin}"));
            return;
        }
        for (name, path) in ASKED {
            let answer = subject.admin.call(Method::GET, path, LIMIT);
            match answer
                .map_err(Failure::from)
                .and_then(super::answer::Answer::success)
            {
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer.body);
                    // Laid out, for who reads it; what is no JSON stays as it is.
                    match serde_json::from_str::<Value>(&text) {
                        Ok(value) if value["toml"].is_string() => {
                            let text = value["toml"].as_str().unwrap_or_default();
                            let text = self.scrubber.clean_config(text);
                            self.add(name, &text);
                        }
                        Ok(value) => self.json(name, &value),
                        Err(_) => self.add(name, &text),
                    }
                }
                Err(failure) => self.missing.push(format!("{name}: {}", failure.message)),
            }
        }
    }

    /// The end of the log, if it is a file.
    fn log(&mut self, subject: &Subject) {
        let output = subject
            .config()
            .and_then(|config| config.log.output.clone());
        let Some(file) = output.filter(|output| !["stdout", "stderr"].contains(&&**output)) else {
            self.missing
                .push("the log: it is no file, `journalctl -u evenkeel` may have it".to_owned());
            return;
        };
        match end_of(&file) {
            Ok(text) => self.add("log.txt", &text),
            Err(error) => self.missing.push(format!("the log {file}: {error}")),
        }
    }

    /// The kernel, the process and what limits it.
    fn machine(&mut self, subject: &Subject) {
        let process = subject.process();
        for (name, path) in [
            ("machine/limits.txt", format!("/proc/{process}/limits")),
            ("machine/process.txt", format!("/proc/{process}/status")),
            ("machine/cgroup.txt", format!("/proc/{process}/cgroup")),
            ("machine/kernel.txt", "/proc/version".to_owned()),
            ("machine/cpus.txt", "/proc/loadavg".to_owned()),
            ("machine/memory.txt", "/proc/meminfo".to_owned()),
            ("machine/sockets.txt", "/proc/net/sockstat".to_owned()),
            ("machine/network.txt", "/proc/net/snmp".to_owned()),
            ("machine/system.txt", "/etc/os-release".to_owned()),
        ] {
            self.file(name, &path);
        }
        if let Some(directory) = cpus::cgroup_of(process) {
            for file in [
                "cpu.max",
                "cpu.stat",
                "memory.max",
                "memory.current",
                "memory.events",
            ] {
                let path = directory.join(file);
                if path.exists() {
                    self.file(&format!("machine/{file}"), &path.display().to_string());
                }
            }
        }
    }

    fn file(&mut self, name: &str, path: &str) {
        match fs::read_to_string(path) {
            Ok(text) => self.add(name, &text),
            Err(error) => self.missing.push(format!("{path}: {error}")),
        }
    }

    fn json(&mut self, name: &str, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.add(name, &text);
    }

    fn add(&mut self, name: &str, text: &str) {
        let text = self.scrubber.clean(text);
        let path = format!("{}/{name}", self.root);
        self.archive.add(&path, text.as_bytes(), self.seconds);
        self.names.push(name.to_owned());
    }
}

/// The last lines of a file.
fn end_of(path: &str) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A line that was cut may have been cut within a secret.
    Ok(match text.split_once('\n') {
        Some((_, rest)) if from > 0 => rest.to_owned(),
        _ => text,
    })
}

/// Not over what is there: a bundle is made in a hurry.
fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| {
        let message = format!("{} cannot be written: {error}", path.display());
        Failure::new(Exit::Refused, message).hint("--output names another file")
    })
}

/// What is asked of the instance, and what it is called.
const ASKED: [(&str, &str); 10] = [
    ("instance/info.json", "/v1/info"),
    ("instance/status.json", "/v1/status"),
    ("instance/ready.txt", "/readyz?verbose"),
    ("instance/listeners.json", "/v1/listeners"),
    ("instance/routes.json", "/v1/routes"),
    ("instance/upstreams.json", "/v1/upstreams"),
    ("instance/certificates.json", "/v1/certificates"),
    ("instance/events.json", "/v1/events"),
    ("instance/config.toml", "/v1/config?effective"),
    ("instance/metrics.txt", "/metrics"),
];

/// The instance has it in memory.
const LIMIT: Duration = Duration::from_secs(5);

/// Bytes of the log: some thousand lines.
const LOG: u64 = 1 << 20;
