//! The files that the process may touch: Landlock.
//!
//! Folders are allowed, not files: certificates are renewed by renaming, mounted ones by swapping a
//! link, and a new file is not the one that was there at the start. So a reload may name whatever
//! lies beside what was named then; what lies elsewhere is refused with a reason, since the kernel
//! would only say "permission denied". To execute is not restricted, but what is executed is read:
//! the folder of this program is among those, for its successor.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, path_beneath_rules,
};

use crate::config::{Config, Readings, named_files};
use crate::control::upgrade::Program;

/// Where a confined process may read.
#[derive(Debug, Clone, Default)]
pub struct Confined {
    read: BTreeSet<PathBuf>,
}

impl Confined {
    /// Confines this thread and all that it starts, or says why it cannot.
    pub(super) fn begin(config: &Config, readings: &Readings) -> Result<Self, String> {
        let read = readable(config, readings);
        let written = writable(config);
        match confine(&read, &written) {
            Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {
                Ok(Self { read })
            }
            Ok(RulesetStatus::NotEnforced) => Err("this kernel has none".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The files of a configuration that could not be read.
    pub(in crate::control) fn out_of_reach(&self, config: &Config) -> Vec<PathBuf> {
        let is_within = |path: &Path| self.read.iter().any(|folder| path.starts_with(folder));
        let mut files = named_files(config);
        files.retain(|file| {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            !is_within(&file)
        });
        files
    }
}

/// Where the process reads: beside what is named, and where the system's libraries look.
fn readable(config: &Config, readings: &Readings) -> BTreeSet<PathBuf> {
    let named = named_files(config);
    let files = named.iter().map(PathBuf::as_path).chain(readings.files());
    let mut folders: BTreeSet<PathBuf> = files.flat_map(folders_of).collect();
    for path in &config.security.allow_paths {
        folders.extend(std::path::absolute(path));
        folders.extend(path.canonicalize());
    }
    if let Some(program) = Program::of_this_process() {
        folders.extend(folders_of(&program.path));
    }
    folders.extend(RESOLVER.iter().flat_map(|file| folders_of(Path::new(file))));
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        folders.extend(env::var_os(variable).map(PathBuf::from));
    }
    folders.extend(SYSTEM.map(PathBuf::from));
    folders
}

/// Where it writes: logs, what is known, and the files of its sockets.
fn writable(config: &Config) -> BTreeSet<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    files.extend(config.log.output.as_deref().map(PathBuf::from));
    files.extend(config.admin.socket.clone());
    files.extend(env::var_os("SSLKEYLOGFILE").map(PathBuf::from));
    let listeners = config.listener.values();
    let sockets = listeners.filter_map(|listener| listener.bind.strip_prefix("unix:"));
    files.extend(sockets.map(PathBuf::from));
    let mut folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
    folders.extend(config.state_dir.clone());
    folders.insert(RUN.into());
    folders.insert("/dev".into());
    folders
}

/// The folder of a file, and that of the file which it leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let folder = |path: PathBuf| path.parent().map(Path::to_owned);
    let named = std::path::absolute(file).ok().and_then(folder);
    let real = file.canonicalize().ok().and_then(folder);
    named.into_iter().chain(real).collect()
}

fn confine(
    read: &BTreeSet<PathBuf>,
    written: &BTreeSet<PathBuf>,
) -> Result<RulesetStatus, RulesetError> {
    let all: BitFlags<AccessFs> = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
    let reading: BitFlags<AccessFs> = AccessFs::from_read(KNOWN) & !AccessFs::Execute;
    let status = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(read, reading))?
        .add_rules(path_beneath_rules(written, all))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// What is asked for; older kernels do what they can of it.
const KNOWN: ABI = ABI::V3;

/// Where packages have the admin socket.
const RUN: &str = "/run/evenkeel";

/// What a resolver may have led elsewhere.
const RESOLVER: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// What the resolver, the clock and the process's own measures are read from. `/etc` as a whole,
/// since `resolv.conf` is replaced by renaming.
const SYSTEM: [&str; 11] = [
    "/etc",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/proc",
    "/sys",
];
