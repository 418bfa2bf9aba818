//! How many CPUs this process may really use: the default number of workers.
//!
//! Problem: a container with a quota of two CPUs on a machine with 64 would get 64 workers, which
//! then run out of quota together and stand still together for the rest of each period. The
//! standard library's `available_parallelism` knows quotas, but rounds them down: a quota of 1.9
//! CPUs would leave nearly one of them unused. So the quota is read here and rounded up, and the
//! affinity mask limits it further.
//!
//! The kernel states all of it in files: `/proc/self/status` has the mask, and cgroup v2
//! (`cpu.max`) and v1 (`cpu.cfs_quota_us`, `cpu.cfs_period_us`) the quota, at any level above the
//! process. What cannot be read does not limit.

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// CPU time per wall-clock time that a cgroup allows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Quota {
    cpus: f64,
}

/// A mounted cgroup hierarchy: where it is, and which part of the hierarchy is seen there.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    point: &'a str,
    root: &'a str,
}

/// The kind of hierarchy that holds the CPU controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// CPUs that the affinity mask and every cgroup quota allow: the quota rounded up, at least 1.
pub fn available() -> usize {
    available_under(Path::new("/"))
}

/// The directory of this process's cgroup, where there is one of version 2.
pub fn cgroup_of(process: &str) -> Option<PathBuf> {
    let cgroup = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = Version::Two.mount(&mountinfo)?;
    Some(Path::new("/").join(mount.directory(Version::Two.path(&cgroup)?)))
}

/// The same, with the kernel's files under `root`.
fn available_under(root: &Path) -> usize {
    let mask = fs::read_to_string(root.join("proc/self/status"))
        .ok()
        .and_then(|status| allowed(&status))
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    match quota(root) {
        Some(quota) => mask.min(quota.whole()).max(1),
        None => mask.max(1),
    }
}

impl Quota {
    fn new(quota: u64, period: u64) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds of a period of at most a second: far below 2^52"
        )]
        (quota > 0 && period > 0).then(|| Self {
            cpus: quota as f64 / period as f64,
        })
    }

    /// Whole CPUs, rounded up.
    fn whole(self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive by construction, and saturating is right"
        )]
        let whole = self.cpus.ceil() as usize;
        whole.max(1)
    }
}

impl Version {
    /// The quota that the files in a cgroup's directory state.
    fn read(self, directory: &Path) -> Option<Quota> {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        match self {
            Self::Two => parse_cpu_max(&read("cpu.max")?),
            Self::One => parse_cfs(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?),
        }
    }

    /// Where `/proc/self/mountinfo` says that the hierarchy is mounted: lines of
    /// `id parent device root point options … - type source super-options` (proc(5)).
    fn mount(self, mountinfo: &str) -> Option<Mount<'_>> {
        mountinfo.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let kind = right.next()?;
            let controllers = right.nth(1).unwrap_or_default();
            let found = match self {
                Self::Two => kind == "cgroup2",
                Self::One => kind == "cgroup" && controllers.split(',').any(|name| name == "cpu"),
            };
            let mut left = left.split(' ').skip(3);
            let root = left.next()?;
            let point = left.next()?;
            found.then_some(Mount { point, root })
        })
    }

    /// The process's path within the hierarchy: lines of `id:controllers:path` (cgroups(7)).
    fn path(self, cgroup: &str) -> Option<&str> {
        cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let id = parts.next()?;
            let controllers = parts.next()?;
            let path = parts.next()?;
            let found = match self {
                Self::Two => id == "0" && controllers.is_empty(),
                Self::One => controllers.split(',').any(|name| name == "cpu"),
            };
            found.then_some(path)
        })
    }
}

impl Mount<'_> {
    /// The directory of a cgroup under this mount. A container often sees only its own part of the
    /// hierarchy, while its path is counted from the host's root: what both share is taken off.
    fn directory(&self, path: &str) -> PathBuf {
        let inner = match path.strip_prefix(self.root) {
            Some(rest) if self.root == "/" || rest.is_empty() || rest.starts_with('/') => rest,
            _ => path,
        };
        Path::new(self.point.trim_start_matches('/')).join(inner.trim_start_matches('/'))
    }
}

/// The tightest quota from the process's cgroup up to the root of the hierarchy.
fn quota(root: &Path) -> Option<Quota> {
    let cgroup = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mountinfo = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    [Version::Two, Version::One]
        .into_iter()
        .filter_map(|version| tightest(root, version, &cgroup, &mountinfo))
        .min_by(|left, right| left.cpus.total_cmp(&right.cpus))
}

fn tightest(root: &Path, version: Version, cgroup: &str, mountinfo: &str) -> Option<Quota> {
    let mount = version.mount(mountinfo)?;
    let top = root.join(mount.point.trim_start_matches('/'));
    let own = root.join(mount.directory(version.path(cgroup)?));
    own.ancestors()
        .take_while(|directory| directory.starts_with(&top))
        .filter_map(|directory| version.read(directory))
        .min_by(|left, right| left.cpus.total_cmp(&right.cpus))
}

/// `cpu.max`: `quota period` in microseconds, where the quota may be `max`.
fn parse_cpu_max(text: &str) -> Option<Quota> {
    let mut words = text.split_ascii_whitespace();
    let quota = words.next()?.parse().ok()?;
    let period = words.next()?.parse().ok()?;
    Quota::new(quota, period)
}

/// `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`.
fn parse_cfs(quota: &str, period: &str) -> Option<Quota> {
    Quota::new(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

/// The number of CPUs in the `Cpus_allowed_list` of `/proc/self/status`: `0-3,8,10-11`.
fn allowed(status: &str) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').try_fold(0, |count, range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let low: usize = low.parse().ok()?;
        let high: usize = high.parse().ok()?;
        Some(count + high.checked_sub(low)? + 1)
    })
}
