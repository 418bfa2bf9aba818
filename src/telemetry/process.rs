//! The process as its metrics show it: CPU, memory, descriptors, start, build.
//!
//! The `process_*` names are Prometheus' own convention, so that every dashboard finds them.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::metrics::{Family, Gauge, Kind, Registry};

/// The program's version and the revision that it was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Revision, if the build was told (`EVENKEEL_REVISION`), else `unknown`.
    pub revision: &'static str,
}

/// What this program was built from.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("EVENKEEL_REVISION") {
        Some(revision) if !revision.is_empty() => revision,
        Some(_) | None => "unknown",
    },
};

/// Keeps the process's own metrics in a registry, read anew at each scrape.
pub fn observe(registry: &Registry) {
    let labels = [("version", BUILD.version), ("revision", BUILD.revision)];
    let build = registry.gauge(&BUILD_INFO, &labels);
    build.set(1);
    let start = registry.gauge(&START, &[]);
    if let Some(seconds) = start_time() {
        start.set_f64(seconds);
    }
    let cpu = registry.gauge(&CPU, &[]);
    let resident = registry.gauge(&RESIDENT, &[]);
    let open = registry.gauge(&OPEN_FDS, &[]);
    let most = registry.gauge(&MAX_FDS, &[]);
    registry.on_scrape(move || {
        // Held here, since a series lives as long as its handles.
        let _constant = (&build, &start);
        refresh(&cpu, cpu_seconds());
        refresh(&resident, resident_bytes());
        refresh(&open, open_descriptors());
        refresh(&most, Some(max_descriptors()));
    });
}

/// A value that cannot be read (no `/proc`) stays as it is: a gap is better than a zero.
fn refresh(gauge: &Gauge, value: Option<f64>) {
    if let Some(value) = value {
        gauge.set_f64(value);
    }
}

/// Fields of `/proc/self/stat` after the command, which may hold spaces and brackets itself.
fn stat_field(index: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(index)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat_field(USER_TICKS)? + stat_field(SYSTEM_TICKS)?) / ticks())
}

/// Seconds since the epoch.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim();
    let boot: f64 = boot.parse().ok()?;
    Some(boot + stat_field(START_TICKS)? / ticks())
}

fn resident_bytes() -> Option<f64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: f64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * float(page_size() as u64))
}

fn open_descriptors() -> Option<f64> {
    // Since Linux 6.2 the size of the directory is the number; before, it is 0 and one must count.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(float(size));
    }
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    Some(float(entries.saturating_sub(1) as u64))
}

fn max_descriptors() -> f64 {
    getrlimit(Resource::Nofile)
        .current
        .map_or(f64::INFINITY, float)
}

fn ticks() -> f64 {
    float(clock_ticks_per_second())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes and counts of one process are far below 2^53"
)]
fn float(value: u64) -> f64 {
    value as f64
}

/// Places in `/proc/self/stat` after the command (`proc_pid_stat(5)` numbers them from the start,
/// which is 3 more).
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

static BUILD_INFO: Family = Family {
    name: "evenkeel_build_info",
    help: "What is running; always 1.",
    kind: Kind::Gauge,
    buckets: None,
};
static CPU: Family = Family {
    name: "process_cpu_seconds_total",
    help: "User and system CPU time in seconds.",
    kind: Kind::Counter,
    buckets: None,
};
static RESIDENT: Family = Family {
    name: "process_resident_memory_bytes",
    help: "Resident memory in bytes.",
    kind: Kind::Gauge,
    buckets: None,
};
static OPEN_FDS: Family = Family {
    name: "process_open_fds",
    help: "Open file descriptors.",
    kind: Kind::Gauge,
    buckets: None,
};
static MAX_FDS: Family = Family {
    name: "process_max_fds",
    help: "File descriptors that may be open.",
    kind: Kind::Gauge,
    buckets: None,
};
static START: Family = Family {
    name: "process_start_time_seconds",
    help: "Start of the process in seconds since the epoch.",
    kind: Kind::Gauge,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Format;

    #[test]
    fn the_process_is_measured() {
        let registry = Registry::new(1);
        observe(&registry);
        let mut text = String::new();
        registry.encode(Format::Text, &mut text);
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            let (_, value) = line.unwrap().split_once(' ').unwrap();
            value.parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1_600_000_000.0);
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"));
        assert!(text.contains(&format!(
            "evenkeel_build_info{{version=\"{}\"",
            BUILD.version
        )));
    }

    #[test]
    fn an_opened_file_is_counted() {
        let before = open_descriptors().unwrap();
        let files: Vec<_> = (0..50)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests open and close files at the same time, so not exactly 50.
        assert!(open_descriptors().unwrap() >= before + 20.0);
        drop(files);
    }
}
