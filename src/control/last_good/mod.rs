//! The last good configuration: a copy of what was put in force, to start with where the
//! file is missing, broken, fails its tests or names what does not resolve.
//!
//! Problem: a machine that starts anew has no configuration in memory to go on with. Whatever was
//! wrong with the file since the last reload, and was refused then, would now be an outage. So
//! whatever is put in force is written down beside the state, and who asks for it ([`Copy::find`])
//! starts with that instead, and says so until a reload takes the file.
//!
//! A copy holds the text of each file, as it was written: `${file:…}` and `${VAR}` are asked for
//! anew, certificates are read from where they are, so no secret is in it that was not in the file.
//! And it holds the addresses of names, since a name server that is away is what a start meets.

mod copies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use copies::Copies;

use super::resolve::Hosts;
use super::state::Moment;
use super::state::file::{self, LAST_GOOD};
use super::state::format::{sealed, unsealed};
use crate::config::{self, Environment, Outcome, Sources, System};
use crate::snapshot::Snapshot;

/// A configuration that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    at: Moment,
    /// The digest of its text, as metrics have it.
    sha256: String,
    /// The files, the main one first: path and text.
    files: Vec<(String, String)>,
    /// What names stood for.
    hosts: Hosts,
}

/// What a copy is read in: its own files, and all else as it is now.
#[derive(Debug)]
struct Kept<'a> {
    files: BTreeMap<&'a Path, &'a str>,
}

impl Copy {
    /// Of what has been put in force; `None` of what came from no file.
    pub fn of(sources: &Sources, snapshot: &Snapshot) -> Option<Self> {
        let files: Vec<(String, String)> = sources
            .files()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        (!files.is_empty()).then(|| Self {
            at: Moment::now(),
            sha256: snapshot.sha256.to_string(),
            files,
            hosts: snapshot.hosts.clone(),
        })
    }

    /// The copy of this file in this directory, or why there is none.
    pub fn find(directory: &Path, main: &Path) -> Result<Self, String> {
        let place = directory.display();
        let copy = file::read(&directory.join(LAST_GOOD)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return format!("there is no last good configuration in {place}");
            }
            let why = file::unreadable(directory, &error);
            format!("the last good configuration in {place} cannot be read: {why}")
        })?;
        let copy = Self::from_bytes(&copy)
            .map_err(|why| format!("the last good configuration in {place} is of no use: {why}"))?;
        let of = copy.files.first().map(|(name, _)| name.as_str());
        let asked = main.display().to_string();
        if of != Some(&*asked) {
            let of = of.unwrap_or_default();
            return Err(format!(
                "the last good configuration in {place} is that of {of}, not of {asked}"
            ));
        }
        Ok(copy)
    }

    /// Reads and checks it, as its files would be.
    pub fn load(&self) -> Outcome {
        let files = self.files.iter();
        let kept = Kept {
            files: files
                .map(|(name, text)| (Path::new(name), text.as_str()))
                .collect(),
        };
        let main = self.files.first().map_or("", |(name, _)| name);
        config::load(Path::new(main), &kept)
    }

    /// What names stood for.
    pub fn hosts(&self) -> Arc<Hosts> {
        Arc::new(self.hosts.clone())
    }

    /// When it was put in force.
    pub fn at(&self) -> Option<SystemTime> {
        self.at.wall()
    }

    fn to_bytes(&self) -> Vec<u8> {
        // It fails for keys that are no strings and values that refuse; there are none.
        sealed(NAME, &serde_json::to_vec(self).unwrap_or_default())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let body = unsealed(NAME, bytes).map_err(|why| why.to_string())?;
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        file::make(directory)?;
        file::replace(directory, LAST_GOOD, &self.to_bytes())?;
        file::sync(directory)
    }
}

impl Environment for Kept<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn variables(&self) -> Vec<(String, String)> {
        System.variables()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.files.get(path) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => System.read(path),
        }
    }

    /// The files that were included from a folder, and no others: those came later.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let is_here = |path: &&Path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            parent == folder || (parent.as_os_str().is_empty() && folder == Path::new("."))
        };
        let files = self.files.keys().filter(|path| is_here(path));
        let names = files.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }
}

/// Where the copy is of a configuration that cannot be used: in the directory that it names, if so
/// much of it can be read; else where the environment, systemd and packages have it.
pub fn directory(main: &Path, outcome: &Outcome) -> PathBuf {
    let written = match &outcome.config {
        Some(config) => config.state_dir.clone(),
        None => fs::read_to_string(main)
            .ok()
            .and_then(|text| state_dir_of(&text)),
    };
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_systemd = || {
        let directories = variable("STATE_DIRECTORY")?.into_string().ok()?;
        Some(PathBuf::from(directories.split(':').next()?))
    };
    variable("EVENKEEL__STATE_DIR")
        .map(PathBuf::from)
        .or(written)
        .or_else(of_systemd)
        .unwrap_or_else(|| PathBuf::from(DIRECTORY))
}

/// `state_dir` of a configuration file, whatever else is in it.
fn state_dir_of(text: &str) -> Option<PathBuf> {
    let (file, _) = toml::de::DeTable::parse_recoverable(text);
    let directory = file.get_ref().get("state_dir")?.get_ref().as_str()?;
    Some(Path::new(directory).to_path_buf())
}

const NAME: &str = "evenkeel-configuration";

/// Where packages have the state.
const DIRECTORY: &str = "/var/lib/evenkeel";
