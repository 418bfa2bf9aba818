//! What is allowed to a confined process: the folders of the files that it touches.
//!
//! The kernel allows folders by what they are, not by their names. So each is remembered with its
//! number, and whether a file is in reach is asked as the kernel asks it: by the numbers of all
//! folders above it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Admin, Config, Outcome, Readings, named_files};
use crate::control::upgrade::Program;

/// The files that a configuration has the process touch.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    read: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

/// What one layer of Landlock allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// Each folder with its device and its number there.
    pub(super) read: BTreeMap<PathBuf, Number>,
    pub(super) written: BTreeMap<PathBuf, Number>,
}

type Number = (u64, u64);

impl Touched {
    /// By a reload to this configuration.
    pub fn by(config: &Config) -> Self {
        let listeners = config.listener.values();
        let sockets = listeners.filter_map(|listener| listener.bind.strip_prefix("unix:"));
        let sockets = sockets.filter(|name| !name.starts_with('@'));
        let log = config.log.output.as_deref();
        let log = log.filter(|output| !["stdout", "stderr"].contains(output));
        Self {
            read: named_files(config),
            written: sockets.chain(log).map(PathBuf::from).collect(),
        }
    }

    /// By a start with it, with what the options say of the admin API.
    pub fn at_start(config: &Config, options: &Admin) -> Self {
        let mut touched = Self::by(config);
        let socket = options.socket.as_ref().or(config.admin.socket.as_ref());
        touched.written.extend(socket.cloned());
        touched
    }

    /// Those of a reading that could not be read.
    pub fn unread(readings: &Readings) -> Self {
        Self {
            read: readings.unread().map(Path::to_owned).collect(),
            written: Vec::new(),
        }
    }

    /// One that is read.
    pub fn read(file: PathBuf) -> Self {
        Self {
            read: vec![file],
            written: Vec::new(),
        }
    }

    /// One that is written.
    pub(super) fn written(file: PathBuf) -> Self {
        Self {
            read: Vec::new(),
            written: vec![file],
        }
    }

    /// All of them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.read.iter().chain(&self.written).map(PathBuf::as_path)
    }

    /// The first of them that some of these rules do not allow.
    pub(super) fn out_of_reach(&self, layers: &[Rules]) -> Option<PathBuf> {
        let read = self.read.iter().map(|file| (file, false));
        let written = self.written.iter().map(|file| (file, true));
        let mut files = read.chain(written);
        let (file, _) = files.find(|(file, is_written)| {
            let above = numbers_above(file);
            // What is not there is missed by whoever reads it.
            let is_there = !above.is_empty();
            is_there && !layers.iter().all(|rules| rules.reach(&above, *is_written))
        })?;
        Some(file.clone())
    }
}

impl Rules {
    /// What these configurations need, be it one or the other that will serve.
    pub(super) fn new<'a>(outcomes: impl Iterator<Item = &'a Outcome>, options: &Admin) -> Self {
        let (mut read, mut written) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let Some(config) = &outcome.config else {
                continue;
            };
            let touched = Touched::at_start(config, options);
            let files = touched.read.iter().map(PathBuf::as_path);
            read.extend(files.chain(outcome.readings.files()).flat_map(folders_of));
            let allowed = config.security.allow_paths.iter().map(PathBuf::as_path);
            for folder in allowed.chain(outcome.readings.folders()) {
                read.extend(std::path::absolute(folder));
                read.extend(folder.canonicalize());
            }
            written.extend(touched.written.iter().flat_map(|file| folders_of(file)));
            written.extend(config.state_dir.clone());
        }
        if let Some(program) = Program::of_this_process() {
            read.extend(folders_of(&program.path));
        }
        read.extend(RESOLVER.iter().flat_map(|file| folders_of(Path::new(file))));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            read.extend(env::var_os(variable).map(PathBuf::from));
        }
        read.extend(SYSTEM.map(PathBuf::from));
        let keys = env::var_os("SSLKEYLOGFILE").map(PathBuf::from);
        written.extend(keys.iter().flat_map(|file| folders_of(file)));
        written.extend([RUN, "/dev"].map(PathBuf::from));
        let there = |folders: Vec<PathBuf>| {
            let numbered = folders.into_iter().map(|folder| {
                let number = number(&folder)?;
                Some((folder, number))
            });
            numbered.flatten().collect()
        };
        Self {
            read: there(read),
            written: there(written),
        }
    }

    /// Whether these allow all that others do: beside those they are nothing.
    pub(super) fn allow_all_of(&self, others: &Self) -> bool {
        let is_within = |folders: &BTreeMap<PathBuf, Number>, path: &Path| {
            path.ancestors().any(|above| folders.contains_key(above))
        };
        let mut read = others.read.keys();
        let mut written = others.written.keys();
        read.all(|path| is_within(&self.read, path) || is_within(&self.written, path))
            && written.all(|path| is_within(&self.written, path))
    }

    /// Whether everything may be read.
    pub(super) fn read_everything(&self) -> bool {
        [&self.read, &self.written].iter().any(|folders| {
            let mut folders = folders.keys();
            folders.any(|folder| folder == Path::new("/"))
        })
    }

    fn reach(&self, above: &[Number], is_written: bool) -> bool {
        let allows = |folders: &BTreeMap<PathBuf, Number>| {
            let mut folders = folders.values();
            folders.any(|number| above.contains(number))
        };
        allows(&self.written) || !is_written && allows(&self.read)
    }
}

/// The folder of a file, and that of the file which it leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let folder = |path: PathBuf| path.parent().map(Path::to_owned);
    let named = std::path::absolute(file).ok().and_then(folder);
    let real = file.canonicalize().ok().and_then(folder);
    named.into_iter().chain(real).collect()
}

/// The numbers of a file and of the folders that it really lies in; of one that is not there, those
/// that it would lie in. None where there are none either.
fn numbers_above(file: &Path) -> Vec<Number> {
    let real = file.canonicalize().or_else(|error| {
        let named = std::path::absolute(file)?;
        named.parent().ok_or(error)?.canonicalize()
    });
    let real = real.unwrap_or_default();
    real.ancestors().filter_map(number).collect()
}

/// Looking at what there is is not restricted by Landlock.
fn number(path: &Path) -> Option<Number> {
    let there = fs::metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(read: &[&str], written: &[&str]) -> Rules {
        let numbered = |folders: &[&str]| {
            let folders = folders.iter().map(|folder| Path::new(folder).to_owned());
            folders.map(|folder| (folder, (0, 0))).collect()
        };
        Rules {
            read: numbered(read),
            written: numbered(written),
        }
    }

    #[test]
    fn what_allows_as_much_confines_no_further() {
        let before = rules(&["/etc", "/srv/a"], &["/run/a"]);
        assert!(before.allow_all_of(&before));
        assert!(rules(&["/etc", "/srv"], &["/run/a"]).allow_all_of(&before));
        assert!(rules(&["/etc"], &["/run/a", "/srv"]).allow_all_of(&before));
        assert!(!rules(&["/etc"], &["/run/a"]).allow_all_of(&before));
        assert!(!rules(&["/etc", "/srv", "/run/a"], &[]).allow_all_of(&before));
        assert!(!rules(&["/etc", "/srv/ab"], &["/run/a"]).allow_all_of(&before));
    }

    #[test]
    fn a_file_is_in_reach_where_all_rules_have_a_folder_above_it() {
        let name = format!("evenkeel-rules-{}", std::process::id());
        let place = env::temp_dir().join(name);
        drop(fs::remove_dir_all(&place));
        for folder in ["a", "b"] {
            fs::create_dir_all(place.join(folder)).unwrap();
        }
        fs::write(place.join("b/file"), "").unwrap();
        std::os::unix::fs::symlink("../b/file", place.join("a/link")).unwrap();
        let of = |folder: &str| {
            let folder = place.join(folder);
            let number = number(&folder).unwrap();
            [(folder, number)].into()
        };
        let reads = |folder| Rules {
            read: of(folder),
            ..Rules::default()
        };
        let asked = |name: &str, layers: &[Rules]| {
            let touched = Touched {
                read: vec![place.join(name)],
                written: Vec::new(),
            };
            touched.out_of_reach(layers).is_none()
        };
        assert!(asked("b/file", &[reads("b")]));
        assert!(asked("b/other", &[reads("b")]), "which is not there");
        assert!(asked("c/none", &[reads("b")]), "nor is its folder");
        assert!(!asked("a/link", &[reads("a")]), "it leads elsewhere");
        assert!(!asked("b/file", &[reads("b"), reads("a")]));
        let written = Touched::written(place.join("b/file"));
        assert!(written.out_of_reach(&[reads("b")]).is_some());
        // Another folder of the same name is another one.
        let before = [reads("b")];
        fs::rename(place.join("b"), place.join("old")).unwrap();
        fs::create_dir(place.join("b")).unwrap();
        fs::write(place.join("b/file"), "").unwrap();
        assert!(!asked("b/file", &before));
        fs::remove_dir_all(place).unwrap();
    }
}
