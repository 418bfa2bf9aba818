use super::*;

/// A root directory with the kernel's files in it, removed at the end.
struct Root {
    path: PathBuf,
}

impl Root {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("cpus-{name}-{}", std::process::id()));
        for (file, text) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("files lie in a directory")).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { path }
    }

    fn available(&self) -> usize {
        available_under(&self.path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap();
    }
}

const STATUS: &str = "Name:\tevenkeel\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n";
const MOUNT_V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn a_mask_counts_its_ranges() {
    assert_eq!(allowed("Cpus_allowed_list:\t0\n"), Some(1));
    assert_eq!(allowed("Cpus_allowed_list:\t0-3,8,10-11\n"), Some(7));
    assert_eq!(allowed("Cpus_allowed_list:\t3-0\n"), None);
    assert_eq!(allowed("Cpus_allowed_list:\tall\n"), None);
    assert_eq!(allowed("Name:\tevenkeel\n"), None);
}

#[test]
fn a_quota_is_rounded_up() {
    let whole = |text| parse_cpu_max(text).map(Quota::whole);
    assert_eq!(whole("200000 100000\n"), Some(2));
    assert_eq!(whole("150000 100000\n"), Some(2));
    assert_eq!(whole("10000 100000\n"), Some(1));
    assert_eq!(whole("max 100000\n"), None);
    assert_eq!(whole(""), None);
    assert_eq!(parse_cfs("250000\n", "100000\n").map(Quota::whole), Some(3));
    assert_eq!(parse_cfs("-1\n", "100000\n"), None);
    assert_eq!(parse_cfs("100000\n", "0\n"), None);
}

#[test]
fn without_a_quota_the_mask_decides() {
    let root = Root::new("mask", &[("proc/self/status", STATUS)]);
    assert_eq!(root.available(), 8);
}

#[test]
fn the_tightest_quota_above_the_process_counts() {
    let root = Root::new(
        "v2",
        &[
            ("proc/self/status", STATUS),
            ("proc/self/cgroup", "0::/system.slice/evenkeel.service\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/system.slice/cpu.max", "310000 100000\n"),
            (
                "sys/fs/cgroup/system.slice/evenkeel.service/cpu.max",
                "max 100000\n",
            ),
        ],
    );
    assert_eq!(root.available(), 4);
}

#[test]
fn a_wide_quota_does_not_widen_the_mask() {
    let root = Root::new(
        "wide",
        &[
            ("proc/self/status", STATUS),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/cpu.max", "6400000 100000\n"),
        ],
    );
    assert_eq!(root.available(), 8);
}

#[test]
fn version_1_is_read_where_a_container_sees_only_its_part() {
    let mount =
        "42 32 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
    let root = Root::new(
        "v1",
        &[
            ("proc/self/status", STATUS),
            (
                "proc/self/cgroup",
                "12:pids:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
            ),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ],
    );
    assert_eq!(root.available(), 2);
}

#[test]
fn a_part_of_a_name_is_not_a_part_of_the_path() {
    let mount = Mount {
        point: "/sys/fs/cgroup",
        root: "/docker/a",
    };
    assert_eq!(
        mount.directory("/docker/abc"),
        Path::new("sys/fs/cgroup/docker/abc")
    );
    assert_eq!(mount.directory("/docker/a/b"), Path::new("sys/fs/cgroup/b"));
    assert_eq!(mount.directory("/docker/a"), Path::new("sys/fs/cgroup"));
}

#[test]
fn this_machine_has_at_least_one() {
    assert!(available() >= 1);
}
