//! What a configuration was read from, so that somebody can see whether it has changed since.
//!
//! Times of files and notifications tell nothing where a folder is swapped behind a link
//! (Kubernetes), is mounted from elsewhere or is written in place. So it is the content that
//! counts: of the file, of those that it includes, of the secrets in it, and which files a glob
//! matches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::environment::Environment;
use super::include::matching;

/// The files behind a configuration, by their content. Equal while nothing has changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Readings {
    /// What could not be read has no digest.
    files: BTreeMap<PathBuf, Option<Digest>>,
    /// The names that a folder has for a pattern.
    globs: BTreeMap<Glob, Option<Vec<String>>>,
}

/// An environment that remembers what it was asked for.
#[derive(Debug)]
pub(super) struct Remembering<'a> {
    environment: &'a dyn Environment,
    readings: RefCell<Readings>,
}

type Digest = [u8; 32];

/// A folder, and the pattern of names in it.
type Glob = (PathBuf, String);

impl Readings {
    /// The same files as they are now, and those that globs match by now.
    #[must_use]
    pub fn again(&self, environment: &dyn Environment) -> Self {
        let remembering = Remembering::new(environment);
        let read = |path: &Path| drop(remembering.read(path));
        for path in self.files.keys() {
            read(path);
        }
        let mut globs = BTreeMap::new();
        for (folder, pattern) in self.globs.keys() {
            let names = matching(folder, pattern, environment).ok();
            for name in names.iter().flatten() {
                read(&folder.join(name));
            }
            globs.insert((folder.clone(), pattern.clone()), names);
        }
        Self {
            globs,
            ..remembering.into_readings()
        }
    }

    /// The files, in any order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// The folders that globs look into, whether or not they match anything by now.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.globs.keys().map(|(folder, _)| folder.as_path())
    }

    /// The files that could not be read.
    pub fn unread(&self) -> impl Iterator<Item = &Path> {
        let files = self.files.iter();
        let unread = files.filter(|(_, digest)| digest.is_none());
        unread.map(|(file, _)| file.as_path())
    }

    pub(super) fn add_files(&mut self, others: Self) {
        self.files.extend(others.files);
    }

    pub(super) fn add_glob(&mut self, folder: &Path, pattern: &str, names: Option<Vec<String>>) {
        let glob = (folder.to_owned(), pattern.to_owned());
        self.globs.insert(glob, names);
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digests of short secrets can be guessed.
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl<'a> Remembering<'a> {
    pub(super) fn new(environment: &'a dyn Environment) -> Self {
        Self {
            environment,
            readings: RefCell::default(),
        }
    }

    pub(super) fn into_readings(self) -> Readings {
        self.readings.into_inner()
    }
}

impl Environment for Remembering<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    fn variables(&self) -> Vec<(String, String)> {
        self.environment.variables()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.environment.read(path);
        let digest = read.as_ref().ok().map(|bytes| Sha256::digest(bytes).into());
        let mut readings = self.readings.borrow_mut();
        readings.files.insert(path.to_owned(), digest);
        read
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.environment.list(folder)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load_text;
    use crate::config::tests::Made;

    const MAIN: &str =
        "include = ['conf.d/*.toml']\n[listener.web]\nbind = ':80'\nupstream = 'a'\n";

    fn made(secret: &str) -> Made {
        let upstream = "[upstream.a]\nendpoints = ['${file:/run/host}:1']\n";
        Made::default()
            .with_file("conf.d/a.toml", upstream)
            .with_file("/run/host", secret)
    }

    #[test]
    fn what_was_read_is_compared_by_content() {
        let outcome = load_text("main.toml", MAIN, &made("a"));
        let (read, again) = (&outcome.readings, |made: &Made| {
            outcome.readings.again(made)
        });
        assert_eq!(read.files().count(), 2, "{read:?}");
        assert_eq!(*read, again(&made("a")));
        assert_ne!(*read, again(&made("b")), "a secret has changed");
        assert_ne!(*read, again(&Made::default()), "all is gone");
        let beside = made("a")
            .with_file("conf.d/b.txt", "")
            .with_file("conf.d/.c.toml", "");
        assert_eq!(*read, again(&beside), "what no glob matches");
        let one_more = made("a").with_file("conf.d/b.toml", "");
        let now = again(&one_more);
        assert_ne!(*read, now, "a glob matches one more");
        assert_ne!(now, now.again(&made("a").with_file("conf.d/b.toml", "x")));
        assert!(!format!("{read:?}").contains('['), "{read:?}");
    }
}
